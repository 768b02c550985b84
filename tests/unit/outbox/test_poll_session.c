/* The right to publish. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/clock.h"
#include "poll_rig.h"

TestSuite(poll_session, .init = rig_prepare, .fini = rig_end, .timeout = 60);

Test(poll_session, takes_the_lock_and_reads_what_is_unpublished)
{
    rig_insert(1, 3);
    rig_insert(7, 7);
    rig.rows[2].marked = true;
    rig_activate();
    RIG_WAIT(rig_delivered() == 3);
    rig_assert_out("1 3 7");
    cr_assert(rig.pipe.source->ops->may_publish(rig.pipe.source));
    cr_assert_eq(*rig.pipe.stats.rows->postgres_connected, 1);
    cr_assert_eq(rig.pipe.lost, 0);
}

Test(poll_session, stands_by_while_another_holds_the_lock_and_takes_over)
{
    rig.lock_taken = true;
    rig_insert(1, 2);
    rig_begin();
    RIG_WAIT(rig.pipe.standby >= 3); /* tries on a timer */
    cr_assert_str_eq(
        rig.pipe.holder,
        "other/orders, pid 4242 on web-1 (from 10.0.0.9 port 41000, PostgreSQL backend 77)");
    cr_assert_eq(rig.pipe.active, 0);
    cr_assert_eq(rig.fetches, 0);
    cr_assert_not(rig.pipe.source->ops->may_publish(rig.pipe.source));
    cr_assert_eq(stub_open_connections(), 1, "a standby holds one connection");
    rig.lock_taken = false;
    RIG_WAIT(rig_delivered() == 2);
    cr_assert_eq(rig.pipe.active, 1);
}

Test(poll_session, what_a_human_must_mend_is_waited_for_once_it_stood_by)
{
    rig.lock_taken = true;
    rig_insert(1, 2);
    rig_begin();
    RIG_WAIT(rig.pipe.standby >= 2);
    rig.may_not_mark = true;
    size_t looks = rig.looks;
    rig.lock_taken = false;
    RIG_WAIT(rig.pipe.lost == 1); /* looked again with the lock in hand, before the first event */
    cr_assert_eq(rig.looks, looks + 1);
    cr_assert_eq(rig.pipe.error.code, CODE_RIGHT_UPDATE);
    cr_assert_eq(rig.pipe.error.class, ERROR_RETRY);
    cr_assert_eq(rig.fetches, 0);
    rig.may_not_mark = false;
    rig.pipe.source->ops->start(rig.pipe.source, 3600000);
    rig.pipe.source->ops->wake(rig.pipe.source); /* mended: not in an hour */
    RIG_WAIT(rig_delivered() == 2);
}

Test(poll_session, refuses_at_the_start_what_a_human_must_mend)
{
    rig.may_not_mark = true;
    rig_insert(1, 2);
    rig_begin();
    RIG_WAIT(rig.pipe.lost == 1);
    cr_assert_eq(rig.pipe.error.code, CODE_RIGHT_UPDATE);
    cr_assert_eq(rig.pipe.error.class, ERROR_FATAL);
    cr_assert_eq(rig.fetches, 0);
}

Test(poll_session, a_refused_fetch_keeps_lock_and_memory_and_is_tried_again)
{
    rig_insert(1, 2);
    rig_activate();
    RIG_PASS(rig_delivered() == 2);
    rig.error_of_fetch = "42501";
    RIG_PASS(rig.pipe.refusals == 1);
    cr_assert_eq(rig.pipe.error.code, CODE_POSTGRES_PRIVILEGE);
    size_t fetches = rig.fetches;
    rig.pipe.source->ops->wake(rig.pipe.source);
    rig_turn();
    cr_assert_eq(rig.fetches, fetches, "not at once");
    rig_insert(3, 4);
    rig.error_of_fetch = NULL;
    RIG_PASS(rig_delivered() == 4);
    cr_assert_eq(rig.pipe.accepted, 1);
    cr_assert_eq(rig.pipe.lost, 0);
    cr_assert_eq(rig.pipe.active, 1, "the lock was ours all the time");
}

Test(poll_session, a_fetch_that_ends_a_refusal_is_judged_before_the_next_one)
{
    rig_insert(1, 2);
    rig_activate();
    RIG_PASS(rig_delivered() == 2);
    rig.error_of_fetch = "42501";
    RIG_PASS(rig.pipe.refusals == 1);
    rig_insert(3, 4);
    rig.error_of_fetch = NULL;
    rig.hang_fetch = true;
    size_t fetches = rig.fetches;
    RIG_PASS(rig.fetches == fetches + 1);
    rig.pipe.source->ops->look_again(rig.pipe.source, 3); /* one more is wanted meanwhile */
    rig.hang_fetch = false;
    stub_continue();
    RIG_PASS(rig_delivered() == 4);
    cr_assert_eq(rig.pipe.accepted, 1);
    cr_assert_eq(rig.pipe.lost, 0);
    RIG_PASS(rig.fetches > fetches + 1);
    cr_assert_eq(rig_delivered(), 4);
}

static void refused(size_t field, const char *value, ErrorCode code, ErrorClass class)
{
    rig.table_fields[field] = value;
    rig_begin();
    RIG_WAIT(rig.pipe.lost == 1);
    cr_assert_eq(rig.pipe.error.code, code);
    cr_assert_eq(rig.pipe.error.class, class);
    cr_assert_eq(stub_open_connections(), 0);
    cr_assert_eq(rig.pipe.active, 0);
}

Test(poll_session, refuses_a_pooler)
{
    stub_set_pooled(true);
    refused(0, NULL, CODE_POSTGRES_POOLER, ERROR_FATAL);
    cr_assert_str_eq(stub_session_mark(), "", "nothing was set");
    cr_assert_eq(rig.looks, 0);
}

Test(poll_session, refuses_a_pooler_that_gives_the_session_to_others)
{
    stub_set_pooled(true);
    rig.pipe.config.database.pooler = POOLER_SESSION;
    rig.mark = "another's";
    refused(0, NULL, CODE_POSTGRES_POOLER, ERROR_FATAL);
    cr_assert_not_null(strstr(error_own_hint(&rig.pipe.error), "pool_mode = session"));
}

Test(poll_session, refuses_a_standby_server_for_now)
{
    refused(1, "t", CODE_POSTGRES_READ_ONLY, ERROR_RETRY);
}

Test(poll_session, refuses_a_missing_table)
{
    refused(2, STUB_NULL, CODE_POSTGRES_NO_TABLE, ERROR_FATAL);
}

Test(poll_session, refuses_an_unlogged_table)
{
    refused(3, "u", CODE_TABLE_UNLOGGED, ERROR_FATAL);
}

Test(poll_session, refuses_a_sequence_with_a_cache)
{
    refused(4, "10", CODE_SEQUENCE_CACHE, ERROR_FATAL);
    cr_assert_not_null(
        strstr(error_own_hint(&rig.pipe.error), "ALTER SEQUENCE outbox.event_seq_seq CACHE 1"));
}

Test(poll_session, a_session_pooler_is_allowed_when_told)
{
    stub_set_pooled(true);
    rig.pipe.config.database.pooler = POOLER_SESSION;
    rig_activate();
    cr_assert_eq(strlen(stub_session_mark()), 16);
    cr_assert_eq(rig.pipe.lost, 0);
}

Test(poll_session, a_server_that_is_silent_for_a_lease_ends_the_right_to_publish)
{
    rig.pipe.pipeline.claim.lease_ms = 60;
    rig.hang_fetch = true;
    rig_activate();
    cr_assert(rig.pipe.source->ops->may_publish(rig.pipe.source));
    int64_t deadline_us = clock_monotonic_us() + 10000000;
    while (rig.pipe.source->ops->may_publish(
        rig.pipe.source)) { /* the loop does not turn: a stopped owner */
        cr_assert_lt(clock_monotonic_us(), deadline_us);
    }
    cr_assert_eq(rig.pipe.lost, 0, "told from inside of a call");
    RIG_WAIT(rig.pipe.lost == 1);
    cr_assert_eq(rig.pipe.error.code, CODE_LEASE_EXPIRED);
    cr_assert(rig.pipe.source->lease_over);
    cr_assert_eq(rig.pipe.error.class, ERROR_RETRY);
    cr_assert_eq(stub_open_connections(), 0);
    rig_turn();
    cr_assert_eq(rig.pipe.lost, 1);
}

Test(poll_session, an_idle_source_renews_its_lease)
{
    rig.pipe.pipeline.claim.lease_ms = 300;
    rig.pipe.room_events = 0; /* nothing is fetched */
    rig_activate();
    RIG_PASS(rig.pings >= 4);
    cr_assert(rig.pipe.source->ops->may_publish(rig.pipe.source));
    cr_assert_eq(rig.pipe.lost, 0);
}
