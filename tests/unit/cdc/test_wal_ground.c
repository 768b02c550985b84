/* The ground moves: places that no log has, another history, another primary, other parts. */
#include <inttypes.h>
#include <string.h>

#include "wal_rig.h"

TestSuite(wal_ground, .init = rig_prepare, .fini = rig_end);

/* Places that the server's log does not have. */

enum { NEAR = 1 << 24, FAR = 1 << 30 };

static void assert_protocol_error(const char *what)
{
    RIG_WAIT(rig.pipe.lost > 0);
    cr_assert_eq(rig.pipe.error.code, CODE_PG_PROTOCOL, "%s: %s", what,
                 error_message(&rig.pipe.error));
    cr_assert_eq(rig.position.lsn, 0x10000, "%s", what);
    cr_assert_eq(rig.confirmed, 0x10000, "%s", what);
}

Test(wal_ground, a_keepalive_from_beyond_the_log_is_no_progress)
{
    rig_begin_streaming();
    rig_keepalive(0x10000 + FAR, true);
    assert_protocol_error("keep-alive");
    cr_assert_eq(rig.pipe.error.class, ERROR_RETRY);
    cr_assert_eq(rig.questions, 1, "the server was asked");
    rig_restart();
    RIG_WAIT(rig.walsender != 0);
    cr_assert_eq(rig.started_at, 0x10000);
    rig_commit(1, 2);
    RIG_WAIT(rig_delivered() == 2);
    rig_ack_all();
    RIG_WAIT(rig.confirmed == 0x10008);
    rig_assert_published_once(1, 2);
}

Test(wal_ground, a_commit_from_beyond_the_log_is_no_progress)
{
    rig_begin_streaming();
    rig_empty_transaction(0x10000, 0x10000, 0x10000 + FAR);
    assert_protocol_error("end of a commit");
}

Test(wal_ground, a_begin_from_beyond_the_log_is_no_progress)
{
    rig_begin_streaming();
    rig_empty_transaction(0x10000 + FAR, 0x10000 + FAR, 0x10008 + FAR);
    assert_protocol_error("begin");
}

Test(wal_ground, a_keepalive_from_a_little_beyond_the_log_is_found_by_the_next_question)
{
    rig_begin_streaming();
    rig_keepalive(0x10000 + NEAR, false);
    assert_protocol_error("keep-alive");
}

Test(wal_ground, a_commit_below_what_a_keepalive_told_was_sent_is_no_progress)
{
    rig_begin_streaming();
    rig.log_end = 0x10000 + NEAR;
    rig_keepalive(0x10000 + NEAR / 2, false);
    rig_empty_transaction(0x10000, 0x10000, 0x10008);
    assert_protocol_error("begin");
}

Test(wal_ground, a_log_that_grew_far_is_believed_after_asking)
{
    rig_begin_streaming();
    rig.log_end = 0x10000 + FAR;
    rig_keepalive(0x10000 + FAR, false);
    RIG_WAIT(rig.confirmed == 0x10000 + FAR);
    cr_assert_eq(rig.questions, 1);
    cr_assert_eq(rig.pipe.lost, 0);
}

Test(wal_ground, the_same_lie_at_the_same_place_stops_at_the_third_time)
{
    rig_begin_streaming();
    for (size_t turn = 1; turn <= 3; turn++) {
        rig_keepalive(0x10000 + FAR, false);
        RIG_WAIT(rig.pipe.lost == turn);
        cr_assert_eq(rig.pipe.error.code, CODE_PG_PROTOCOL);
        cr_assert_eq(rig.pipe.error.class, turn < 3 ? ERROR_RETRY : ERROR_FATAL, "turn %zu", turn);
        if (turn < 3) {
            rig_restart();
            RIG_WAIT(rig.walsender != 0 && rig.pipe.active == turn + 1);
        }
    }
    cr_assert_gt(strlen(error_own_hint(&rig.pipe.error)), 0);
    cr_assert_eq(rig.position.lsn, 0x10000);
}

Test(wal_ground, lies_at_different_places_do_not_add_up)
{
    rig_begin_streaming();
    for (size_t turn = 1; turn <= 4; turn++) {
        rig_commit((int64_t)turn, (int64_t)turn);
        RIG_WAIT(rig.pipe.batch_count == 1);
        rig_ack_all();
        RIG_WAIT(rig.rows[turn].marked);
        rig_turn();
        rig_keepalive(rig.end_lsn + FAR, false);
        RIG_WAIT(rig.pipe.lost == turn);
        cr_assert_eq(rig.pipe.error.class, ERROR_RETRY, "turn %zu", turn);
        rig_restart();
        RIG_WAIT(rig.walsender != 0 && rig.pipe.active == turn + 1);
    }
    rig_assert_published_once(1, 4);
}

Test(wal_ground, a_stored_position_beyond_the_log_is_a_gap_and_new_slot_mends_it)
{
    rig_commit(1, 3);
    rig_given_position(0x10000 + FAR);
    rig_begin();
    RIG_WAIT(rig.pipe.lost == 1);
    cr_assert_eq(rig.pipe.error.code, CODE_POSITION_BEYOND_LOG);
    cr_assert_eq(rig.pipe.error.exit_code, EXIT_GAP);
    rig_assert_trace("");
    rig_end();
    rig.pipe.config.new_slot = true;
    rig_begin();
    RIG_WAIT(rig.pipe.batch_count == 1);
    rig_assert_trace("drop slot position(filling) snapshot(slot) copy");
    rig_ack_all();
    RIG_WAIT(rig.walsender != 0);
    rig_assert_published_once(1, 3);
    cr_assert_leq(rig.position.lsn, rig.end_lsn);
}

/* The history. */

Test(wal_ground, a_server_put_back_to_an_older_copy_is_a_gap)
{
    rig_begin_streaming();
    rig_commit(1, 2);
    RIG_WAIT(rig.pipe.batch_count == 1);
    rig_ack_all();
    RIG_WAIT(rig.position.lsn == 0x10008);
    stub_break_idle(rig.walsender);
    RIG_WAIT(rig.pipe.lost == 1);
    rig.position.lsn = 0x10000;
    rig.position.writes--;
    rig.confirmed = 0x10000;
    size_t marks = rig.marks;
    rig_restart();
    RIG_WAIT(rig.pipe.lost == 2);
    cr_assert_eq(rig.pipe.error.code, CODE_SLOT_OTHER_HISTORY);
    cr_assert_eq(rig.pipe.error.exit_code, EXIT_GAP);
    cr_assert_eq(rig.marks, marks, "nothing is written there");
    cr_assert_eq(rig.starts, 1);
}

/* Where others may hold the lock, too, a relay that was killed has sessions that live a little
 * longer than its slot is read. */
Test(wal_ground, the_last_writes_of_a_relay_that_is_gone_are_no_other_history)
{
    rig_commit(1, 2);
    rig_commit(3, 4);
    rig_given_position(0x10000);
    snprintf(rig.position.generation, sizeof(rig.position.generation),
             "00000000-0000-4000-8000-000000000000");
    rig.position.writes = 27;
    rig.late_writes = 3;
    rig.late_lsn = 0x10008;
    rig_begin();
    RIG_WAIT(rig.pipe.lost == 1);
    cr_assert_eq(rig.pipe.error.code, CODE_OWNER_REPLACED);
    cr_assert_eq(rig.pipe.error.class, ERROR_RETRY);
    rig.rows[1] = rig.rows[2] = /* as that relay left them */
        (RigRow){.visible = true, .marked = true, .acknowledged = true, .delivered = 1};
    rig_restart();
    RIG_WAIT(rig.pipe.batch_count == 1);
    cr_assert_eq(rig.started_at, 0x10008, "%" PRIx64, rig.started_at);
    rig_ack_all();
    RIG_WAIT(rig.confirmed == 0x10108);
    rig_assert_published_once(1, 4);
}

Test(wal_ground, they_are_none_either_when_the_claim_had_no_answer)
{
    rig_commit(1, 2);
    rig_given_position(0x10000);
    snprintf(rig.position.generation, sizeof(rig.position.generation),
             "00000000-0000-4000-8000-000000000000");
    rig.position.writes = 27;
    rig.save_fails = true; /* it waits for that session's lock, for too long */
    rig_begin();
    RIG_WAIT(rig.pipe.lost == 1);
    rig.save_fails = false;
    rig.position.writes = 28;
    rig.late_writes = 2; /* and some more */
    rig.late_lsn = 0x10000;
    rig_restart();
    RIG_WAIT(rig.pipe.lost == 2);
    cr_assert_eq(rig.pipe.error.code, CODE_OWNER_REPLACED);
    rig_restart();
    RIG_WAIT(rig.pipe.batch_count == 1);
    rig_ack_all();
    RIG_WAIT(rig.confirmed == 0x10008);
    rig_assert_published_once(1, 2);
}

Test(wal_ground, a_write_of_ours_that_lands_late_is_no_other_history)
{
    rig_lose_a_mark();
    rig.late_writes = 1;
    rig.late_lsn = 0x10008;
    rig_restart();
    RIG_WAIT(rig.pipe.lost == 2);
    cr_assert_eq(rig.pipe.error.code, CODE_OWNER_REPLACED);
    rig_restart();
    RIG_WAIT(rig.walsender != 0);
    cr_assert_eq(rig.started_at, 0x10008, "%" PRIx64, rig.started_at);
    RIG_WAIT(rig.rows[1].marked && rig.rows[2].marked);
    rig_assert_published_once(1, 2);
}

static const char LEFT_LATER[] = "1\t0/20000\tno recovery target specified\n";

Test(wal_ground, a_new_primary_that_has_our_position_and_slot_goes_on)
{
    rig.timeline = 2;
    rig.history = LEFT_LATER;
    rig_commit(1, 2);
    rig_commit(3, 4);
    rig.rows[1] = rig.rows[2] =
        (RigRow){.visible = true, .marked = true, .acknowledged = true, .delivered = 1};
    rig_given_position(0x10008);
    rig.confirmed = 0x10000; /* its slot may lag */
    rig_begin();
    RIG_WAIT(rig.pipe.batch_count == 1);
    cr_assert_eq(rig.started_at, 0x10008);
    cr_assert_eq(rig.position.timeline, 2);
    rig_ack_all();
    RIG_WAIT(rig.confirmed == 0x10108);
    rig_assert_published_once(1, 4);
}

Test(wal_ground, a_new_primary_keeps_what_is_known_of_a_transaction)
{
    rig.timeline = 2;
    rig.history = LEFT_LATER;
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

Test(wal_ground, a_new_primary_that_left_before_our_position_is_a_gap)
{
    rig.timeline = 2;
    rig.history = "1\t0/FFFF\tno recovery target specified\n";
    rig_given_position(0x10000);
    rig_begin();
    RIG_WAIT(rig.pipe.lost == 1);
    cr_assert_eq(rig.pipe.error.code, CODE_SLOT_OTHER_TIMELINE);
    cr_assert_eq(rig.pipe.error.exit_code, EXIT_GAP);
    cr_assert_eq(rig.starts, 0);
}

Test(wal_ground, a_new_primary_whose_history_cannot_be_read_is_a_gap)
{
    rig.timeline = 2;
    rig_given_position(0x10000);
    rig_begin();
    RIG_WAIT(rig.pipe.lost == 1);
    cr_assert_eq(rig.pipe.error.code, CODE_SLOT_OTHER_TIMELINE);
}

/* Parts of the outbox. */

Test(wal_ground, a_partition_that_nobody_told_of_is_asked_about)
{
    rig_begin_streaming();
    rig.members = "7001";
    rig_commit_to(7001, 1, 3);
    RIG_WAIT(rig_delivered() == 3);
    cr_assert_eq(rig.questions, 1);
    rig_commit_to(7001, 4, 5);
    RIG_WAIT(rig_delivered() == 5);
    cr_assert_eq(rig.questions, 1, "it is known now");
    rig_ack_all();
    RIG_WAIT(rig.rows[5].marked);
    rig_assert_published_once(1, 5);
}

/* Asked, and reads again from the beginning: the answer is none about what the next stream tells.
 */
Test(wal_ground, an_answer_about_a_stream_that_was_left_is_no_answer_to_the_next_one)
{
    rig_begin_streaming();
    rig.hang_questions = true;
    rig_commit_to(7001, 1, 2);
    RIG_WAIT(rig.questions == 1);
    rig.pipe.source->ops->reread(rig.pipe.source);
    rig.walsender = 0;
    rig.hang_questions = false;
    stub_continue();
    RIG_WAIT(rig.walsender != 0);
    rig.members = "7002";
    rig_commit_to(7002, 3, 4);
    RIG_WAIT(rig.rows[4].delivered == 1);
    cr_assert_eq(rig.questions, 2);
}

Test(wal_ground, a_table_that_is_none_of_ours_is_skipped)
{
    rig_begin_streaming();
    rig.stranger = true;
    rig_commit_to(7002, 1, 3);
    rig_commit(4, 4);
    RIG_WAIT(rig_delivered() == 1);
    cr_assert_eq(rig.rows[4].delivered, 1);
    rig_ack_all();
    RIG_WAIT(rig.confirmed == 0x10108);
}

Test(wal_ground, a_partition_that_was_detached_before_we_came_is_published)
{
    rig.members = "7003";
    rig_begin_streaming();
    rig_commit_to(7001, 1, 3);
    RIG_WAIT(rig_delivered() == 3);
    cr_assert_eq(rig.questions, 1);
}

Test(wal_ground, an_answer_that_never_comes_does_not_keep_a_stop)
{
    rig_begin_streaming();
    rig_commit_to(7001, 1, 3);
    rig.pipe.source->ops->drain(rig.pipe.source);
    RIG_WAIT(rig.pipe.drained == 1);
}

Test(wal_ground, new_slot_without_a_gap_goes_on)
{
    rig.pipe.config.new_slot = true;
    rig_begin_streaming();
    rig_commit(1, 1);
    RIG_WAIT(rig_delivered() == 1);
    rig_assert_trace("snapshot(now) peek copy start");
}

Test(wal_ground, new_slot_that_is_interrupted_tries_again)
{
    rig_commit(1, 3);
    rig_given_position(0x10000);
    rig.wal_status = "lost";
    rig.pipe.config.new_slot = true;
    rig.save_fails = true;
    rig_begin();
    RIG_WAIT(rig.pipe.lost == 1);
    cr_assert_eq(rig.pipe.error.class, ERROR_RETRY);
    rig.save_fails = false;
    rig_restart();
    RIG_WAIT(rig.pipe.batch_count == 1);
    rig_ack_all();
    RIG_WAIT(rig.walsender != 0);
    rig_assert_published_once(1, 3);
}
