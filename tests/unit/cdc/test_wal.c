#include <inttypes.h>

#include "wal_rig.h"

Test(wal, a_restart_goes_on_at_the_position)
{
    rig_commit(1, 2);
    rig_commit(3, 4);
    rig.rows[1] = rig.rows[2] =
        (RigRow){.visible = true, .marked = true, .acknowledged = true, .delivered = 1};
    rig_given_position(0x10008); /* the slot may be behind */
    rig.confirmed = 0x10000;
    rig_begin();
    RIG_WAIT(rig.pipe.batch_count == 1);
    rig_assert_trace("start");
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
    rig_given_position(0x10000);
    rig.position.tx_lsn = 0x10000;
    rig.position.tx_ordinal = 4;
    rig_begin();
    RIG_WAIT(rig.pipe.batch_count == 1);
    cr_assert_eq(rig.pipe.batches[0]->count, 2);
    rig_ack_all();
    RIG_WAIT(rig.confirmed == 0x10008);
    rig_assert_published_once(1, 6);
}

Test(wal, the_slot_is_told_after_the_position_is_committed)
{
    rig.pipe.pipeline.claim.lease_ms = 2000; /* a status at least every 500 ms */
    rig_begin_streaming();
    rig.hang_marks = true;
    rig_commit(1, 2);
    RIG_WAIT(rig.pipe.batch_count == 1);
    rig_ack_all();
    RIG_WAIT(rig.marks == 1);
    size_t before = rig.statuses;
    RIG_WAIT(rig.statuses > before);
    cr_assert_eq(rig.confirmed, 0x10000); /* rig_receive() asserts it of every status */
    rig.hang_marks = false;
    stub_continue();
    RIG_WAIT(rig.confirmed == 0x10008);
}

Test(wal, a_gap_stops_with_its_own_exit_code)
{
    rig_given_position(0x10000);
    rig.confirmed = 0x10001;
    rig_begin();
    RIG_WAIT(rig.pipe.lost == 1);
    cr_assert_eq(rig.pipe.error.code, CODE_SLOT_AHEAD);
    cr_assert_eq(rig.pipe.error.exit_code, EXIT_GAP);
    rig_assert_trace("");
    cr_assert_eq(stub_open_connections(), 0);
}

Test(wal, a_slot_that_vanishes_while_we_run_is_a_gap)
{
    rig_begin_streaming();
    stub_stream_end(rig.walsender, "55000", "can no longer get changes from replication slot");
    RIG_WAIT(rig.pipe.lost == 1);
    cr_assert_eq(rig.pipe.error.code, CODE_SLOT_LOST);
    cr_assert_eq(rig.pipe.error.exit_code, EXIT_GAP);
    cr_assert_eq(rig.pipe.error.class, ERROR_FATAL);
}

Test(wal, refuses_at_the_start_what_a_human_must_mend)
{
    rig_given_position(rig.end_lsn);
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
    rig_begin_streaming();
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
    rig_begin_streaming();
    stub_stream_end(rig.walsender, "42704", "publication \"outboxd_orders\" does not exist");
    RIG_WAIT(rig.pipe.lost == 1);
    cr_assert_eq(rig.pipe.error.class, ERROR_RETRY);
    cr_assert_eq(rig.pipe.doubts, 1);
}

Test(wal, a_hole_is_sent_again_and_what_is_behind_it_is_not)
{
    rig_begin_streaming();
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
    rig_lose_a_mark();
    rig.rows[1].marked = rig.rows[2].marked = false;
    rig_restart();
    RIG_WAIT(rig.walsender != 0);
    cr_assert_eq(rig.started_at, 0x10008, "%" PRIx64, rig.started_at);
    RIG_WAIT(rig.rows[1].marked && rig.rows[2].marked);
    rig_assert_published_once(1, 2);
    RIG_WAIT(rig.position.lsn == 0x10008);
}

Test(wal, rows_that_are_streamed_before_they_are_visible_hold_the_position)
{
    rig_begin_streaming();
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
    rig_begin_streaming();
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
    rig_begin_streaming();
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
    rig_begin_streaming();
    rig.log_end = 0x10000 + 16 * 1024 * 1024;
    rig_keepalive(0x10000 + 16 * 1024 * 1024, false);
    RIG_WAIT(rig.confirmed == 0x10000 + 16 * 1024 * 1024);
    cr_assert_eq(rig.position.lsn, rig.confirmed);
}

Test(wal, a_log_is_not_followed_past_what_is_not_acknowledged)
{
    rig_begin_streaming();
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
    rig_begin_streaming();
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

Test(wal, draining_commits_the_position_and_tells_the_slot)
{
    rig.pipe.pipeline.outbox.mark_interval_ms = 3600000;
    rig_begin_streaming();
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

Test(wal, a_transaction_in_parts_after_an_idle_time_does_not_turn_the_position_back)
{
    rig.pipe.pipeline.limits.batch_events = 2;
    rig_begin_streaming();
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
