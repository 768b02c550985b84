#include "flow/refusal.h"
#include "unit/rows/marker_rig.h"

TestSuite(marker_aside, .init = marker_rig_prepare, .fini = marker_rig_end);

Test(marker_aside, dead_letters_go_before_marks)
{
    marker_rig_begin();
    Batch *batch = batch_new();
    Event *event = batch_add(batch, given_schema(0));
    event->seq = 5;
    marker_add_aside(rig.marker, event, &(Record){0}, &(Error){.code = CODE_RECORD_TOO_LARGE});
    marker_rig_add(ROWS_OF(1), 9, 0);
    marker_add_position(rig.marker, &(MarkerPosition){.lsn = 0x100}, true);
    marker_next(rig.marker);
    cr_assert_eq(rig.server.letters, 1);
    cr_assert_eq(rig.server.marks, 0);
    WAIT(rig.asides == 1);
    cr_assert_eq(rig.aside_reason, CODE_RECORD_TOO_LARGE);
    WAIT(!marker_pending(rig.marker));
    cr_assert_eq(rig.server.marks, 1);
    batch_free(&batch);
}

Test(marker_aside, a_dead_letter_waits_for_a_lock_like_a_mark)
{
    rig.pipeline.claim.lease_ms = 30;
    marker_rig_begin();
    rig.server.error = "55P03";
    Batch *batch = batch_new();
    Event *event = batch_add(batch, given_schema(0));
    event->seq = 5;
    marker_add_aside(rig.marker, event, &(Record){0}, &(Error){.code = CODE_RECORD_TOO_LARGE});
    marker_next(rig.marker);
    WAIT(rig.server.letters >= 3);
    cr_assert_eq(rig.asides, 0);
    cr_assert_eq(rig.lost, 0);
    rig.server.error = NULL;
    WAIT(rig.asides == 1);
    batch_free(&batch);
}

Test(marker_aside, a_dead_letter_that_is_refused_is_given_back_and_marks_go_on)
{
    marker_rig_begin();
    rig.server.error = "42501";
    Batch *batch = batch_new();
    marker_rig_add_letter(batch, 5);
    WAIT(rig.asides_refused == 1);
    cr_assert_not_null(strstr(error_message(&rig.error), "writing to outbox.dead_letter"));
    cr_assert_eq(rig.aside_reason, CODE_RECORD_TOO_LARGE);
    cr_assert_not(marker_pending(rig.marker), "it is its owner's again");
    rig.server.error = NULL;
    marker_rig_add_now(ROWS_OF(1), 9, 0x100);
    WAIT(marker_unmarked(rig.marker) == 0);
    marker_rig_add_letter(batch, 6);
    WAIT(rig.asides == 1);
    cr_assert_eq(rig.lost, 0);
    cr_assert_eq(rig.refusals, 0);
    batch_free(&batch);
}

Test(marker_aside, a_dead_letter_that_somebody_swallows_is_given_back)
{
    marker_rig_begin();
    rig.server.swallows = true;
    Batch *batch = batch_new();
    marker_rig_add_letter(batch, 5);
    WAIT(rig.asides_refused == 1);
    cr_assert_not_null(strstr(error_message(&rig.error), "stored no row"));
    cr_assert_eq(rig.asides, 0, "nobody would have the event");
    rig.server.swallows = false;
    marker_rig_add_letter(batch, 5);
    WAIT(rig.asides == 1);
    batch_free(&batch);
}

static void add_letters(Batch *batch, int64_t count)
{
    for (int64_t seq = 1; seq <= count; seq++) {
        char *id = arena_alloc(&batch->arena, 16);
        snprintf(id, 16, "id %lld", (long long)seq);
        Event *event = batch_add(batch, given_schema(0));
        event->seq = seq;
        event->row[FIELD_EVENT_ID] = slice_of(id);
        marker_add_aside(rig.marker, event, &(Record){0}, &(Error){.code = CODE_RECORD_TOO_LARGE});
    }
    marker_next(rig.marker);
}

/* Each once, in order, but not this one. */
static void assert_asides(int64_t count, int64_t except)
{
    int64_t seq = 0;
    for (size_t i = 0; i < rig.asides; i++) {
        seq += 1 + (seq + 1 == except);
        cr_assert_eq(rig.aside_seqs[i], seq, "%lld", (long long)rig.aside_seqs[i]);
    }
    cr_assert_eq((int64_t)rig.asides, count - (except != 0));
}

Test(marker_aside, many_dead_letters_take_few_statements_and_keep_their_order)
{
    marker_rig_begin();
    Batch *batch = batch_new();
    add_letters(batch, 300);
    marker_rig_add(ROWS_OF(1), 9, 0);
    marker_add_position(rig.marker, &(MarkerPosition){.lsn = 0x100}, true);
    while (rig.asides < 300) {
        cr_assert_eq(rig.server.marks, 0, "letters go before marks");
        marker_rig_turn();
    }
    assert_asides(300, 0);
    cr_assert_leq(rig.server.letters + rig.server.groups, 12);
    WAIT(!marker_pending(rig.marker));
    cr_assert_eq(rig.server.marks, 1);
    batch_free(&batch);
}

Test(marker_aside, a_dead_letter_among_many_that_is_refused_is_the_only_one)
{
    marker_rig_begin();
    rig.server.bad_letter = 100;
    Batch *batch = batch_new();
    add_letters(batch, 300);
    WAIT(rig.asides + rig.asides_refused == 300);
    cr_assert_eq(rig.asides_refused, 1);
    assert_asides(300, 100);
    cr_assert_eq(rig.lost, 0);
    cr_assert_gt(rig.server.groups, 4, "the others go together again");
    batch_free(&batch);
}

Test(marker_aside, a_dead_letter_among_many_whose_row_is_gone_goes_by_its_bytes)
{
    marker_rig_begin();
    rig.server.gone_letter = 100;
    Batch *batch = batch_new();
    add_letters(batch, 300);
    WAIT(rig.asides == 300);
    assert_asides(300, 0);
    cr_assert_eq(rig.asides_refused, 0);
    batch_free(&batch);
}

Test(marker_aside, a_dead_letter_among_many_that_somebody_swallows_is_the_only_one)
{
    marker_rig_begin();
    rig.server.swallowed_letter = 2;
    Batch *batch = batch_new();
    add_letters(batch, 300);
    WAIT(rig.asides + rig.asides_refused == 300);
    cr_assert_eq(rig.asides_refused, 1);
    cr_assert_not_null(strstr(error_message(&rig.error), "stored no row"));
    assert_asides(300, 2);
    batch_free(&batch);
}

Test(marker_aside, many_dead_letters_whose_connection_breaks_are_not_reported)
{
    marker_rig_begin();
    rig.server.break_group = true;
    Batch *batch = batch_new();
    add_letters(batch, 300);
    WAIT(rig.lost == 1);
    cr_assert_eq(rig.asides, 1, "the first went alone");
    cr_assert_not_null(strstr(error_message(&rig.error), "writing to outbox.dead_letter"));
    batch_free(&batch);
}

Test(marker_aside, that_is_stopped_while_it_reports_many_dead_letters_reports_no_more)
{
    marker_rig_begin();
    Batch *batch = batch_new();
    rig.stop_at_aside = 2;
    add_letters(batch, 300);
    WAIT(rig.asides == 2);
    marker_rig_turn();
    cr_assert_eq(rig.asides, 2);
    cr_assert_not(marker_pending(rig.marker));
    batch_free(&batch);
}

enum { LARGE_BYTES = 5 * 1024 * 1024 };

static void count_fed(void *arg, int connection, const char *bytes, size_t length)
{
    (void)arg;
    (void)connection;
    (void)bytes;
    rig.server.fed_bytes += length;
}

/* A message, whose value stands in memory. */
static void add_large_letter(Batch *batch)
{
    stub_stream_receive(count_fed);
    Event *event = batch_add(batch, given_schema(0));
    event->seq = EVENT_NO_SEQ;
    Refusal *refusal = refusal_new(event, 1);
    char *value = arena_alloc(&batch->arena, LARGE_BYTES);
    memset(value, 'x', LARGE_BYTES);
    refusal->values[refusal->count++] = (RefusedValue){
        .target = FIELD_CORRELATION_ID, .bytes = {.data = value, .length = LARGE_BYTES}};
    marker_add_aside(rig.marker, event, &(Record){0}, &(Error){.code = CODE_EVENT_TOO_LARGE});
    marker_next(rig.marker);
}

Test(marker_aside, a_large_dead_letter_is_fed)
{
    marker_rig_begin();
    Batch *batch = batch_new();
    add_large_letter(batch);
    WAIT(rig.asides == 1);
    cr_assert_eq(rig.server.feeds, 1);
    cr_assert_eq(rig.server.letters, 0);
    cr_assert_geq(rig.server.fed_bytes, LARGE_BYTES);
    marker_rig_add_letter(batch, 6);
    WAIT(rig.asides == 2);
    cr_assert_eq(rig.server.letters, 1);
    batch_free(&batch);
}

Test(marker_aside, a_large_dead_letter_is_inserted_where_the_table_takes_no_copy)
{
    /* policies, a view; other types of its columns: "insufficient data left in message", "incorrect
     * binary data format", another type of elements, "unsupported jsonb version" */
    const char *states[] = {"0A000", "42809", "08P01", "22P03", "22P02", "42804", "XX000"};
    marker_rig_begin();
    Batch *batch = batch_new();
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
        rig.server.feed_error = states[i];
        add_large_letter(batch);
        WAIT(rig.asides == i + 1);
        cr_assert_eq(rig.server.letters, i + 1);
        cr_assert_eq(rig.server.feeds, i + 1);
    }
    batch_free(&batch);
}

Test(marker_aside, a_dead_letter_with_characters_that_the_database_lacks_is_told_otherwise)
{
    marker_rig_begin();
    Batch *batch = batch_new();
    rig.server.feed_error = "22P05";
    add_large_letter(batch);
    WAIT(rig.asides == 1);
    cr_assert_eq(rig.server.feeds, 2);
    cr_assert_eq(rig.server.letters, 1, "nor does it take a COPY of ours");
    batch_free(&batch);
}

Test(marker_aside, a_large_dead_letter_that_is_refused_or_swallowed_is_given_back)
{
    marker_rig_begin();
    Batch *batch = batch_new();
    rig.server.feed_error = "42501";
    add_large_letter(batch);
    WAIT(rig.asides_refused == 1);
    rig.server.feed_error = NULL;
    rig.server.swallows = true;
    add_large_letter(batch);
    WAIT(rig.asides_refused == 2);
    cr_assert_not_null(strstr(error_message(&rig.error), "stored no row"));
    cr_assert_eq(rig.server.letters, 0);
    cr_assert_eq(rig.asides, 0);
    batch_free(&batch);
}

Test(marker_aside, a_connection_that_ends_while_a_large_dead_letter_is_fed_leaves_nothing)
{
    marker_rig_begin();
    Batch *batch = batch_new();
    add_large_letter(batch);
    while (rig.server.fed_bytes == 0) { /* a turn brings a part of it */
        event_base_loop(rig.base, EVLOOP_ONCE);
    }
    cr_assert_lt(rig.server.fed_bytes, LARGE_BYTES, "it is under way");
    pg_conn_close(rig.conn);
    marker_stop(rig.marker);
    batch_free(&batch);
    cr_assert_eq(rig.asides, 0);
}

Test(marker_aside, a_server_that_ends_or_is_no_primary_is_lost_not_the_letter)
{
    marker_rig_begin();
    rig.server.error = "25006";
    Batch *batch = batch_new();
    marker_rig_add_letter(batch, 5);
    WAIT(rig.lost == 1);
    cr_assert_eq(rig.asides_refused, 0);
    batch_free(&batch);
}
