/* The server is not the one that the polling source knew. */
#include <string.h>

#include "base/clock.h"
#include "poll_rig.h"

TestSuite(poll_history, .init = rig_prepare, .fini = rig_end);

/* Rows 1 to 3 are acknowledged and not marked, 4 and 5 are in flight, when the connection breaks.
 */
static void have_rows_midway(void)
{
    rig_insert(1, 3);
    rig_begin();
    RIG_WAIT(rig_delivered() == 3);
    rig_insert(4, 5);
    RIG_WAIT(rig_delivered() == 5);
}

static void break_midway(void)
{
    if (rig.pipe.source == NULL) {
        have_rows_midway();
    }
    rig.error_of_mark = "57P01"; /* the answer of the marker's session: it ends */
    rig_ack(-1);
    RIG_WAIT(rig.pipe.lost == 1);
    rig.error_of_mark = NULL;
    cr_assert_eq(rig.pipe.source->ops->unmarked(rig.pipe.source), 3);
}

static void come_back(void)
{
    size_t active = rig.pipe.active;
    rig.pipe.source->ops->start(rig.pipe.source, 0);
    rig.pipe.keep_waiting = true;
    RIG_WAIT(rig.pipe.locked == 2);
    rig_ack_all(); /* the pipeline gives back what has settled meanwhile */
    rig.pipe.keep_waiting = false;
    rig.pipe.source->ops->resume(rig.pipe.source);
    RIG_WAIT(rig.pipe.active == active + 1);
}

Test(poll_history, the_same_history_keeps_what_is_acknowledged)
{
    break_midway();
    come_back();
    RIG_WAIT(rig_marked() == 5);
    rig_turn();
    cr_assert_eq(rig_delivered(), 5, "nothing twice");
    cr_assert_eq(rig.claims, 2);
}

Test(poll_history, a_mark_whose_answer_was_lost_is_of_the_same_history)
{
    break_midway();
    rig.history.writes++;
    come_back();
    RIG_WAIT(rig_marked() == 5);
    rig_turn();
    cr_assert_eq(rig_delivered(), 5);
}

/* A session may mark rows after the one that held the lock is gone. */
Test(poll_history, a_mark_of_ours_that_lands_late_is_of_the_same_history)
{
    break_midway();
    rig.history.late_writes = 1;
    rig.pipe.source->ops->start(rig.pipe.source, 0);
    RIG_WAIT(rig.pipe.lost == 2);
    cr_assert_eq(rig.pipe.error.code, CODE_OWNER_REPLACED);
    cr_assert_eq(rig.pipe.error.class, ERROR_RETRY);
    come_back();
    RIG_WAIT(rig_marked() == 5);
    rig_turn();
    cr_assert_eq(rig_delivered(), 5, "nothing twice");
    cr_assert_eq(rig.claims, 3);
}

Test(poll_history, late_marks_of_a_relay_that_is_gone_are_of_the_same_history)
{
    snprintf(rig.history.generation, sizeof(rig.history.generation),
             "00000000-0000-4000-8000-000000000000");
    rig.history.writes = 27;
    rig.history.late_writes = 3;
    rig_insert(1, 2);
    rig_begin();
    RIG_WAIT(rig.pipe.lost == 1);
    cr_assert_eq(rig.pipe.error.code, CODE_OWNER_REPLACED);
    rig.pipe.source->ops->start(rig.pipe.source, 0);
    RIG_WAIT(rig_delivered() == 2);
    rig_ack_all();
    RIG_WAIT(rig_marked() == 2);
    cr_assert_eq(rig.history.writes, 27 + 3 + 1 + rig.marks);
}

Test(poll_history, they_are_too_when_the_claim_had_no_answer)
{
    snprintf(rig.history.generation, sizeof(rig.history.generation),
             "00000000-0000-4000-8000-000000000000");
    rig.history.writes = 27;
    rig.error_of_claim = "55P03"; /* it waits for that session's lock, for too long */
    rig_insert(1, 2);
    rig_begin();
    RIG_WAIT(rig.pipe.lost == 1);
    rig.error_of_claim = NULL;
    rig.history.writes = 28;
    rig.history.late_writes = 2;
    rig.pipe.source->ops->start(rig.pipe.source, 0);
    RIG_WAIT(rig.pipe.lost == 2);
    rig.pipe.source->ops->start(rig.pipe.source, 0);
    RIG_WAIT(rig_delivered() == 2);
    rig_ack_all();
    RIG_WAIT(rig_marked() == 2);
    cr_assert_eq(rig.history.writes, 28 + 2 + 1 + rig.marks);
}

/* The numbers were given out again, by the other server, to other events. */
static void assert_forgotten(void)
{
    for (int64_t seq = 1; seq <= 5; seq++) {
        rig.rows[seq] = (RigRow){.visible = true, .version = 1};
    }
    size_t active = rig.pipe.active;
    rig.pipe.source->ops->start(rig.pipe.source, 0);
    rig.pipe.keep_waiting = true;
    RIG_WAIT(rig.pipe.locked == 2);
    cr_assert_eq(rig.pipe.source->ops->unmarked(rig.pipe.source), 0,
                 "forgotten before anything is marked");
    for (size_t i = 0; i < rig.pipe.batch_count; i++) {
        for (size_t j = 0; j < rig.pipe.batches[i]->count; j++) {
            if (!event_is_settled(rig.pipe.batches[i]->events[j])) {
                batch_settle(rig.pipe.batches[i]->events[j], EVENT_PUBLISHED);
            }
        }
        rig.pipe.source->ops->ack(rig.pipe.source, rig.pipe.batches[i]);
    }
    rig.pipe.batch_count = 0;
    cr_assert_eq(rig.pipe.source->ops->unmarked(rig.pipe.source), 0,
                 "batches that come back are dropped");
    size_t marks = rig.marks;
    rig.pipe.keep_waiting = false;
    rig.pipe.source->ops->resume(rig.pipe.source);
    RIG_WAIT(rig.pipe.active == active + 1);
    RIG_WAIT(rig_delivered() == 5);
    cr_assert_eq(rig.marks, marks);
    rig_ack_all();
    RIG_WAIT(rig_marked() == 5);
    cr_assert_eq(rig_delivered(), 5);
}

Test(poll_history, a_promoted_standby_is_another)
{
    break_midway();
    rig.history.timeline = "00000002";
    assert_forgotten();
}

Test(poll_history, another_server_is_another)
{
    break_midway();
    rig.history.system_id = "7000000000000000002";
    assert_forgotten();
}

Test(poll_history, a_copy_of_an_hour_ago_is_another)
{
    break_midway();
    rig.history.writes--;
    assert_forgotten();
}

Test(poll_history, a_shorter_log_is_another)
{
    break_midway();
    rig.history.lsn = "0/1000";
    assert_forgotten();
}

/* A read that finds nothing does not wait until everything that it saw is on disk. */
Test(poll_history, a_crash_may_take_what_was_not_flushed)
{
    have_rows_midway();
    rig.durable = false;
    rig.insert_lsn = "0/9999";
    size_t fetches = rig.fetches;
    RIG_WAIT(rig.fetches > fetches + 2);
    rig.durable = true;
    rig.insert_lsn = NULL;
    break_midway();
    come_back();
    RIG_WAIT(rig_marked() == 5);
    rig_turn();
    cr_assert_eq(rig_delivered(), 5, "nothing twice");
}

Test(poll_history, a_row_that_is_gone_is_another)
{
    break_midway();
    rig.history.generation[0] = '\0';
    assert_forgotten();
}

Test(poll_history, another_table_of_the_name_is_another)
{
    break_midway();
    rig.table_oid = "4243";
    assert_forgotten();
}

Test(poll_history, what_another_relay_published_meanwhile_is_forgotten_too)
{
    break_midway();
    rig.history.writes += 3;
    snprintf(rig.history.generation, sizeof(rig.history.generation), "another");
    assert_forgotten();
}

Test(poll_history, without_a_row_a_lock_that_somebody_else_had_tells)
{
    rig.history.no_row_table = true;
    break_midway();
    rig.lock_taken = true;
    rig.pipe.pipeline.claim.standby_interval_ms = 1;
    rig.pipe.keep_waiting = true;
    rig.pipe.source->ops->start(rig.pipe.source, 0);
    RIG_WAIT(rig.pipe.standby >= 1);
    rig.lock_taken = false;
    RIG_WAIT(rig.pipe.locked == 2);
    cr_assert_eq(rig.pipe.source->ops->unmarked(rig.pipe.source), 0);
    cr_assert_eq(rig.claims, 0);
}

Test(poll_history, without_a_row_our_own_dead_session_takes_nothing)
{
    rig.history.no_row_table = true;
    break_midway();
    rig.lock_taken = true;
    rig.holder_pid = "1001"; /* of the first connection */
    rig.pipe.pipeline.claim.standby_interval_ms = 1;
    rig.pipe.keep_waiting = true;
    rig.pipe.source->ops->start(rig.pipe.source, 0);
    RIG_WAIT(rig.pipe.standby >= 1);
    rig.lock_taken = false;
    RIG_WAIT(rig.pipe.locked == 2);
    cr_assert_eq(rig.pipe.source->ops->unmarked(rig.pipe.source), 3);
}

Test(poll_history, a_connection_that_breaks_between_reading_and_claiming_forgets_nothing_new)
{
    break_midway();
    rig.hang_claim = true;
    rig.pipe.source->ops->start(rig.pipe.source, 0);
    RIG_WAIT(rig.claims == 2);
    stub_break_idle(3); /* the reader of the second session */
    rig_turn();
    rig.pipe.source->ops->drain(rig.pipe.source);
    cr_assert_eq(rig.pipe.source->ops->unmarked(rig.pipe.source), 3);
}

Test(poll_history, a_fetch_of_another_table_is_never_handed_on)
{
    rig_insert(1, 3);
    rig.fetched_oid = "4243";
    rig_begin();
    RIG_WAIT(rig.pipe.lost == 1);
    cr_assert_eq(rig.pipe.error.code, CODE_TABLE_REPLACED);
    cr_assert_eq(rig.pipe.error.class, ERROR_RETRY);
    cr_assert_eq(rig_delivered(), 0);
}

Test(poll_history, a_fetch_that_waits_for_a_lock_keeps_the_lease)
{
    rig_insert(1, 3);
    rig.pipe.pipeline.poll.interval_max_ms = 5;
    rig.error_of_fetch = "55P03";
    rig_begin();
    RIG_WAIT(rig.fetches >= 4);
    cr_assert_eq(rig.pipe.lost, 0);
    cr_assert(rig.pipe.source->ops->may_publish(rig.pipe.source));
    rig.error_of_fetch = NULL;
    RIG_WAIT(rig_delivered() == 3);
}

Test(poll_history, another_event_under_the_number_is_not_marked)
{
    rig_insert(1, 3);
    rig_begin();
    RIG_WAIT(rig_delivered() == 3);
    rig.rows[2] = (RigRow){.visible = true, .version = 1};
    rig_ack_all();
    RIG_WAIT(rig_marked() == 2);
    rig_turn();
    cr_assert_not(rig.rows[2].marked);
    cr_assert_eq(rig.asks, 1);
    RIG_WAIT(rig.rows[2].delivered == 1); /* it is an event of its own */
    rig_ack_all();
    RIG_WAIT(rig.rows[2].marked);
}
