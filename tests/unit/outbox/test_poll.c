/* The polling source over a libpq that the test plays: see poll_rig.h. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/clock.h"
#include "poll_rig.h"

TestSuite(poll, .init = rig_prepare, .fini = rig_end, .timeout = 60);

/* Marking. */

Test(poll, acknowledged_rows_are_marked_and_no_others)
{
    rig_insert(1, 5);
    rig_activate();
    RIG_WAIT(rig_delivered() == 5);
    rig_turn();
    cr_assert_eq(rig.marks, 0);
    rig_ack(-1);
    cr_assert_eq(rig.pipe.source->ops->unmarked(rig.pipe.source), 5);
    RIG_WAIT(rig.pipe.progress >= 1);
    cr_assert_eq(rig_marked(), 5);
    cr_assert_eq(rig.pipe.source->ops->unmarked(rig.pipe.source), 0);
    cr_assert_eq(*rig.pipe.stats.rows->marked, 5);
}

Test(poll, marking_adapts_to_the_speed_of_the_server)
{
    rig_insert(1, 300);
    rig.pipe.pipeline.limits.batch_events = 10;
    rig.pipe.room_events = 10000;
    rig_activate();
    RIG_WAIT(rig_delivered() == 300);
    cr_assert_geq(rig.pipe.batch_count, 30);
    rig_ack_all(); /* the first mark is sent at once, the others pile up behind it */
    RIG_WAIT(rig_marked() == 300);
    cr_assert_leq(rig.marks, 3);
}

Test(poll, old_rows_are_pruned_only_when_asked)
{
    rig_activate();
    RIG_WAIT(rig.fetches >= 3);
    cr_assert_eq(rig.prunes, 0);
}

Test(poll, old_rows_are_pruned)
{
    rig.pipe.pipeline.outbox.retain_ms = 1000;
    rig_activate();
    RIG_WAIT(rig.prunes == 1);
}

/* Dead letters. */

Test(poll, an_event_set_aside_is_told_when_it_is_committed)
{
    rig_insert(1, 3);
    rig_activate();
    RIG_WAIT(rig_delivered() == 3);
    AUTO_ERROR reason = {0};
    error_set(&reason, CODE_RECORD_TOO_LARGE, "too large");
    Record record = {0};
    source_rig_set_aside(&rig.pipe, rig.pipe.batches[0]->events[1], &record, &reason);
    cr_assert_eq(rig.pipe.asides, 0);
    RIG_WAIT(rig.pipe.asides == 1);
    cr_assert(rig.rows[2].dead);
    cr_assert_not(rig.rows[1].dead || rig.rows[3].dead);
    rig_ack(-1);
    RIG_WAIT(rig_marked() == 3);
}

static void set_aside_one(void)
{
    rig_insert(1, 1);
    rig_activate();
    RIG_WAIT(rig_delivered() == 1);
    AUTO_ERROR reason = {0};
    error_set(&reason, CODE_RECORD_TOO_LARGE, "too large");
    Record record = {0};
    source_rig_set_aside(&rig.pipe, rig.pipe.batches[0]->events[0], &record, &reason);
}

static void set_aside_and_lose(void)
{
    set_aside_one();
    RIG_WAIT(rig.pipe.lost == 1);
    cr_assert_eq(rig.pipe.asides, 0);
}

/* A right, a trigger, a full disk, a value that the encoding cannot hold. */
Test(poll, a_dead_letter_that_is_refused_is_given_back_and_nothing_else_waits)
{
    static const char *const STATES[] = {"42501", "P0001", "53100", "22P05", "42P01"};
    rig.error_of_dead_letter = STATES[0];
    set_aside_one();
    AUTO_ERROR reason = {0};
    error_set(&reason, CODE_RECORD_TOO_LARGE, "too large");
    Record record = {0};
    for (size_t i = 0; i < sizeof(STATES) / sizeof(STATES[0]); i++) {
        RIG_WAIT(rig.pipe.asides_refused == i + 1);
        cr_assert_not_null(strstr(error_message(&rig.pipe.error), STATES[i]), "%s",
                           error_message(&rig.pipe.error));
        cr_assert_not_null(strstr(error_message(&rig.pipe.error), "outbox.dead_letter"));
        bool last = i + 1 == sizeof(STATES) / sizeof(STATES[0]);
        rig.error_of_dead_letter = last ? NULL : STATES[i + 1];
        source_rig_set_aside(&rig.pipe, rig.pipe.batches[0]->events[0], &record, &reason);
    }
    RIG_WAIT(rig.pipe.asides == 1);
    cr_assert_eq(rig.pipe.refusals, 0);
    cr_assert_eq(rig.pipe.lost, 0);
}

Test(poll, a_dead_letter_of_a_row_that_is_gone_is_written_from_memory)
{
    rig.row_of_letter_gone = true;
    set_aside_one();
    RIG_WAIT(rig.pipe.asides == 1);
    cr_assert_eq(rig.letters, 2);
    cr_assert_eq(rig.pipe.lost, 0);
}

Test(poll, without_a_dead_letter_table_nothing_is_set_aside)
{
    rig.table_fields[5] = STUB_NULL;
    set_aside_and_lose();
    cr_assert_eq(rig.pipe.error.code, CODE_NO_DEAD_LETTER_TABLE);
    cr_assert_eq(rig.pipe.error.class, ERROR_FATAL);
}

Test(poll, a_dead_letter_that_could_not_be_sent_sets_nothing_aside)
{
    rig_insert(1, 1);
    rig_activate();
    RIG_WAIT(rig_delivered() == 1);
    RIG_WAIT(rig.fetches > 2); /* what else the marker does is done */
    rig.pipe.room_events = 0;
    rig_turn();
    AUTO_ERROR reason = {0};
    error_set(&reason, CODE_RECORD_TOO_LARGE, "too large");
    Record record = {0};
    stub_fail_at(1, false);
    source_rig_set_aside(&rig.pipe, rig.pipe.batches[0]->events[0], &record, &reason);
    RIG_WAIT(rig.pipe.lost == 1);
    cr_assert_eq(rig.pipe.asides, 0);
    cr_assert_not(rig.rows[1].dead);
}

/* Losing the connections, and draining. */

Test(poll, what_was_acknowledged_is_marked_after_a_reconnect_and_not_read_again)
{
    rig_insert(1, 4);
    rig_activate();
    RIG_WAIT(rig_delivered() == 4);
    stub_break_idle(2); /* the marker */
    RIG_WAIT(rig.pipe.lost == 1);
    cr_assert_eq(stub_open_connections(), 0, "one lost means both");
    cr_assert_not(rig.pipe.source->lease_over);
    cr_assert_not(rig.pipe.source->ops->may_publish(rig.pipe.source));
    rig_ack(3); /* event 3 is not settled */
    cr_assert_eq(rig.pipe.source->ops->unmarked(rig.pipe.source), 3);
    rig_restart();
    RIG_WAIT(rig.pipe.active == 2);
    RIG_WAIT(rig_delivered() == 5);
    rig_assert_out("3");
    cr_assert_eq(rig_marked(), 3);
    cr_assert_eq(rig.pipe.lost, 1);
}

Test(poll, the_lock_is_kept_until_the_source_may_go_on)
{
    rig.pipe.pipeline.claim.lease_ms = 200;
    rig_insert(1, 4);
    rig_activate();
    RIG_WAIT(rig_delivered() == 4);
    rig.pipe.keep_waiting = true;
    stub_break_idle(2); /* the marker */
    RIG_WAIT(rig.pipe.lost == 1);
    rig.pipe.source->ops->start(rig.pipe.source, 0);
    RIG_WAIT(rig.pipe.locked == 2);
    size_t pings = rig.pings;
    RIG_WAIT(rig.pings >= pings + 6); /* longer than a lease */
    cr_assert_eq(rig.pipe.active, 1);
    cr_assert_not(rig.pipe.source->ops->may_publish(rig.pipe.source));
    rig_ack(3); /* event 3 is not settled */
    rig.pipe.source->ops->resume(rig.pipe.source);
    RIG_WAIT(rig.pipe.active == 2);
    RIG_WAIT(rig_delivered() == 5);
    rig_assert_out("3");
    cr_assert_eq(rig_marked(), 3);
    cr_assert_eq(rig.pipe.lost, 1);
}

Test(poll, a_refused_mark_is_tried_again_and_lock_and_rows_are_kept)
{
    rig_insert(1, 2);
    rig.error_of_mark = "42501";
    rig_activate();
    RIG_WAIT(rig_delivered() == 2);
    rig_ack(-1);
    RIG_PASS(rig.pipe.refusals == 2);
    cr_assert_eq(rig.pipe.error.code, CODE_POSTGRES_PRIVILEGE);
    cr_assert_eq(rig.pipe.source->ops->unmarked(rig.pipe.source), 2);
    rig.error_of_mark = NULL;
    RIG_PASS(rig_marked() == 2);
    cr_assert_eq(rig.pipe.accepted, 1);
    cr_assert_eq(rig.pipe.lost, 0);
    cr_assert_eq(rig_delivered(), 2, "nothing twice");
}

Test(poll, a_refused_mark_is_a_loss_while_draining)
{
    rig_insert(1, 2);
    rig_activate();
    RIG_WAIT(rig_delivered() == 2);
    rig.error_of_mark = "42501";
    rig_ack(-1);
    RIG_WAIT(rig.pipe.refusals == 1);
    rig.pipe.source->ops->drain(rig.pipe.source);
    RIG_PASS(rig.pipe.lost == 1);
}

Test(poll, an_error_of_a_mark_is_a_loss_and_the_rows_stay_known)
{
    rig_insert(1, 2);
    rig.error_of_mark = "53100";
    rig_activate();
    RIG_WAIT(rig_delivered() == 2);
    rig_ack(-1);
    RIG_WAIT(rig.pipe.lost == 1);
    cr_assert_eq(rig.pipe.error.class, ERROR_RETRY);
    cr_assert_eq(rig.pipe.source->ops->unmarked(rig.pipe.source), 2);
    rig.error_of_mark = NULL;
    rig_restart();
    RIG_WAIT(rig_marked() == 2);
    cr_assert_eq(rig_delivered(), 2);
}

Test(poll, draining_marks_what_is_acknowledged_and_reads_no_more)
{
    rig_insert(1, 2);
    rig_activate();
    RIG_WAIT(rig_delivered() == 2);
    rig_insert(3, 9);
    rig_ack(-1);
    rig.pipe.source->ops->drain(rig.pipe.source);
    RIG_WAIT(rig.pipe.drained == 1);
    cr_assert_eq(rig_marked(), 2);
    cr_assert_eq(rig_delivered(), 2);
    cr_assert_eq(stub_open_connections(), 0, "the lock is given up");
    rig.pipe.source->ops->drain(rig.pipe.source);
    rig_turn();
    cr_assert_eq(rig.pipe.drained, 1);
    cr_assert_eq(rig.pipe.lost, 0);
}

Test(poll, draining_with_nothing_to_mark_ends_at_once)
{
    rig_begin();
    rig.pipe.source->ops->drain(rig.pipe.source);
    RIG_WAIT(rig.pipe.drained == 1);
    cr_assert_eq(rig.pipe.active, 0);
}

Test(poll, draining_does_not_wait_for_marks_that_another_relay_will_make)
{
    rig_insert(1, 2);
    rig_activate();
    RIG_WAIT(rig_delivered() == 2);
    stub_break_idle(2);
    RIG_WAIT(rig.pipe.lost == 1);
    rig_ack(-1);
    rig.lock_taken = true;
    rig_restart();
    RIG_WAIT(rig.pipe.standby >= 1);
    rig.pipe.source->ops->drain(rig.pipe.source);
    RIG_WAIT(rig.pipe.drained == 1);
    cr_assert_eq(rig_marked(), 0);
    cr_assert_eq(stub_open_connections(), 0);
}

Test(poll, draining_after_a_loss_reconnects_to_mark)
{
    rig_insert(1, 2);
    rig_activate();
    RIG_WAIT(rig_delivered() == 2);
    stub_break_idle(2);
    RIG_WAIT(rig.pipe.lost == 1);
    rig_ack(-1);
    rig_restart();
    rig.pipe.source->ops->drain(rig.pipe.source);
    RIG_WAIT(rig.pipe.drained == 1);
    cr_assert_eq(rig_marked(), 2);
}
