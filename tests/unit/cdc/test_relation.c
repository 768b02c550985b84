#include <criterion/criterion.h>
#include <string.h>

#include "relation_rig.h"

Test(relation, a_column_that_is_told_twice_counts_once)
{
    BuildColumn columns[ENVELOPE_COLUMNS * 8];
    for (size_t i = 0; i < ENVELOPE_COLUMNS * 8; i++) {
        columns[i] = ENVELOPE[i % ENVELOPE_COLUMNS];
    }
    cr_assert_eq(told_put(OUTBOX, "outbox", "event", columns, ENVELOPE_COLUMNS * 8), OK);
}

Test(relation, a_column_that_an_event_needs_stops_us_when_it_is_gone)
{
    for (size_t gone = 0; gone < ENVELOPE_COLUMNS; gone++) {
        BuildColumn columns[ENVELOPE_COLUMNS];
        memcpy(columns, ENVELOPE, sizeof(columns));
        columns[gone].name = "renamed";
        error_clear(&told.err);
        cr_assert_eq(told_put(OUTBOX, "outbox", "event", columns, ENVELOPE_COLUMNS), FAILED, "%s",
                     ENVELOPE[gone].name);
        cr_assert_eq(told.err.code, CODE_COLUMN_MISSING);
        cr_assert_eq(told.err.class, ERROR_FATAL);
        cr_assert_not_null(strstr(error_message(&told.err), ENVELOPE[gone].name), "%s",
                           error_message(&told.err));
        cr_assert_not_null(strstr(error_own_hint(&told.err), ENVELOPE[gone].name), "%s",
                           error_own_hint(&told.err));
        cr_assert_not_null(
            strstr(error_own_hint(&told.err), "has the column again: `outboxd run --new-slot`"));
    }
    cr_assert_eq(told_put(OUTBOX, "outbox", "event", ENVELOPE, ENVELOPE_COLUMNS), OK);
}

Test(relation, a_column_that_is_configured_away_is_not_missed)
{
    told.pipeline.outbox.columns[FIELD_AGGREGATE_ID] = GIVEN("");
    told.pipeline.outbox.columns[FIELD_AGGREGATE_TYPE] = GIVEN("");
    cr_assert_eq(told_put(OUTBOX, "outbox", "event", ENVELOPE, 3), FAILED, "payload is missed");
    static const BuildColumn COLUMNS[] = {
        {"seq", INT8}, {"event_id", TEXT}, {"event_type", TEXT}, {"payload", JSONB}};
    cr_assert_eq(told_put(OUTBOX, "outbox", "event", COLUMNS, 4), OK, "%s",
                 error_message(&told.err));
}

Test(relation, payload_bytes_are_needed_when_there_is_no_payload)
{
    told.pipeline.outbox.columns[FIELD_PAYLOAD] = GIVEN("");
    static const BuildColumn COLUMNS[] = {{"seq", INT8},          {"event_id", TEXT},
                                          {"event_type", TEXT},   {"aggregate_type", TEXT},
                                          {"aggregate_id", TEXT}, {"payload_bytes", BYTEA}};
    cr_assert_eq(told_put(OUTBOX, "outbox", "event", COLUMNS, 6), OK, "%s",
                 error_message(&told.err));
    cr_assert_eq(told_put(OUTBOX, "outbox", "event", COLUMNS, 5), FAILED);
    cr_assert_eq(told.err.code, CODE_COLUMN_MISSING);
    cr_assert_not_null(strstr(error_own_hint(&told.err), "columns.payload_bytes"), "%s",
                       error_own_hint(&told.err));
}

Test(relation, the_outbox_is_known_by_number_or_by_name)
{
    bool known = true;
    cr_assert_null(relations_find(&told.relations, 1, &known));
    cr_assert_not(known);
    cr_assert_eq(told_put(1, "outbox", "other", NULL, 0), OK, "its columns are nobody's business");
    cr_assert_null(relations_find(&told.relations, 1, &known));
    cr_assert(known);
    cr_assert_eq(told_put(2, "other", "event", NULL, 0), OK);
    cr_assert_null(relations_find(&told.relations, 2, &known));
    cr_assert_eq(told_put(OUTBOX, "moved", "renamed", ENVELOPE, ENVELOPE_COLUMNS), OK);
    cr_assert_not_null(relations_find(&told.relations, OUTBOX, &known));
    cr_assert_eq(told_put(3, "outbox", "event", ENVELOPE, ENVELOPE_COLUMNS), OK, "made again");
    cr_assert_not_null(relations_find(&told.relations, 3, &known));
    relations_reset(&told.relations);
    cr_assert_null(relations_find(&told.relations, OUTBOX, &known));
    cr_assert_not(known);
}

Test(relation, a_relation_replaces_what_was_known_of_its_table)
{
    told_put_with("tenant", TEXT);
    told_assert_slice(told_read_with(SLICE_LITERAL("first"))->row[FIELD_COUNT],
                      SLICE_LITERAL("first"), "tenant");
    told_put_with("region", TEXT);
    Event *event = told_read_with(SLICE_LITERAL("second"));
    cr_assert(slice_is_null(event->row[FIELD_COUNT]));
    told_assert_slice(event->row[FIELD_COUNT + 1], SLICE_LITERAL("second"), "region");
    cr_assert_eq(told.relations.count, 1);
    cr_assert_eq(told_put(OUTBOX, "outbox", "event", ENVELOPE, 3), FAILED);
    told_put_with("tenant", BOOL);
    told_assert_slice(told_read_with(SLICE_LITERAL("t"))->row[FIELD_COUNT], SLICE_LITERAL("true"),
                      "tenant");
}
