/* What a dead letter keeps so that its row can be read again. */
#include <criterion/criterion.h>

#include "base/memory.h"
#include "cdc/change_made.h"
#include "flow/schema.h"
#include "stub/given.h"

enum { COLUMNS = 3 };

static PipelineConfig pipeline;
static ChangeTableColumn columns[COLUMNS];
static uint16_t record_key[COLUMNS];
#define SOURCE_PLACE "\"schema\":\"public\",\"table\":\"item\""
static ChangeTable table = {
    .oid = 7,
    .place = {.data = GIVEN(SOURCE_PLACE), .length = sizeof(SOURCE_PLACE) - 1},
    .count = COLUMNS,
    .columns = columns,
    .key = record_key};
static Arena arena;

static void begin(void)
{
    static char *const NAMES[COLUMNS] = {GIVEN("id"), GIVEN("day"), GIVEN("note")};
    pipeline = given_pipeline();
    pipeline.on_poison = ON_POISON_DEAD_LETTER;
    for (size_t i = 0; i < COLUMNS; i++) {
        columns[i] = (ChangeTableColumn){.name = NAMES[i], .shown = true};
    }
    columns[0].in_key = 1;
    table.key_count = 1;
    record_key[0] = 0;
}

static void end(void)
{
    arena_release(&arena);
}

TestSuite(change_made, .init = begin, .fini = end);

#define ROW(id, day)                                                                               \
    {                                                                                              \
        SLICE_LITERAL(id), SLICE_LITERAL(day), SLICE_NULL                                          \
    }
static const Slice OLD[COLUMNS] = ROW("1", "old");
static const Slice NEW[COLUMNS] = ROW("2", "new");

static void expect(char op, size_t place, size_t records, const char *row)
{
    const ChangeRow change = {
        .op = op, .old_row = op == 'c' ? NULL : OLD, .new_row = op == 'd' ? NULL : NEW};
    Slice found = change_made_row(&pipeline, &table, &change, place, records, &arena);
    AUTO_TEXT text = slice_is_null(found) ? x_strdup("") : x_strndup(found.data, found.length);
    cr_expect_str_eq(text, row);
}

#define PLACE "{\"oid\":7,\"schema\":\"public\",\"table\":\"item\",\"key\":"

Test(change_made, a_row_is_named_by_its_table_and_key)
{
    expect('c', 0, 1, PLACE "{\"id\":\"2\"}}");
    expect('u', 0, 1, PLACE "{\"id\":\"2\"}}");
    expect('d', 0, 2, PLACE "{\"id\":\"1\"}}");
}

Test(change_made, the_first_records_of_a_key_change_are_about_the_old_row)
{
    expect('u', 0, 3, PLACE "{\"id\":\"1\"}}");
    expect('u', 1, 3, PLACE "{\"id\":\"1\"}}");
    expect('u', 2, 3, PLACE "{\"id\":\"2\"}}");
}

Test(change_made, the_key_of_the_table_goes_before_that_of_the_mapping)
{
    record_key[0] = 1;
    expect('c', 0, 1, PLACE "{\"id\":\"2\"}}");
    columns[0].in_key = 0;
    expect('c', 0, 1, PLACE "{\"day\":\"new\"}}");
    table.key_count = 0;
    expect('c', 0, 1, "");
}

Test(change_made, what_no_record_shows_as_it_is_is_in_no_letter)
{
    record_key[0] = 1;
    columns[0].redact.kind = REDACT_HASH;
    expect('c', 0, 1, PLACE "{\"day\":\"new\"}}");
    columns[0].redact.kind = REDACT_NONE;
    columns[0].shown = false;
    expect('c', 0, 1, PLACE "{\"day\":\"new\"}}");
    record_key[0] = 0;
    expect('c', 0, 1, PLACE "{\"id\":\"2\"}}");
}

Test(change_made, a_key_that_is_not_known_names_no_row)
{
    columns[2].in_key = 2;
    expect('c', 0, 1, "");
}

Test(change_made, nothing_is_kept_where_no_letter_is_written)
{
    pipeline.on_poison = ON_POISON_STOP;
    expect('c', 0, 1, "");
    pipeline.route.on_missing_topic = ON_MISSING_TOPIC_DEAD_LETTER;
    expect('c', 0, 1, PLACE "{\"id\":\"2\"}}");
}
