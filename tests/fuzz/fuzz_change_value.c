/* The text of a value: the first byte says of which type and in which modes, the rest is the text.
 */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "change/change_value.h"
#include "check.h"
#include "target.h"

static const uint32_t TYPES[] = {16,   17,   20,   21,   23,   25,   26,   114,  142,   600,  700,
                                 701,  790,  1042, 1082, 1083, 1114, 1184, 1186, 1266,  1560, 1562,
                                 1700, 2950, 1007, 1009, 1231, 1001, 1182, 1115, 90000, 90001};

static void know_types(ChangeCatalog *catalog)
{
    static const ChangeTypeFacts FACTS[] = {
        {.oid = 17, .kind = 'b', .delimiter = ','},
        {.oid = 23, .kind = 'b', .delimiter = ','},
        {.oid = 25, .kind = 'b', .delimiter = ','},
        {.oid = 1001, .kind = 'b', .element = 17, .delimiter = ','},
        {.oid = 1007, .kind = 'b', .element = 23, .delimiter = ','},
        {.oid = 1009, .kind = 'b', .element = 25, .delimiter = ','},
        {.oid = 1082, .kind = 'b', .delimiter = ','},
        {.oid = 1114, .kind = 'b', .delimiter = ','},
        {.oid = 1115, .kind = 'b', .element = 1114, .delimiter = ','},
        {.oid = 1182, .kind = 'b', .element = 1082, .delimiter = ','},
        {.oid = 1231, .kind = 'b', .element = 1700, .delimiter = ','},
        {.oid = 1700, .kind = 'b', .delimiter = ','},
        {.oid = 90000, .kind = 'b', .name = (char *)"hstore", .delimiter = ','},
        {.oid = 90001, .kind = 'b', .name = (char *)"geometry", .delimiter = ':'},
    };
    for (size_t i = 0; i < sizeof(FACTS) / sizeof(*FACTS); i++) {
        *vec_add(&catalog->types) = FACTS[i];
        ChangeTypeFacts *type = &catalog->types.items[i];
        if (type->name == NULL) {
            static char none[] = "";
            type->name = none;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    ChangeCatalog catalog = {0};
    know_types(&catalog);
    ChangeModes modes = {.decimal = data[1] % 3,
                         .time = data[1] / 3 % 6,
                         .interval = data[1] / 18 % 2,
                         .hstore = data[1] / 36 % 2,
                         .binary = data[1] / 72 % 4};
    uint32_t oid = TYPES[data[0] % (sizeof(TYPES) / sizeof(*TYPES))];
    ChangeType *type = change_type_new(&catalog, &modes, oid, data[0] < 128 ? -1 : 655366);
    fuzz_check(type != NULL);
    char *exact = malloc(size);
    memcpy(exact, data + 2, size - 2);
    ChangeOut out = {0};
    text_add(&out.json, "before");
    ChangeWritten written =
        change_value_write(type, (Slice){.data = exact, .length = size - 2}, &out);
    fuzz_touch((Slice){.data = out.json.data, .length = out.json.length});
    fuzz_check(memcmp(out.json.data, "before", 6) == 0);
    fuzz_check((out.json.length > 6) == (written == CHANGE_WRITTEN));
    fuzz_check(utf8_valid(out.json.data, out.json.length));
    change_out_free(&out);
    change_type_free(&type);
    vec_free(&catalog.types);
    free(exact);
    return 0;
}
