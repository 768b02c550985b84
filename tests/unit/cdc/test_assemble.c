#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "assemble_rig.h"
#include "flow/refusal.h"

Test(assemble, small_transactions_share_a_batch)
{
    feed_relations();
    feed_assert_batch("");
    feed_begin(0x2000);
    feed_row(7);
    feed_row(8);
    feed_commit(0x2000);
    feed_begin(0x3000);
    feed_row(5);
    feed_commit(0x3000);
    feed_assert_batch("2000:1=7 2000:2=8 3000:1=5");
    feed_assert_position(0x3008, 0, 0);
    cr_assert_eq(feed.batch->unsettled, 3);
    cr_assert_eq(feed.batch->events[2]->xid, 0x3000 & 0xFFF);
    cr_assert(slice_equal(feed.batch->events[2]->row[FIELD_COUNT], SLICE_LITERAL("acme")));
    feed_assert_batch("");
}

Test(assemble, transactions_without_events_move_the_place_of_the_next_batch)
{
    feed_relations();
    feed_begin(0x2000);
    feed_commit(0x2000);
    cr_assert_eq(feed.assembler.complete_lsn, 0x2008);
    feed_assert_batch("");
    feed_begin(0x3000);
    feed_build_event(OTHER_TABLE, 1);
    feed_bytes();
    feed_row(5);
    feed_assert_batch("3000:1=5");
    feed_assert_position(0x2008, 0x3000, 1);
}

Test(assemble, a_big_transaction_is_spread_over_batches)
{
    feed_relations();
    feed_begin(0x2000);
    feed_row(1);
    feed_commit(0x2000);
    feed_begin(0x3000);
    feed_row(2);
    feed_row(3);
    feed_assert_batch("2000:1=1 3000:1=2 3000:2=3");
    feed_assert_position(0x2008, 0x3000, 2);
    feed_row(4);
    feed_assert_batch("3000:3=4");
    feed_assert_position(0x2008, 0x3000, 3);
    feed_row(5);
    feed_commit(0x3000);
    feed_assert_batch("3000:4=5");
    feed_assert_position(0x3008, 0, 0);
}

Test(assemble, what_was_done_inside_of_a_transaction_is_not_made_again)
{
    feed.assembler.done_lsn = 0x3000;
    feed.assembler.done_ordinal = 2;
    feed_relations();
    feed_begin(0x2000); /* before it: done, too */
    feed_row(1);
    feed_commit(0x2000);
    feed_begin(0x3000);
    feed_row(2);
    feed_message(MESSAGE_PREFIX, true, "second");
    feed_row(4);
    feed_commit(0x3000);
    feed_begin(0x4000);
    feed_row(5);
    feed_commit(0x4000);
    feed_assert_batch("3000:3=4 4000:1=5");
    feed_assert_position(0x4008, 0, 0);
}

Test(assemble, events_that_are_known_are_settled)
{
    known_events_add(&feed.known, 0x2000, 2);
    known_events_add(&feed.known, 0x3000, 1);
    feed_relations();
    feed_begin(0x2000);
    feed_row(1);
    feed_row(2);
    feed_row(3);
    feed_commit(0x2000);
    feed_begin(0x3000);
    feed_message(MESSAGE_PREFIX, true, "known");
    feed_commit(0x3000);
    feed_assert_batch("2000:1=1 2000:2=2! 2000:3=3 3000:1=-!");
    cr_assert_eq(feed.batch->unsettled, 2);
    cr_assert_eq(feed.batch->events[1]->state, EVENT_PUBLISHED);
}

/* The envelope, and published_at where the tenant stands. */
static void send_published_row(int64_t seq, Slice published_at)
{
    char text[24];
    snprintf(text, sizeof(text), "%" PRId64, seq);
    const Slice values[FEED_COLUMN_COUNT] = {slice_of(text),
                                             SLICE_LITERAL("id"),
                                             SLICE_LITERAL("placed"),
                                             SLICE_LITERAL("order"),
                                             SLICE_LITERAL("42"),
                                             SLICE_LITERAL("{}"),
                                             published_at};
    build_insert(&feed.bytes, OUTBOX, values, FEED_COLUMN_COUNT);
    feed_bytes();
}

Test(assemble, rows_inserted_as_published_are_left_out_and_counted)
{
    BuildColumn columns[FEED_COLUMN_COUNT];
    memcpy(columns, FEED_COLUMNS, sizeof(columns));
    columns[FEED_COLUMN_COUNT - 1] = (BuildColumn){"published_at", 1184};
    build_relation(&feed.bytes, OUTBOX, "outbox", "event", columns, FEED_COLUMN_COUNT);
    feed_bytes();
    feed_begin(0x2000);
    send_published_row(1, SLICE_LITERAL("2026-01-01 00:00:00+00"));
    feed_commit(0x2000);
    feed_assert_batch("");
    feed_begin(0x3000);
    send_published_row(2, SLICE_LITERAL("2026-01-01 00:00:00+00"));
    send_published_row(3, BUILD_NULL);
    send_published_row(1, SLICE_LITERAL("infinity"));
    feed_assert_batch("3000:2=3");
    feed_assert_position(0x2008, 0x3000, 3);
    cr_assert_eq(feed.batch->unsettled, 1);
}

Test(assemble, messages_and_rows_are_numbered_together)
{
    feed_relations();
    feed_begin(0x2000);
    feed_row(1);
    feed_message(MESSAGE_PREFIX, true, "m-1");
    feed_row(2);
    feed_commit(0x2000);
    feed_assert_batch("2000:1=1 2000:2=- 2000:3=2");
    const Event *event = feed.batch->events[1];
    cr_assert_null(event->refusal);
    cr_assert(slice_equal(event->row[FIELD_EVENT_ID], SLICE_LITERAL("m-1")));
    cr_assert(slice_is_null(event->row[FIELD_PAYLOAD]));
    cr_assert(slice_is_null(event->row[FIELD_COUNT]));
}

Test(assemble, messages_of_others_are_nothing)
{
    feed_begin(0x2000);
    feed_message("outboxd.event2", true, "a");
    feed_message("outboxd.even", true, "a");
    feed_message("", true, "a");
    feed_message("OUTBOXD.EVENT", true, "a");
    feed_message(MESSAGE_PREFIX, true, "ours");
    feed_commit(0x2000);
    feed_assert_batch("2000:1=-");
}

Test(assemble, messages_outside_of_a_transaction_are_ignored)
{
    feed_message(MESSAGE_PREFIX, false, "a");
    feed_begin(0x2000);
    feed_message(MESSAGE_PREFIX, false, "a");
    feed_message(MESSAGE_PREFIX, true, "b");
    feed_commit(0x2000);
    feed_message(MESSAGE_PREFIX, false, "a");
    feed_assert_batch("2000:1=-");
    cr_assert(slice_equal(feed.batch->events[0]->row[FIELD_EVENT_ID], SLICE_LITERAL("b")));
}

Test(assemble, messages_that_are_not_wanted_are_nothing)
{
    feed.pipeline.wal.messages = false;
    feed_relations();
    feed_begin(0x2000);
    feed_message(MESSAGE_PREFIX, true, "a");
    feed_row(1);
    feed_assert_batch("2000:1=1");
}

/* Anybody may write one: it is set aside with its bytes, and the stream goes on. */
Test(assemble, a_message_that_cannot_be_read_is_an_event_of_its_bytes)
{
    AUTO_BUFFER content = TEXT_EMPTY;
    build_event_content(&content, "id");
    feed_begin(0x2000);
    for (size_t cut = 0; cut < content.length; cut++) {
        build_message(&feed.bytes, true, MESSAGE_PREFIX,
                      (Slice){.data = content.data, .length = cut});
        feed_bytes();
    }
    size_t cuts = content.length;
    text_add_char(&content, '\0'); /* too long */
    Slice longer = {.data = content.data, .length = content.length};
    build_message(&feed.bytes, true, MESSAGE_PREFIX, longer);
    feed_bytes();
    feed_message(MESSAGE_PREFIX, true, ""); /* without an id */
    feed_message(MESSAGE_PREFIX, true, "\xff");
    feed_message(MESSAGE_PREFIX, true, "good");
    feed_commit(0x2000);
    feed.batch = assembler_finish(&feed.assembler);
    cr_assert_eq(feed.batch->count, cuts + 4);
    AUTO_BUFFER good = TEXT_EMPTY;
    build_event_content(&good, "good");
    size_t held = good.length + event_bytes(feed.batch->events[0]);
    for (size_t i = 0; i + 1 < feed.batch->count; i++) {
        held += feed.batch->events[i]->row[FIELD_PAYLOAD_BYTES].length +
                event_bytes(feed.batch->events[0]);
    }
    cr_assert_eq(feed.batch->bytes, held, "%zu, not %zu", feed.batch->bytes, held);
    for (size_t i = 0; i < feed.batch->count; i++) {
        const Event *event = feed.batch->events[i];
        cr_assert_eq(event->refusal != NULL && event->refusal->foreign, i + 1 < feed.batch->count,
                     "%zu", i);
        cr_assert_eq(event->ordinal, i + 1);
        cr_assert_eq(event->commit_lsn, 0x2000);
        cr_assert_eq(event->seq, EVENT_NO_SEQ);
        if (i <= cuts) {
            Slice sent = {.data = content.data, .length = i < cuts ? i : content.length};
            cr_assert(slice_equal(event->row[FIELD_PAYLOAD_BYTES], sent), "%zu", i);
            cr_assert(slice_is_null(event->row[FIELD_EVENT_ID]), "%zu", i);
        }
    }
}

Test(assemble, what_cannot_be_outside_of_a_transaction_breaks_the_stream)
{
    AUTO_BUFFER content = TEXT_EMPTY;
    build_event_content(&content, "id");
    feed_relations();
    feed_build_event(OUTBOX, 1);
    feed_assert_violation("insert");
    build_commit(&feed.bytes, 0x2000, 0x2008);
    feed_assert_violation("commit");
    build_message(&feed.bytes, true, MESSAGE_PREFIX,
                  (Slice){.data = content.data, .length = content.length});
    feed_assert_violation("message");
    feed_assert_batch("");
}

Test(assemble, what_cannot_be_inside_of_a_transaction_breaks_the_stream)
{
    feed_begin(0x2000);
    build_begin(&feed.bytes, 0x3000, 9);
    feed_assert_violation("begin");
    feed_build_event(OUTBOX, 1);
    feed_assert_violation("insert of an unknown relation");
    text_append(&feed.bytes, "I\0\0", 3);
    feed_assert_violation("truncated");
    text_add(&feed.bytes, "?");
    feed_assert_violation("unknown");
}

Test(assemble, what_was_not_asked_for_breaks_the_stream)
{
    assembler_restart(&feed.assembler, 0x1000, 4);
    text_append(&feed.bytes, "S\0\0\0\7\1", 6);
    feed_assert_violation("stream start");
    assembler_restart(&feed.assembler, 0x1000, 4);
    text_add_char(&feed.bytes, 'b');
    copy_put_be(&feed.bytes, 0x2000, 8);
    copy_put_be(&feed.bytes, 0x2008, 8);
    copy_put_be(&feed.bytes, 0, 8);
    copy_put_be(&feed.bytes, 7, 4);
    build_string(&feed.bytes, "gid");
    feed_assert_violation("begin prepare");
}

Test(assemble, changes_that_are_no_inserts_are_passed)
{
    feed_relations();
    feed_begin(0x2000);
    feed_row(1);
    text_append(&feed.bytes, "D\0\0\100\20K\0\1t\0\0\0\1x", 14); /* OUTBOX */
    feed_bytes();
    text_append(&feed.bytes, "U\0\0\100\20N\0\1t\0\0\0\1x", 14);
    feed_bytes();
    text_append(&feed.bytes, "T\0\0\0\1\0\0\0\100\20", 10);
    feed_bytes();
    text_append(&feed.bytes, "O\0\0\0\0\0\0\0\1here\0", 14);
    feed_bytes();
    feed_row(2);
    feed_commit(0x2000);
    feed_assert_batch("2000:1=1 2000:2=2");
}

Test(assemble, a_restart_forgets_what_was_under_way)
{
    feed_relations();
    feed_begin(0x2000);
    feed_row(1);
    assembler_restart(&feed.assembler, 0x1500, 1);
    feed_assert_batch("");
    feed_begin(0x2000);
    feed_build_event(OUTBOX, 1);
    feed_assert_violation("the relation was of the stream before");
    assembler_restart(&feed.assembler, 0x1500, 1);
    feed_relations();
    feed_begin(0x2000);
    feed_row(1);
    feed_assert_batch("2000:1=1");
    feed_assert_position(0x1500, 0x2000, 1);
}

Test(assemble, a_commit_that_goes_back_is_a_violation)
{
    feed_relations();
    feed_begin(0x3000);
    feed_commit(0x3000);
    build_begin(&feed.bytes, 0x2000, 9);
    feed_assert_violation("it committed before the last one");
    assembler_restart(&feed.assembler, 0x1000, 1);
    build_begin(&feed.bytes, 0xFFF, 9);
    feed_assert_violation("it committed before the place that was asked for");
}

Test(assemble, a_commit_that_its_begin_did_not_announce_is_a_violation)
{
    feed_begin(0x3000);
    build_commit(&feed.bytes, 0x3001, 0x3008);
    feed_assert_violation("another place than the begin told");
    assembler_restart(&feed.assembler, 0x1000, 1);
    feed_begin(0x3000);
    build_commit(&feed.bytes, 0x3000, 0x3000);
    feed_assert_violation("it ends where it begins");
    cr_assert_eq(feed.assembler.complete_lsn, 0x1000);
}
