/* Lock, slot and lease: who else may publish, and what a source does meanwhile. See wal_rig.h. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "wal_rig.h"

Test(wal, the_lock_of_another_relay_makes_us_wait)
{
    rig_given_position(rig.end_lsn);
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
    rig_given_position(rig.end_lsn);
    rig.slot_busy = "55006";
    rig_begin();
    RIG_WAIT(rig.starts >= 3);
    cr_assert_eq(rig.pipe.active, 0);
    cr_assert_geq(rig.pipe.standby, 2);
    cr_assert_eq(rig.pipe.lost, 0);
    rig.slot_busy = NULL;
    RIG_WAIT(rig.pipe.active == 1);
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
    rig_begin_streaming();
    cr_assert(rig.pipe.source->ops->may_publish(rig.pipe.source));
    sleep_longer_than_the_lease();
    RIG_WAIT(rig.pipe.lost == 1);
    cr_assert(rig.pipe.source->lease_over);
}

Test(wal, a_connection_that_breaks_within_the_lease_is_no_end_of_the_lease)
{
    rig_begin_streaming();
    stub_break_idle(rig.walsender);
    RIG_WAIT(rig.pipe.lost == 1);
    cr_assert_not(rig.pipe.source->lease_over);
}

static void lose_stream_and_wait_with_the_lock(void)
{
    rig.pipe.keep_waiting = true;
    stub_stream_end(rig.walsender, "57P01", "terminating connection");
    RIG_WAIT(rig.pipe.lost == 1);
    rig.pipe.source->ops->start(rig.pipe.source, 0);
    RIG_WAIT(rig.pipe.locked == 2);
}

Test(wal, what_settles_while_the_source_waits_with_the_lock_counts)
{
    rig_begin_streaming();
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
    rig_begin_streaming();
    rig_commit(1, 2);
    RIG_WAIT(rig_delivered() == 2);
    rig.slot_taken = true;
    lose_stream_and_wait_with_the_lock();
    RIG_WAIT(rig.pipe.standby >= 1);
    cr_assert_str_eq(rig.pipe.holder, "another relay reads the slot");
    rig.pipe.keep_waiting = rig.slot_taken = false;
    rig_ack_all();
    RIG_WAIT(rig.pipe.active == 2);
    cr_assert_eq(rig.pipe.lost, 1);
}

Test(wal, going_on_waits_for_the_answer_to_a_question_of_the_lease)
{
    rig.pipe.pipeline.claim.lease_ms = 2000;
    rig_begin_streaming();
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

Test(wal, draining_does_not_wait_for_marks_that_another_relay_will_make)
{
    rig.pipe.pipeline.outbox.mark_interval_ms = 3600000;
    rig_begin_streaming();
    rig_commit(1, 2);
    RIG_WAIT(rig_delivered() == 2);
    stub_stream_end(rig.walsender, "42704", "publication \"outboxd_orders\" does not exist");
    RIG_WAIT(rig.pipe.lost == 1);
    rig_ack_all();
    rig.lock_taken = true;
    rig_restart();
    RIG_WAIT(rig.pipe.standby >= 1);
    rig.pipe.source->ops->drain(rig.pipe.source);
    RIG_WAIT(rig.pipe.drained == 1);
    cr_assert(!rig.rows[1].marked && !rig.rows[2].marked);
    cr_assert_eq(stub_open_connections(), 0);
}

/* What the sink holds back since the end of the lease. */

static SourceProof proof_after(void (*meanwhile)(void))
{
    rig_begin_streaming();
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
