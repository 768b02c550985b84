#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "wal_rig.h"

TestSuite(wal, .init = rig_prepare, .fini = rig_end);

/* Slot and position of a relay that ran before. */
static void given_position(uint64_t lsn)
{
    rig.has_slot = true;
    rig.confirmed = lsn;
    rig.position = (RigPosition){.lsn = lsn, .end = SLOT_NO_END};
}

static void begin_streaming(void)
{
    given_position(rig.end_lsn);
    rig_begin();
    RIG_WAIT(rig.walsender != 0 && rig.pipe.active == 1);
}

static void assert_trace(const char *expected)
{
    cr_assert_str_eq(text_string(&rig.trace), expected, "%s", text_string(&rig.trace));
}

Test(wal, a_first_start_makes_publication_then_slot_and_publishes_what_its_snapshot_shows)
{
    rig.has_publication = false;
    rig_commit(1, 3);
    rig_begin();
    RIG_WAIT(rig.pipe.batch_count == 1);
    assert_trace("publication slot position(filling) snapshot(slot) copy");
    cr_assert_eq(rig.pipe.active, 1);
    rig_commit(4, 5); /* behind the slot */
    rig_ack_all();
    RIG_WAIT(rig.pipe.batch_count == 1);
    assert_trace("publication slot position(filling) snapshot(slot) copy position(complete) start");
    rig_ack_all();
    RIG_WAIT(rig.position.lsn == 0x10108 && rig.confirmed == rig.position.lsn);
    rig_assert_published_once(1, 5);
    cr_assert_eq(rig.pipe.active, 1);
}

Test(wal, a_restart_goes_on_at_the_position)
{
    rig_commit(1, 2);
    rig_commit(3, 4);
    rig.rows[1] = rig.rows[2] =
        (RigRow){.visible = true, .marked = true, .acknowledged = true, .delivered = 1};
    given_position(0x10008); /* the slot may be behind */
    rig.confirmed = 0x10000;
    rig_begin();
    RIG_WAIT(rig.pipe.batch_count == 1);
    assert_trace("start");
    cr_assert_eq(rig.started_at, 0x10008);
    rig_ack_all();
    RIG_WAIT(rig.confirmed == 0x10108);
    rig_assert_published_once(1, 4);
}

Test(wal, a_restart_inside_of_a_transaction_makes_nothing_again)
{
    rig_commit(1, 6);
    for (int64_t seq = 1; seq <= 4; seq++) {
        rig.rows[seq] =
            (RigRow){.visible = true, .marked = true, .acknowledged = true, .delivered = 1};
    }
    given_position(0x10000);
    rig.position.tx_lsn = 0x10000;
    rig.position.tx_ordinal = 4;
    rig_begin();
    RIG_WAIT(rig.pipe.batch_count == 1);
    cr_assert_eq(rig.pipe.batches[0]->count, 2);
    rig_ack_all();
    RIG_WAIT(rig.confirmed == 0x10008);
    rig_assert_published_once(1, 6);
}

Test(wal, filling_up_that_was_interrupted_leaves_what_the_log_brings_to_it)
{
    given_position(rig.end_lsn);
    rig.position.backfill = true;
    rig_commit(1, 3); /* in the table, and in the stream */
    rig_begin();
    RIG_WAIT(rig.pipe.batch_count == 1);
    assert_trace("snapshot(now) peek copy position(complete) start");
    rig_commit(4, 4);
    RIG_WAIT(rig_delivered() == 4);
    rig_ack_all();
    RIG_WAIT(rig.confirmed == 0x10108);
    rig_assert_published_once(1, 4);
    cr_assert_not(rig.position.backfill);
}

Test(wal, filling_up_that_was_interrupted_leaves_newer_rows_to_the_stream)
{
    given_position(rig.end_lsn);
    rig.position.backfill = true;
    rig.position.end = 2;
    rig.rows[1].visible = rig.rows[2].visible = true;
    rig_commit(3, 4); /* in the table, and in the stream, perhaps behind messages */
    rig_begin();
    RIG_WAIT(rig.pipe.batch_count == 1);
    cr_assert_eq(rig.pipe.batches[0]->count, 2);
    rig_ack_all();
    RIG_WAIT(rig.pipe.batch_count == 1);
    cr_assert_neq(rig.walsender, 0);
    rig_ack_all();
    rig_assert_published_once(1, 2);
    RIG_WAIT(rig.rows[4].marked);
    rig_assert_published_once(3, 4);
}

Test(wal, rows_that_are_kept_are_not_read_again_after_an_interruption)
{
    rig.pipe.pipeline.outbox.on_publish = ON_PUBLISH_KEEP;
    rig.pipe.pipeline.limits.batch_events = 2;
    for (size_t i = 1; i <= 7; i++) {
        rig.rows[i].visible = true;
    }
    rig_begin();
    RIG_WAIT(rig_delivered() == 7);
    rig_ack(-1);
    rig_ack(-1);
    RIG_WAIT(rig.position.filled == 4);
    cr_assert(rig.position.backfill);
    cr_assert_eq(rig.position.end, 7);
    rig_end();
    rig.rows[8].visible = true;
    rig_begin();
    RIG_WAIT(rig_delivered() == 10);
    for (size_t i = 1; i <= 8; i++) {
        cr_assert_eq(rig.rows[i].delivered, i < 5 ? 1 : i < 8 ? 2 : 0, "row %zu", i);
    }
    rig_ack_all();
    RIG_WAIT(!rig.position.backfill);
    cr_assert_eq(rig.position.filled, 0);
    RIG_WAIT(rig.walsender != 0);
}

Test(wal, the_slot_is_told_after_the_position_is_committed)
{
    rig.pipe.pipeline.claim.lease_ms = 2000; /* a status at least every 500 ms */
    begin_streaming();
    rig.hang_marks = true;
    rig_commit(1, 2);
    RIG_WAIT(rig.pipe.batch_count == 1);
    rig_ack_all();
    RIG_WAIT(rig.marks == 1);
    size_t before = rig.statuses;
    RIG_WAIT(rig.statuses > before);
    cr_assert_eq(rig.confirmed, 0x10000); /* receive() in wal_rig.c asserts it of every status */
    rig.hang_marks = false;
    stub_continue();
    RIG_WAIT(rig.confirmed == 0x10008);
}

Test(wal, a_gap_stops_with_its_own_exit_code)
{
    given_position(0x10000);
    rig.confirmed = 0x10001;
    rig_begin();
    RIG_WAIT(rig.pipe.lost == 1);
    cr_assert_eq(rig.pipe.error.code, CODE_SLOT_AHEAD);
    cr_assert_eq(rig.pipe.error.exit_code, EXIT_GAP);
    assert_trace("");
    cr_assert_eq(stub_open_connections(), 0);
}

Test(wal, new_slot_makes_the_slot_again_and_publishes_what_is_unpublished)
{
    rig_commit(1, 3);
    rig.rows[2] = (RigRow){.visible = true, .marked = true, .acknowledged = true, .delivered = 1};
    given_position(0x10000);
    rig.wal_status = "lost";
    rig.pipe.config.new_slot = true;
    rig_begin();
    RIG_WAIT(rig.pipe.batch_count == 1);
    assert_trace("drop slot position(filling) snapshot(slot) copy");
    rig_ack_all();
    RIG_WAIT(rig.walsender != 0);
    rig_assert_published_once(1, 3);
    cr_assert_eq(rig.pipe.lost, 0);
}

Test(wal, a_slot_that_vanishes_while_we_run_is_a_gap)
{
    begin_streaming();
    stub_stream_end(rig.walsender, "55000", "can no longer get changes from replication slot");
    RIG_WAIT(rig.pipe.lost == 1);
    cr_assert_eq(rig.pipe.error.code, CODE_SLOT_LOST);
    cr_assert_eq(rig.pipe.error.exit_code, EXIT_GAP);
    cr_assert_eq(rig.pipe.error.class, ERROR_FATAL);
}

Test(wal, refuses_at_the_start_what_a_human_must_mend)
{
    given_position(rig.end_lsn);
    rig.may_not_save = true;
    rig_begin();
    RIG_WAIT(rig.pipe.lost == 1);
    cr_assert_eq(rig.pipe.error.code, CODE_RIGHT_POSITION);
    cr_assert_eq(rig.pipe.error.class, ERROR_FATAL);
    cr_assert_eq(rig.locks, 0);
    cr_assert_eq(rig.starts, 0);
}

Test(wal, what_a_human_must_mend_is_waited_for_once_it_published)
{
    begin_streaming();
    size_t starts = rig.starts;
    rig.may_not_save = true;
    stub_stream_end(rig.walsender, "57P01", "terminating connection");
    RIG_WAIT(rig.pipe.lost == 1);
    rig_restart();
    RIG_WAIT(rig.pipe.lost == 2);
    cr_assert_eq(rig.pipe.error.code, CODE_RIGHT_POSITION);
    cr_assert_eq(rig.pipe.error.class, ERROR_RETRY);
    cr_assert_eq(rig.starts, starts, "nothing is read before all is well");
    rig.may_not_save = false;
    rig.pipe.source->ops->start(rig.pipe.source, 3600000);
    rig.pipe.source->ops->wake(rig.pipe.source); /* mended: not in an hour */
    RIG_WAIT(rig.starts == starts + 1);
}

Test(wal, a_stream_that_is_refused_asks_for_a_look_and_is_tried_again)
{
    begin_streaming();
    stub_stream_end(rig.walsender, "42704", "publication \"outboxd_orders\" does not exist");
    RIG_WAIT(rig.pipe.lost == 1);
    cr_assert_eq(rig.pipe.error.class, ERROR_RETRY);
    cr_assert_eq(rig.pipe.doubts, 1);
}

Test(wal, the_lock_of_another_relay_makes_us_wait)
{
    given_position(rig.end_lsn);
    rig.lock_taken = true;
    rig_begin();
    RIG_WAIT(rig.locks >= 3);
    cr_assert_geq(rig.pipe.standby, 1);
    cr_assert_not_null(strstr(rig.pipe.holder, "other/orders"), "%s", rig.pipe.holder);
    cr_assert_eq(rig.starts, 0);
    rig.lock_taken = false;
    RIG_WAIT(rig.pipe.active == 1);
}

Test(wal, a_slot_that_another_relay_reads_makes_us_wait)
{
    given_position(rig.end_lsn);
    rig.slot_busy = "55006";
    rig_begin();
    RIG_WAIT(rig.starts >= 3);
    cr_assert_eq(rig.pipe.active, 0);
    cr_assert_geq(rig.pipe.standby, 2);
    cr_assert_eq(rig.pipe.lost, 0);
    rig.slot_busy = NULL;
    RIG_WAIT(rig.pipe.active == 1);
}

Test(wal, a_hole_is_sent_again_and_what_is_behind_it_is_not)
{
    begin_streaming();
    rig.pipe.pipeline.limits.batch_events = 2;
    rig_commit(1, 2);
    rig_commit(3, 4);
    rig_commit(5, 6);
    RIG_WAIT(rig_delivered() == 6);
    stub_stream_end(rig.walsender, "57P01", "terminating connection");
    RIG_WAIT(rig.pipe.lost == 1);
    rig_ack(2);
    rig_ack_all();
    rig.rows[2].delivered = 0; /* it is to come again */
    rig_restart();
    RIG_WAIT(rig.rows[2].delivered == 1);
    RIG_WAIT(rig.pipe.batch_count > 0 && rig.rows[6].out);
    rig_ack_all();
    RIG_WAIT(rig.confirmed == 0x10208);
    rig_assert_published_once(1, 6);
}

Test(wal, a_lost_connection_goes_on_at_what_this_process_knows)
{
    begin_streaming();
    rig.hang_marks = true;
    rig_commit(1, 2);
    RIG_WAIT(rig.pipe.batch_count == 1);
    rig_ack_all();
    RIG_WAIT(rig.marks == 1); /* and is never committed */
    stub_break_idle(rig.walsender);
    RIG_WAIT(rig.pipe.lost == 1);
    rig.position.lsn = 0x10000; /* it was not committed */
    rig.position.writes--;
    rig.rows[1].marked = rig.rows[2].marked = false;
    rig.hang_marks = false;
    rig_restart();
    RIG_WAIT(rig.walsender != 0);
    cr_assert_eq(rig.started_at, 0x10008, "%" PRIx64, rig.started_at);
    RIG_WAIT(rig.rows[1].marked && rig.rows[2].marked);
    rig_assert_published_once(1, 2);
    RIG_WAIT(rig.position.lsn == 0x10008);
}

static void lose_stream_and_wait_with_the_lock(void)
{
    rig.pipe.keep_waiting = true;
    stub_stream_end(rig.walsender, "57P01", "terminating connection");
    RIG_WAIT(rig.pipe.lost == 1);
    rig.pipe.source->ops->start(rig.pipe.source, 0);
    RIG_WAIT(rig.pipe.locked == 2);
}

/* A stopped owner: the loop does not turn for longer than the lease. */
static void sleep_longer_than_the_lease(void)
{
    int64_t until_us = clock_monotonic_us() + rig.pipe.pipeline.claim.lease_ms * 1500;
    while (clock_monotonic_us() < until_us) {
        usleep(1000);
    }
}

Test(wal, a_relay_that_was_stopped_does_not_pretend_to_have_been_there)
{
    rig.pipe.pipeline.claim.lease_ms = 200;
    begin_streaming();
    cr_assert(rig.pipe.source->ops->may_publish(rig.pipe.source));
    sleep_longer_than_the_lease();
    RIG_WAIT(rig.pipe.lost == 1);
    cr_assert(rig.pipe.source->lease_over);
}

Test(wal, a_connection_that_breaks_within_the_lease_is_no_end_of_the_lease)
{
    begin_streaming();
    stub_break_idle(rig.walsender);
    RIG_WAIT(rig.pipe.lost == 1);
    cr_assert_not(rig.pipe.source->lease_over);
}

Test(wal, what_settles_while_the_source_waits_with_the_lock_counts)
{
    begin_streaming();
    int64_t lease_ms = rig.pipe.pipeline.claim.lease_ms;
    rig.pipe.pipeline.limits.batch_events = 2;
    rig_commit(1, 2);
    rig_commit(3, 4);
    rig_commit(5, 6);
    RIG_WAIT(rig_delivered() == 6);
    rig.pipe.pipeline.claim.lease_ms = 200;
    lose_stream_and_wait_with_the_lock();
    size_t pings = rig.pings;
    RIG_WAIT(rig.pings >= pings + 6); /* longer than a lease */
    rig.pipe.pipeline.claim.lease_ms = lease_ms;
    cr_assert_eq(rig.pipe.lost, 1);
    cr_assert_eq(rig.pipe.active, 1);
    cr_assert_not(rig.pipe.source->ops->may_publish(rig.pipe.source));
    rig_ack(-1);
    rig_ack(3);
    rig_ack_all();
    rig.rows[3].delivered = 0; /* it is to come again */
    rig.pipe.source->ops->resume(rig.pipe.source);
    RIG_WAIT(rig.rows[3].delivered == 1);
    RIG_WAIT(rig.pipe.batch_count > 0 && rig.rows[6].out);
    rig_ack_all();
    RIG_WAIT(rig.rows[6].marked);
    rig_assert_published_once(1, 6);
}

/* The lock is shared where rows are kept. */
Test(wal, while_it_waits_another_relay_may_take_the_slot)
{
    rig.pipe.pipeline.outbox.on_publish = ON_PUBLISH_KEEP;
    begin_streaming();
    rig_commit(1, 2);
    RIG_WAIT(rig_delivered() == 2);
    rig.slot_taken = true;
    lose_stream_and_wait_with_the_lock();
    RIG_WAIT(rig.pipe.standby == 1);
    cr_assert_str_eq(rig.pipe.holder, "another relay reads the slot");
    rig.pipe.keep_waiting = rig.slot_taken = false;
    rig_ack_all();
    RIG_WAIT(rig.pipe.active == 2);
    cr_assert_eq(rig.pipe.lost, 1);
}

Test(wal, going_on_waits_for_the_answer_to_a_question_of_the_lease)
{
    rig.pipe.pipeline.claim.lease_ms = 2000;
    begin_streaming();
    lose_stream_and_wait_with_the_lock();
    rig.hang_pings = true;
    size_t pings = rig.pings;
    RIG_WAIT(rig.pings > pings);
    rig.pipe.source->ops->resume(rig.pipe.source);
    rig_turn();
    cr_assert_eq(rig.pipe.active, 1);
    rig.hang_pings = false;
    stub_continue();
    RIG_WAIT(rig.pipe.active == 2);
}

Test(wal, rows_that_are_streamed_before_they_are_visible_hold_the_position)
{
    begin_streaming();
    rig.snapshot = "9:9:";
    rig_commit(1, 2);
    rig.rows[2].visible = false;
    RIG_WAIT(rig.pipe.batch_count == 1);
    rig_ack_all();
    RIG_WAIT(rig.marks >= 2);
    cr_assert_eq(rig.position.lsn, 0x10000);
    rig.rows[2].visible = true;
    RIG_WAIT(rig.confirmed == 0x10008);
    rig_assert_published_once(1, 2);
}

Test(wal, a_server_that_asks_again_and_again_is_answered_at_a_bounded_rate)
{
    begin_streaming();
    rig_turn();
    size_t before = rig.statuses;
    int64_t begun_us = clock_monotonic_us();
    for (int i = 0; i < 1000; i++) {
        rig_keepalive(0x10000, true);
        event_base_loop(rig.pipe.base, EVLOOP_NONBLOCK);
    }
    rig_turn();
    int64_t spent_ms = (clock_monotonic_us() - begun_us) / 1000;
    cr_assert_leq(rig.statuses - before, 2 + (size_t)spent_ms / 100);
    cr_assert_eq(rig.pipe.lost, 0, "the grace is not over");
}

Test(wal, a_server_that_is_stopping_is_let_go_after_the_grace)
{
    rig.pipe.pipeline.wal.shutdown_grace_ms = 1;
    begin_streaming();
    for (int i = 0; rig.pipe.lost == 0 && i < 4000; i++) {
        rig_keepalive(0x10000, true);
        rig_turn();
    }
    cr_assert_eq(rig.pipe.lost, 1);
    cr_assert_eq(rig.pipe.error.code, CODE_SERVER_STOPPING);
    cr_assert_eq(rig.pipe.error.class, ERROR_RETRY);
}

Test(wal, an_idle_outbox_follows_the_log_of_others)
{
    begin_streaming();
    rig.log_end = 0x10000 + 16 * 1024 * 1024;
    rig_keepalive(0x10000 + 16 * 1024 * 1024, false);
    RIG_WAIT(rig.confirmed == 0x10000 + 16 * 1024 * 1024);
    cr_assert_eq(rig.position.lsn, rig.confirmed);
}

Test(wal, a_log_is_not_followed_past_what_is_not_acknowledged)
{
    begin_streaming();
    rig_commit(1, 1);
    RIG_WAIT(rig.pipe.batch_count == 1);
    rig.log_end = 0x10000 + 16 * 1024 * 1024;
    rig_keepalive(0x10000 + 16 * 1024 * 1024, true);
    rig_turn();
    cr_assert_eq(rig.position.lsn, 0x10000);
    rig_ack_all();
    RIG_WAIT(rig.position.lsn >= 0x10008);
}

Test(wal, no_room_stops_reading_and_room_goes_on)
{
    begin_streaming();
    rig.pipe.pipeline.limits.batch_events = 5;
    rig.pipe.room_events = 0;
    rig_commit(1, 50);
    RIG_WAIT(rig.pipe.batch_count == 1);
    rig_turn();
    cr_assert_eq(rig_delivered(), 5);
    rig.pipe.room_events = 100;
    rig.pipe.source->ops->wake(rig.pipe.source);
    RIG_WAIT(rig_delivered() == 50);
    rig_ack_all();
    RIG_WAIT(rig.rows[50].marked);
    rig_assert_published_once(1, 50);
}

Test(wal, a_stop_after_the_table_is_read_is_not_followed_by_reading_it_again)
{
    rig_commit(1, 3);
    rig_begin();
    RIG_WAIT(rig.pipe.batch_count == 1);
    rig_ack_all();
    rig.pipe.source->ops->drain(rig.pipe.source);
    RIG_WAIT(rig.pipe.drained == 1);
    cr_assert(!rig.position.backfill);
    rig_assert_published_once(1, 3);
    cr_assert_eq(rig.starts, 0, "nothing is read after the stop");
}

/* As at a stop with the broker away, or at on_poison = "stop". */
static void assert_stop_keeps_the_table_unread(int64_t except)
{
    rig_commit(1, 3);
    rig_begin();
    RIG_WAIT(rig.pipe.batch_count == 1);
    rig_ack(except);
    rig.pipe.source->ops->drain(rig.pipe.source);
    RIG_WAIT(rig.pipe.drained == 1);
    cr_assert(rig.position.backfill, "row %d is not published", (int)except);
    for (int64_t seq = 1; seq <= 3; seq++) {
        cr_assert_eq(rig.rows[seq].marked, seq != except, "row %d", (int)seq);
    }
}

Test(wal, a_stop_with_the_first_row_of_the_table_unpublished_reads_it_again)
{
    assert_stop_keeps_the_table_unread(1);
}

Test(wal, a_stop_with_the_last_row_of_the_table_unpublished_reads_it_again)
{
    assert_stop_keeps_the_table_unread(3);
}

Test(wal, a_stop_with_no_row_of_the_table_published_reads_it_again)
{
    rig_commit(1, 1);
    rig_begin();
    RIG_WAIT(rig.pipe.batch_count == 1);
    rig_ack(1);
    rig_turn();
    cr_assert(rig.position.backfill);
    rig.pipe.source->ops->drain(rig.pipe.source);
    RIG_WAIT(rig.pipe.drained == 1);
    cr_assert(rig.position.backfill);
    cr_assert(!rig.rows[1].marked);
}

Test(wal, draining_commits_the_position_and_tells_the_slot)
{
    rig.pipe.pipeline.outbox.mark_interval_ms = 3600000;
    begin_streaming();
    rig_commit(1, 2);
    RIG_WAIT(rig.pipe.batch_count == 1);
    rig_ack_all();
    rig_turn();
    cr_assert_eq(rig.position.lsn, 0x10000);
    rig.pipe.source->ops->drain(rig.pipe.source);
    RIG_WAIT(rig.pipe.drained == 1);
    cr_assert_eq(rig.position.lsn, 0x10008);
    cr_assert_eq(rig.confirmed, 0x10008);
    cr_assert_eq(stub_open_connections(), 0);
    rig_assert_published_once(1, 2);
}

Test(wal, a_slot_that_is_taken_while_the_table_is_read_makes_us_connect_again)
{
    rig.has_publication = false;
    rig_commit(1, 3);
    rig.slot_busy = "55006";
    rig_begin();
    RIG_WAIT(rig.pipe.active == 1);
    RIG_WAIT(rig_delivered() == 3);
    rig_ack_all();
    RIG_WAIT(rig.pipe.lost == 1);
    cr_assert_eq(rig.pipe.standby, 0, "the pipeline publishes: nobody resumes a standby of it");
}

Test(wal, draining_does_not_wait_for_marks_that_another_relay_will_make)
{
    rig.pipe.pipeline.outbox.mark_interval_ms = 3600000;
    begin_streaming();
    rig_commit(1, 2);
    RIG_WAIT(rig_delivered() == 2);
    stub_stream_end(rig.walsender, "42704", "publication \"outboxd_orders\" does not exist");
    RIG_WAIT(rig.pipe.lost == 1);
    rig_ack_all();
    rig.lock_taken = true;
    rig_restart();
    RIG_WAIT(rig.pipe.standby == 1);
    rig.pipe.source->ops->drain(rig.pipe.source);
    RIG_WAIT(rig.pipe.drained == 1);
    cr_assert(!rig.rows[1].marked && !rig.rows[2].marked);
    cr_assert_eq(stub_open_connections(), 0);
}

/* What the sink holds back since the end of the lease. */

static SourceProof proof_after(void (*meanwhile)(void))
{
    begin_streaming();
    rig_commit(1, 2);
    RIG_WAIT(rig.pipe.batch_count == 1);
    rig_ack_all();
    RIG_WAIT(rig.position.lsn == 0x10008);
    stub_break_idle(rig.walsender);
    RIG_WAIT(rig.pipe.lost == 1);
    if (meanwhile != NULL) {
        meanwhile();
    }
    rig.pipe.keep_waiting = true;
    rig.pipe.source->wants_proof = true;
    rig.pipe.source->ops->start(rig.pipe.source, 0);
    RIG_WAIT(rig.pipe.locked == 2);
    return rig.pipe.source->proof;
}

static void another_relay_publishes(void)
{
    rig.position.writes += 2;
    snprintf(rig.position.generation, sizeof(rig.position.generation),
             "00000000-0000-4000-8000-000000000000");
}

static void the_server_is_put_back(void)
{
    rig.position.writes--;
}

Test(wal, what_is_held_back_goes_on_when_nobody_else_published)
{
    cr_assert_eq(proof_after(NULL), PROOF_ALONE);
}

Test(wal, what_is_held_back_is_taken_back_when_another_relay_published)
{
    cr_assert_eq(proof_after(another_relay_publishes), PROOF_OTHERS);
}

Test(wal, what_is_held_back_is_taken_back_when_the_history_is_another)
{
    cr_assert_eq(proof_after(the_server_is_put_back), PROOF_OTHERS);
}

Test(wal, a_transaction_in_parts_after_an_idle_time_does_not_turn_the_position_back)
{
    rig.pipe.pipeline.limits.batch_events = 2;
    begin_streaming();
    rig_commit(1, 1);
    RIG_WAIT(rig.pipe.batch_count == 1);
    rig_ack_all();
    rig_keepalive(0x900000, false); /* others wrote 8 MB: the position follows */
    rig.log_end = rig.end_lsn = 0x900000;
    RIG_PASS(rig.confirmed >= 0x900000);
    rig_commit(2, 4);
    RIG_WAIT(rig.pipe.batch_count > 0);
    rig_ack(-1); /* two of three: rig_receive() sees what is told */
    rig_turn();
    RIG_PASS(rig.position.tx_ordinal == 2);
    rig_turn();
    cr_assert_geq(rig.confirmed, 0x900000);
}
