#include "golden_mapping.h"

#include <criterion/criterion.h>
#include <string.h>

/* The configuration owns its names; nobody writes to these. */
#define NAME(text)  ((char *)(text))
#define COUNT(list) (sizeof(list) / sizeof(*(list)))

static ColumnLength masks[] = {{NAME("phone"), 4},
                               {NAME("pin"), 4},
                               {NAME("nick"), 4},
                               {NAME("initials"), 4},
                               {NAME("feel"), 4}};
static ColumnLength cuts[] = {
    {NAME("short"), 5}, {NAME("long"), 5}, {NAME("story"), 5}, {NAME("note"), 5}};
static char *hashed[] = {NAME("email"), NAME("login"), NAME("tag"), NAME("stamp"), NAME("hashed")};
static char *key[] = {NAME("region"), NAME("code")};
static char *excluded[] = {NAME("phone"), NAME("story"), NAME("feel")};
static char *chosen[] = {NAME("code"), NAME("nick")};

static const struct {
    const char *option;
    MappingConfig mapping;
} MAPPINGS[] = {
    {" mapping=masked",
     {.table = NAME("mapping.*"),
      .masks = masks,
      .mask_count = COUNT(masks),
      .cuts = cuts,
      .cut_count = COUNT(cuts),
      .hash = {.items = hashed, .count = COUNT(hashed)},
      .hash_salt = NAME("pepper")}},
    {" mapping=keyed", {.table = NAME("mapping.*"), .key = {.items = key, .count = COUNT(key)}}},
    {" mapping=cut",
     {.table = NAME("mapping.*"), .exclude = {.items = excluded, .count = COUNT(excluded)}}},
    {" mapping=chosen",
     {.table = NAME("mapping.*"), .columns = {.items = chosen, .count = COUNT(chosen)}}},
    {" mapping=routed",
     {.table = NAME("mapping.*"), .topic = NAME("${prefix}.${schema}.all"), .key_table = true}},
};

const MappingConfig *golden_mapping(const char *options)
{
    for (size_t i = 0; i < COUNT(MAPPINGS); i++) {
        if (strstr(options, MAPPINGS[i].option) != NULL) {
            return &MAPPINGS[i].mapping;
        }
    }
    cr_assert_null(strstr(options, " mapping="), "%s", options);
    return NULL;
}
