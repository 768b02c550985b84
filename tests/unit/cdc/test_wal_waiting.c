/* Events of a missing topic: they wait in the table, and the position says so. See wal_rig.h. */
#include <inttypes.h>
#include <string.h>

#include "wal_rig.h"

TestSuite(wal_waiting, .init = rig_prepare, .fini = rig_end);

static void begin_streaming(void)
{
    rig_begin_streaming();
    text_clear(&rig.trace);
}

/* Rows 2 and 3 of 4 wait. */
static void park_two(void)
{
    begin_streaming();
    rig_commit(1, 4);
    RIG_WAIT(rig.pipe.batch_count == 1);
    rig_ack_parked(2, 3);
    RIG_WAIT(rig.position.lsn == 0x10008);
    cr_assert(rig.position.waiting);
    cr_assert_eq(rig.pipe.source->ops->parked(rig.pipe.source), 2);
    cr_assert(rig.rows[1].marked && !rig.rows[2].marked && !rig.rows[3].marked);
}

static void read_again(void)
{
    rig.pipe.source->ops->reread(rig.pipe.source);
    rig.walsender = 0;
    while (rig.pipe.batch_count > 0) {
        rig_ack(rig.pipe.batches[0]->events[0]->seq);
    }
}

static void wait_delivered(int64_t seq, size_t times)
{
    RIG_WAIT(rig.rows[seq].delivered == times);
}

Test(wal_waiting, the_position_passes_them_when_it_says_that_they_wait)
{
    park_two();
    rig_assert_trace("waiting");
    RIG_WAIT(rig.confirmed == 0x10008);
    rig_commit(5, 6);
    RIG_WAIT(rig.pipe.batch_count == 1);
    rig_ack_parked(5, 5);
    RIG_WAIT(rig.confirmed == 0x10108);
    rig_assert_trace("waiting"); /* once */
}

Test(wal_waiting, a_row_that_cannot_be_seen_yet_holds_the_position)
{
    begin_streaming();
    rig.snapshot = "9:9:";
    rig_commit(1, 2);
    RIG_WAIT(rig.pipe.batch_count == 1);
    rig_ack_parked(2, 2);
    RIG_WAIT(rig.sights >= 2);
    cr_assert_eq(rig.position.lsn, 0x10000);
    cr_assert_not(rig.rows[1].marked, "it is behind");
    rig_commit(3, 3);
    RIG_WAIT(rig.pipe.batch_count == 1);
    rig_ack_all();
    size_t sights = rig.sights;
    RIG_WAIT(rig.sights > sights);
    cr_assert_eq(rig.position.lsn, 0x10000);
    rig.snapshot = "10:10:";
    RIG_WAIT(rig.position.lsn == 0x10108);
    cr_assert(rig.rows[1].marked && rig.rows[3].marked && !rig.rows[2].marked);
}

Test(wal_waiting, reading_again_brings_them_and_nothing_else)
{
    park_two();
    rig_commit(5, 6);
    RIG_WAIT(rig.pipe.batch_count == 1);
    rig_ack_all();
    RIG_WAIT(rig.position.lsn == 0x10108);
    text_clear(&rig.trace);
    read_again();
    wait_delivered(3, 2);
    cr_assert_eq(rig.rows[2].delivered, 2);
    cr_assert_eq(rig.pipe.source->ops->parked(rig.pipe.source), 0);
    rig_commit(7, 7); /* stays where it is: in the log */
    rig_ack_all();
    RIG_WAIT(rig.walsender != 0);
    RIG_WAIT(rig.pipe.batch_count == 1);
    rig_assert_trace("snapshot(now) peek copy position(complete) start");
    rig_ack_all();
    RIG_WAIT(rig.confirmed == 0x10208);
    cr_assert_not(rig.position.waiting);
    for (int64_t seq = 1; seq <= 7; seq++) {
        cr_assert_eq(rig.rows[seq].delivered, seq == 2 || seq == 3 ? 2 : 1, "row %" PRId64, seq);
        cr_assert(rig.rows[seq].marked, "row %" PRId64, seq);
    }
    cr_assert_eq(rig.pipe.lost, 0);
}

Test(wal_waiting, what_came_back_unsent_is_left_to_the_log)
{
    park_two();
    rig_commit(5, 6);
    RIG_WAIT(rig.pipe.batch_count == 1);
    read_again(); /* row 5 was not sent, row 6 was */
    wait_delivered(3, 2);
    cr_assert_eq(rig.rows[5].delivered, 1);
    rig_ack_all();
    wait_delivered(5, 2);
    cr_assert_eq(rig.rows[6].delivered, 1, "it is known");
    rig_ack_all();
    RIG_WAIT(rig.confirmed == 0x10108);
    cr_assert(rig.rows[5].marked && rig.rows[6].marked);
}

Test(wal_waiting, those_that_wait_still_are_remembered_and_the_position_says_so)
{
    park_two();
    read_again();
    wait_delivered(3, 2);
    rig_ack_parked(3, 3);
    RIG_WAIT(rig.walsender != 0);
    cr_assert(rig.position.waiting);
    cr_assert(rig.rows[2].marked && !rig.rows[3].marked);
    cr_assert_eq(rig.pipe.source->ops->parked(rig.pipe.source), 1);
}

Test(wal_waiting, a_restart_reads_them_from_the_table)
{
    park_two();
    RIG_WAIT(rig.confirmed == 0x10008);
    rig_end();
    rig_commit(5, 5);
    rig_begin();
    wait_delivered(3, 2);
    rig_assert_trace("snapshot(now) peek copy");
    rig_ack_all();
    wait_delivered(5, 1);
    rig_ack_all();
    RIG_WAIT(rig.confirmed == 0x10108);
    cr_assert_not(rig.position.waiting);
    rig_assert_published_once(4, 5);
}

Test(wal_waiting, a_lost_connection_forgets_none_and_reads_none_again)
{
    park_two();
    rig_commit(5, 6);
    RIG_WAIT(rig.pipe.batch_count == 1);
    stub_stream_end(rig.walsender, "57P01", "terminating connection");
    RIG_WAIT(rig.pipe.lost == 1);
    rig_restart();
    RIG_WAIT(rig.pipe.batch_count == 1);
    cr_assert_eq(rig.pipe.source->ops->parked(rig.pipe.source), 2);
    cr_assert_eq(rig.rows[2].delivered, 1);
    cr_assert_eq(rig.rows[5].delivered, 2);
    rig_ack_all();
    RIG_WAIT(rig.confirmed == 0x10108);
    cr_assert(rig.position.waiting);
}

Test(wal_waiting, what_was_kept_back_when_the_connection_broke_comes_again_as_known)
{
    begin_streaming();
    rig.snapshot = "9:9:";
    rig_commit(1, 3);
    RIG_WAIT(rig.pipe.batch_count == 1);
    rig_ack_parked(2, 2);
    RIG_WAIT(rig.sights >= 1);
    stub_stream_end(rig.walsender, "57P01", "terminating connection");
    RIG_WAIT(rig.pipe.lost == 1);
    rig.snapshot = "10:10:";
    rig_restart();
    RIG_WAIT(rig.pipe.batch_count == 1); /* asserts in the rig: settled, as they were */
    rig_ack(-1);
    RIG_WAIT(rig.confirmed == 0x10008);
    cr_assert_eq(rig.rows[1].delivered + rig.rows[2].delivered + rig.rows[3].delivered, 3);
    cr_assert(rig.rows[1].marked && !rig.rows[2].marked && rig.rows[3].marked);
}

Test(wal_waiting, a_stop_counts_what_is_published_behind_a_parked_row)
{
    begin_streaming();
    rig_commit(1, 4);
    RIG_WAIT(rig.pipe.batch_count == 1);
    Batch *batch = rig.pipe.batches[0];
    batch_settle(batch->events[0], EVENT_PARKED);
    batch_settle(batch->events[1], EVENT_PUBLISHED);
    batch_settle(batch->events[2], EVENT_PUBLISHED);
    rig_ack(4);
    rig.pipe.source->ops->drain(rig.pipe.source);
    RIG_WAIT(rig.pipe.drained == 1);
    cr_assert(rig.position.waiting);
    cr_assert_eq(rig.position.tx_ordinal, 3, "%" PRIu64, rig.position.tx_ordinal);
    cr_assert(!rig.rows[1].marked && rig.rows[2].marked && rig.rows[3].marked);
}

/* Row 3 of 4, which waits, was deleted by its own transaction. */
static void park_one_without_a_row(void)
{
    begin_streaming();
    rig_commit(1, 4);
    rig.rows[3].visible = false;
    RIG_WAIT(rig.pipe.batch_count == 1);
    rig_ack_parked(2, 3);
    RIG_WAIT(rig.pipe.rereads == 1);
}

static bool may_park(int64_t seq)
{
    const Batch *batch = rig.pipe.batches[0];
    for (size_t i = 0; i < batch->count; i++) {
        if (batch->events[i]->seq == seq) {
            return rig.pipe.source->ops->may_park(rig.pipe.source, batch->events[i]);
        }
    }
    cr_assert_fail("row %" PRId64 " did not come", seq);
    return false;
}

Test(wal_waiting, an_event_without_a_row_comes_again_from_the_log_and_is_not_parked)
{
    park_one_without_a_row();
    rig_commit(5, 6);
    RIG_WAIT(rig.pipe.batch_count == 1); /* what was on its way */
    cr_assert_eq(rig.position.lsn, 0x10000);
    read_again();         /* row 5 was not sent, row 6 was */
    wait_delivered(2, 2); /* it has its row, and the position is behind it */
    cr_assert_eq(rig.position.lsn, 0x10000);
    cr_assert_eq(rig.position.tx_ordinal, 2);
    cr_assert(may_park(2));
    rig_ack_parked(2, 2);
    wait_delivered(3, 2);
    cr_assert_not(may_park(3));
    wait_delivered(5, 2);
    cr_assert_eq(rig.rows[4].delivered + rig.rows[6].delivered, 2, "they are known");
    rig_ack_all();
    RIG_WAIT(rig.confirmed == 0x10108);
    cr_assert(rig.rows[1].marked && !rig.rows[2].marked);
    cr_assert(rig.rows[4].marked && rig.rows[5].marked && rig.rows[6].marked);
    cr_assert_eq(rig.pipe.rereads, 1);
    cr_assert_eq(rig.pipe.lost, 0);
    /* It is over: another event may wait in that row. */
    rig.rows[3] = (RigRow){0};
    rig_commit(3, 3);
    RIG_WAIT(rig.pipe.batch_count == 1);
    cr_assert(may_park(3));
}

Test(wal_waiting, a_restart_brings_an_event_without_a_row_from_the_log)
{
    park_one_without_a_row();
    rig_end();
    rig.rows[4].acknowledged = false; /* a kill: it is repeated */
    rig_commit(5, 5);
    rig_begin();
    wait_delivered(2, 2);
    rig_ack_parked(2, 2);
    wait_delivered(3, 2);
    rig_ack_all();
    RIG_WAIT(rig.position.lsn == 0x10108);
    rig.rows[2].acknowledged = true; /* it waits still */
    for (int64_t seq = 1; seq <= 5; seq++) {
        cr_assert(rig.rows[seq].acknowledged, "row %" PRId64, seq);
    }
}

Test(wal_waiting, a_row_that_somebody_marked_meanwhile_is_no_place_to_wait)
{
    begin_streaming();
    rig_commit(1, 1);
    rig.rows[1].marked = true;
    RIG_WAIT(rig.pipe.batch_count == 1);
    rig_ack_parked(1, 1);
    RIG_WAIT(rig.pipe.rereads == 1);
    cr_assert_eq(rig.position.lsn, 0x10000);
}

Test(wal_waiting, a_row_that_is_deleted_later_holds_nothing)
{
    park_two();
    rig.rows[2] = (RigRow){.acknowledged = true}; /* given up */
    rig_commit(5, 6);
    RIG_WAIT(rig.pipe.batch_count == 1);
    rig_ack_parked(5, 5);
    RIG_WAIT(rig.position.lsn == 0x10108);
    cr_assert_eq(rig.pipe.rereads, 0);
}

Test(wal_waiting, a_stop_leaves_the_position_before_an_event_without_a_row)
{
    begin_streaming();
    rig_commit(1, 4);
    rig.rows[3].visible = false;
    RIG_WAIT(rig.pipe.batch_count == 1);
    rig_ack_parked(3, 3);
    rig.pipe.source->ops->drain(rig.pipe.source);
    RIG_WAIT(rig.pipe.drained == 1);
    cr_assert_eq(rig.position.lsn, 0x10000);
    cr_assert_eq(rig.position.tx_ordinal, 2, "%" PRIu64, rig.position.tx_ordinal);
}

Test(wal_waiting, what_is_behind_an_event_without_a_row_is_known_when_it_comes_again)
{
    begin_streaming();
    rig.snapshot = "9:9:"; /* nothing can be seen: all is kept back */
    rig_commit(1, 3);
    rig.rows[1].visible = false;
    RIG_WAIT(rig.pipe.batch_count == 1);
    rig_ack_parked(1, 1);
    rig_commit(4, 6);
    RIG_WAIT(rig.pipe.batch_count == 1);
    rig_ack_parked(5, 5);
    rig.snapshot = "10:10:";
    RIG_WAIT(rig.pipe.rereads == 1);
    read_again();
    wait_delivered(5, 2);
    cr_assert_eq(rig.rows[1].delivered, 2);
    rig_ack_all();
    RIG_WAIT(rig.confirmed == 0x10108);
    for (int64_t seq = 1; seq <= 6; seq++) {
        cr_assert_eq(rig.rows[seq].delivered, seq == 1 || seq == 5 ? 2 : 1, "row %" PRId64, seq);
        cr_assert(rig.rows[seq].acknowledged);
    }
}

Test(wal_waiting, rows_are_not_looked_for_in_another_table_that_has_the_name)
{
    begin_streaming();
    rig.renamed = true;
    rig_commit(1, 2);
    RIG_WAIT(rig.pipe.batch_count == 1);
    rig_ack_parked(1, 1);
    RIG_WAIT(rig.pipe.lost == 1);
    cr_assert_eq(rig.pipe.rereads, 0);
    cr_assert_eq(rig.position.lsn, 0x10000);
}

Test(wal_waiting, what_comes_back_after_the_connection_broke_comes_again_as_known)
{
    begin_streaming();
    rig_commit(1, 3);
    RIG_WAIT(rig.pipe.batch_count == 1);
    Batch *batch = rig.pipe.batches[0];
    batch_settle(batch->events[0], EVENT_PUBLISHED);
    batch_settle(batch->events[1], EVENT_PARKED);
    batch_settle(batch->events[2], EVENT_PUBLISHED);
    stub_stream_end(rig.walsender, "57P01", "terminating connection");
    RIG_WAIT(rig.pipe.lost == 1);
    rig_restart();
    RIG_WAIT(rig.pipe.batch_count == 1); /* asserts in the rig: settled, as they were */
    rig_ack(-1);
    RIG_WAIT(rig.confirmed == 0x10008);
    cr_assert(rig.rows[1].marked && !rig.rows[2].marked && rig.rows[3].marked);
}

Test(wal_waiting, kept_rows_and_messages_are_not_parked)
{
    begin_streaming();
    Event event = {.seq = 1};
    cr_assert(rig.pipe.source->ops->may_park(rig.pipe.source, &event));
    rig.pipe.pipeline.wal.messages = true;
    cr_assert_not(rig.pipe.source->ops->may_park(rig.pipe.source, &event));
    rig.pipe.pipeline.wal.messages = false;
    rig.pipe.pipeline.outbox.on_publish = ON_PUBLISH_KEEP;
    cr_assert_not(rig.pipe.source->ops->may_park(rig.pipe.source, &event));
}

Test(wal_waiting, reading_again_while_the_end_of_a_filling_is_stored_begins_with_the_facts)
{
    rig_commit(1, 3);
    rig_begin();
    RIG_WAIT(rig.pipe.batch_count == 1);
    rig.hang_saves = true;
    text_clear(&rig.trace);
    rig_ack_all();
    RIG_WAIT(strcmp(text_string(&rig.trace), "position(complete)") == 0);
    rig.pipe.source->ops->reread(rig.pipe.source);
    rig.hang_saves = false;
    stub_continue();
    RIG_WAIT(rig.walsender != 0);
    rig_assert_trace("position(complete) start");
    rig_commit(4, 4);
    RIG_WAIT(rig.rows[4].delivered == 1);
    rig_ack_all();
    RIG_WAIT(rig.rows[4].marked);
    rig_assert_published_once(1, 4);
    cr_assert_eq(rig.pipe.lost, 0);
}
