/* What a mapping makes of a table, and which mappings a table refuses; what Debezium makes of the
 * same is in test_golden.c. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/memory.h"
#include "table_rig.h"

/* The configuration owns its names; nobody writes to these. */
#define NAME(text) ((char *)(text))
#define ONE(text)                                                                                  \
    {                                                                                              \
        .items = (char *[]){NAME(text)}, .count = 1                                                \
    }
#define CUT(name, length)                                                                          \
    (ColumnLength[])                                                                               \
    {                                                                                              \
        {                                                                                          \
            NAME(name), length                                                                     \
        }                                                                                          \
    }

static const RigColumn PERSON[] = {{"id", 23, 0, true, 1, NULL},
                                   {"name", RIG_TEXT, 0, true, 0, NULL},
                                   {"mail", RIG_CITEXT, 0, false, 0, NULL},
                                   {"nick", RIG_NAME, 0, false, 0, NULL},
                                   {"pair", RIG_PAIR, 0, false, 0, NULL},
                                   {.name = NULL}};

static Rig *rig;

static void begin(void)
{
    rig = rig_new(true);
}

static void end(void)
{
    rig_free(&rig);
}

TestSuite(change_mapping, .init = begin, .fini = end);

static void expect_topic(const char *template, const char *topic)
{
    MappingConfig mapping = {.table = NAME("shop.*"), .topic = NAME(template)};
    cr_assert_eq(rig_table(rig, PERSON, &mapping), OK, "%s", error_message(&rig->err));
    cr_expect_str_eq(rig->table->topic, topic);
    cr_expect_not_null(strstr(text_string(&rig->table->value_head), "\"name\":\"p.shop.item.Envelope\""));
    cr_expect_not_null(strstr(text_string(&rig->table->key_head), "\"name\":\"p.shop.item.Key\""));
}

Test(change_mapping, the_topic_is_a_template_and_names_of_schemas_are_not)
{
    expect_topic("all", "all");
    expect_topic("", "p.shop.item");
    expect_topic("${table}-${schema}.${prefix}", "item-shop.p");
    expect_topic("${database}.$${x", "d_b.${x");
    AUTO_TEXT dots = x_malloc(301);
    memset(dots, '.', 300);
    dots[300] = '\0';
    AUTO_TEXT longest = x_strndup(dots, 249);
    expect_topic(dots, longest);
}

static void expect_refused(const MappingConfig *mapping, ErrorCode code, const char *message)
{
    cr_assert_eq(rig_table(rig, PERSON, mapping), FAILED, "not refused: %s", message);
    cr_expect_null(rig->table);
    cr_expect_eq(rig->err.class, ERROR_FATAL);
    cr_expect_eq(rig->err.exit_code, EXIT_CONFIG);
    cr_expect_eq(rig->err.code, code);
    cr_expect_str_eq(error_message(&rig->err), message);
    cr_expect_str_neq(error_own_hint(&rig->err), "");
}

Test(change_mapping, what_a_topic_cannot_name_is_refused)
{
    MappingConfig mapping = {.table = NAME("shop.*"), .topic = NAME("a.${id}")};
    expect_refused(&mapping, CODE_TEMPLATE_INVALID,
                   "mapping 'shop.*': the topic 'a.${id}' names 'id', which a table does not have");
}

Test(change_mapping, a_key_that_rows_cannot_have_is_refused)
{
    expect_refused(&(MappingConfig){.table = NAME("shop.*"), .key = ONE("code")},
                   CODE_MAPPING_COLUMN,
                   "mapping 'shop.*', table 'shop.item': column 'code' cannot be in the key: rows "
                   "of the table do not have it");
    expect_refused(&(MappingConfig){.table = NAME("shop.*"), .key = ONE("pair")},
                   CODE_MAPPING_COLUMN,
                   "mapping 'shop.*', table 'shop.item': column 'pair' cannot be in the key: its "
                   "type is in no record (unknown_types = \"omit\")");
    expect_refused(&(MappingConfig){.table = NAME("shop.*"), .exclude = ONE("id")},
                   CODE_MAPPING_COLUMN,
                   "mapping 'shop.*', table 'shop.item': column 'id' cannot be in the key: "
                   "exclude_columns keeps it out of records");
    expect_refused(&(MappingConfig){.table = NAME("shop.*"),
                                    .key = ONE("name"),
                                    .columns = ONE("id"),
                                    .hash = ONE("name"),
                                    .hash_salt = NAME("s")},
                   CODE_MAPPING_COLUMN,
                   "mapping 'shop.*', table 'shop.item': column 'name' cannot be in the key: two "
                   "rows with one text of it would become one");
}

Test(change_mapping, what_is_no_text_is_never_let_through_a_mask)
{
    expect_refused(
        &(MappingConfig){
            .table = NAME("shop.*"), .key = ONE("name"), .masks = CUT("id", 4), .mask_count = 1},
        CODE_MAPPING_COLUMN,
        "mapping 'shop.*', table 'shop.item': mask_columns name column 'id', whose values are no "
        "text");
    expect_refused(
        &(MappingConfig){
            .table = NAME("shop.*"), .key = ONE("name"), .hash = ONE("id"), .hash_salt = NAME("s")},
        CODE_MAPPING_COLUMN,
        "mapping 'shop.*', table 'shop.item': hash_columns name column 'id', whose values are no "
        "text");
    expect_refused(
        &(MappingConfig){
            .table = NAME("shop.*"), .key = ONE("name"), .cuts = CUT("id", 4), .cut_count = 1},
        CODE_MAPPING_COLUMN,
        "mapping 'shop.*', table 'shop.item': truncate_columns name column 'id', whose values are "
        "no text");
}

/* Debezium lets the values of both through, since the driver calls them neither CHAR nor VARCHAR.
 */
Test(change_mapping, a_text_of_an_extension_or_a_domain_is_masked)
{
    char *hashed[] = {NAME("nick")};
    MappingConfig mapping = {.table = NAME("shop.*"),
                             .masks = CUT("mail", 3),
                             .mask_count = 1,
                             .hash = {.items = hashed, .count = 1},
                             .hash_salt = NAME("pepper")};
    cr_assert_eq(rig_table(rig, PERSON, &mapping), OK, "%s", error_message(&rig->err));
    const char *row[] = {"1", "n", "a@example.org", "nick", NULL};
    cr_assert_eq(rig_change(rig, 'c', NULL, row), OK);
    cr_expect_str_eq(rig_between(rig, "\"after\":", ",\"source\""),
                     "{\"id\":1,\"name\":\"n\",\"mail\":\"***\",\"nick\":\"df08f\"}");
}

Test(change_mapping, no_part_of_a_record_has_a_masked_value)
{
    char *hashed[] = {NAME("nick")};
    MappingConfig mapping = {.table = NAME("shop.*"),
                             .masks = CUT("name", 2),
                             .mask_count = 1,
                             .hash = {.items = hashed, .count = 1},
                             .hash_salt = NAME("pepper")};
    cr_assert_eq(rig_table(rig, PERSON, &mapping), OK, "%s", error_message(&rig->err));
    const char *old[] = {"1", "SECRET", NULL, "SECRE", NULL};
    const char *new[] = {"2", RIG_UNSENT, NULL, RIG_UNSENT, NULL};
    cr_assert_eq(rig_change(rig, 'u', old, new), OK);
    cr_assert_eq(rig->records.count, 3);
    for (size_t i = 0; i < 3; i++) {
        const ChangeRecord *record = &rig->records.items[i];
        cr_expect_null(strstr(rig_text(record->key), "SECRE"));
        cr_expect_null(strstr(rig_text(record->value), "SECRE"));
        cr_expect_null(strstr(rig_text(record->headers[0].value), "SECRE"));
    }
    const char *unsent[] = {"1", RIG_UNSENT, NULL, RIG_UNSENT, NULL};
    cr_assert_eq(rig_change(rig, 'u', NULL, unsent), OK);
    cr_expect_str_eq(rig_between(rig, "\"after\":", ",\"source\""),
                     "{\"id\":1,\"name\":\"**\",\"mail\":null,\"nick\":\"e6b7b\"}");
}

Test(change_mapping, the_table_is_the_last_field_of_a_key_that_is_there)
{
    MappingConfig mapping = {.table = NAME("shop.*"), .topic = NAME("all"), .key_table = true};
    cr_assert_eq(rig_table(rig, PERSON, &mapping), OK, "%s", error_message(&rig->err));
    const char *row[] = {"1", "n", NULL, NULL, NULL};
    cr_assert_eq(rig_change(rig, 'c', NULL, row), OK);
    cr_expect_str_eq(
        rig_text(rig->records.items[0].key),
        "{\"schema\":{\"type\":\"struct\",\"fields\":[{\"type\":\"int32\",\"optional\":false,"
        "\"field\":\"id\"},{\"type\":\"string\",\"optional\":false,\"field\":"
        "\"__dbz__physicalTableIdentifier\"}],\"optional\":false,\"name\":\"p.shop.item.Key\"},"
        "\"payload\":{\"id\":1,\"__dbz__physicalTableIdentifier\":\"p.shop.item\"}}");
    cr_expect_str_eq(rig_text(rig->records.items[0].topic), "all");
    const RigColumn keyless[] = {{"a", 23, 0, false, 0, NULL}, {.name = NULL}};
    cr_assert_eq(rig_table(rig, keyless, &mapping), OK);
    const char *other[] = {"1"};
    cr_assert_eq(rig_change(rig, 'c', NULL, other), OK);
    cr_expect_str_eq(rig_text(rig->records.items[0].key), "(none)");
}
