/* Which changes lack a value that is to be read again. */
#include <criterion/criterion.h>

#include "cdc/reselect.h"
#include "flow/schema.h"
#include "stub/given.h"

enum { COLUMNS = 3 };

static ChangeType text;
static ChangeTableColumn columns[COLUMNS];
static bool in_identity[COLUMNS];
static CapturedRelation relation;
static ChangeTable change_table = {.count = COLUMNS, .columns = columns};
static CapturedTable table = {.table = &change_table, .relation = &relation};

static void begin(void)
{
    for (size_t i = 0; i < COLUMNS; i++) {
        columns[i] = (ChangeTableColumn){.name = GIVEN("c"), .type = &text, .shown = true};
        in_identity[i] = i == 0;
    }
    relation = (CapturedRelation){.identity = 'd', .in_identity = in_identity, .count = COLUMNS};
}

TestSuite(reselect, .init = begin);

#define ID SLICE_LITERAL("1")
#define A  SLICE_LITERAL("a")

static bool wants(char op, const Slice *old_row, const Slice *new_row)
{
    return reselect_wants(&table, &(ChangeRow){.op = op, .old_row = old_row, .new_row = new_row});
}

static const Slice LACKS[] = {ID, A, SLICE_UNSENT};

Test(reselect, an_update_without_a_value_is_wanted)
{
    const Slice whole[] = {ID, A, SLICE_NULL};
    cr_expect(wants('u', NULL, LACKS));
    cr_expect(!wants('u', NULL, whole), "NULL was sent");
    cr_expect(!wants('c', NULL, LACKS));
    cr_expect(!wants('d', LACKS, NULL));
}

Test(reselect, what_the_old_row_has_is_not_read)
{
    const Slice old[] = {ID, SLICE_NULL, A};
    const Slice key[] = {ID, SLICE_NULL, SLICE_NULL};
    cr_expect(!wants('u', old, LACKS));
    cr_expect(wants('u', key, LACKS));
}

Test(reselect, what_no_record_shows_as_it_is_is_not_read)
{
    columns[2].shown = false;
    cr_expect(!wants('u', NULL, LACKS));
    columns[2].shown = true;
    columns[2].type = NULL;
    cr_expect(!wants('u', NULL, LACKS));
    columns[2].type = &text;
    columns[2].redact.kind = REDACT_MASK;
    cr_expect(!wants('u', NULL, LACKS));
    columns[2].redact.kind = REDACT_HASH;
    cr_expect(wants('u', NULL, LACKS));
}

Test(reselect, a_row_is_found_by_its_replica_identity_alone)
{
    const Slice keyless[] = {SLICE_NULL, A, SLICE_UNSENT};
    const Slice unsent[] = {SLICE_UNSENT, A, SLICE_UNSENT};
    const Slice old[] = {ID, SLICE_NULL, SLICE_NULL};
    cr_expect(!wants('u', NULL, keyless));
    cr_expect(!wants('u', NULL, unsent));
    cr_expect(wants('u', old, unsent), "the old row has the key");
    relation.identity = 'f';
    cr_expect(!wants('u', NULL, LACKS));
    relation.identity = 'n';
    in_identity[0] = false;
    cr_expect(!wants('u', NULL, LACKS));
}
