/* The polling source over a libpq that the test plays: see poll_rig.h. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/clock.h"
#include "outbox/poll.h"
#include "poll_rig.h"
#include "stub/random.h"

TestSuite(poll, .init = rig_prepare, .fini = rig_end, .timeout = 60);

static void active(void)
{
    rig_begin();
    RIG_WAIT(rig.pipe.active == 1);
}

/* The right to publish. */

Test(poll, takes_the_lock_and_reads_what_is_unpublished)
{
    rig_insert(1, 3);
    rig_insert(7, 7);
    rig.rows[2].marked = true;
    active();
    RIG_WAIT(rig_delivered() == 3);
    rig_assert_out("1 3 7");
    cr_assert(rig.pipe.source->ops->may_publish(rig.pipe.source));
    cr_assert_eq(*rig.pipe.stats.rows->postgres_connected, 1);
    cr_assert_eq(rig.pipe.lost, 0);
}

Test(poll, stands_by_while_another_holds_the_lock_and_takes_over)
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

Test(poll, what_a_human_must_mend_is_waited_for_once_it_stood_by)
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

Test(poll, refuses_at_the_start_what_a_human_must_mend)
{
    rig.may_not_mark = true;
    rig_insert(1, 2);
    rig_begin();
    RIG_WAIT(rig.pipe.lost == 1);
    cr_assert_eq(rig.pipe.error.code, CODE_RIGHT_UPDATE);
    cr_assert_eq(rig.pipe.error.class, ERROR_FATAL);
    cr_assert_eq(rig.fetches, 0);
}

Test(poll, a_refused_fetch_keeps_lock_and_memory_and_is_tried_again)
{
    rig_insert(1, 2);
    active();
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

Test(poll, refuses_a_pooler)
{
    refused(0, "1", CODE_POSTGRES_POOLER, ERROR_FATAL);
}

Test(poll, refuses_a_standby_server_for_now)
{
    refused(1, "t", CODE_POSTGRES_READ_ONLY, ERROR_RETRY);
}

Test(poll, refuses_a_missing_table)
{
    refused(2, STUB_NULL, CODE_POSTGRES_NO_TABLE, ERROR_FATAL);
}

Test(poll, refuses_an_unlogged_table)
{
    refused(3, "u", CODE_TABLE_UNLOGGED, ERROR_FATAL);
}

Test(poll, refuses_a_sequence_with_a_cache)
{
    refused(4, "10", CODE_SEQUENCE_CACHE, ERROR_FATAL);
    cr_assert_not_null(
        strstr(error_own_hint(&rig.pipe.error), "ALTER SEQUENCE outbox.event_seq_seq CACHE 1"));
}

Test(poll, a_session_pooler_is_allowed_when_told)
{
    rig.table_fields[0] = "1";
    rig.pipe.config.database.pooler = POOLER_SESSION;
    active();
    cr_assert_eq(rig.pipe.lost, 0);
}

Test(poll, a_server_that_is_silent_for_a_lease_ends_the_right_to_publish)
{
    rig.pipe.pipeline.claim.lease_ms = 60;
    rig.hang_fetch = true;
    active();
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

Test(poll, an_idle_source_renews_its_lease)
{
    rig.pipe.pipeline.claim.lease_ms = 300;
    rig.pipe.room_events = 0; /* nothing is fetched */
    active();
    RIG_PASS(rig.pings >= 4);
    cr_assert(rig.pipe.source->ops->may_publish(rig.pipe.source));
    cr_assert_eq(rig.pipe.lost, 0);
}

/* Reading. */

Test(poll, a_lower_number_that_commits_later_is_found)
{
    rig_insert(1, 2);
    rig_insert(5, 6);
    active();
    RIG_WAIT(rig_delivered() == 4);
    rig_insert(3, 4);
    rig_insert(7, 7);
    RIG_WAIT(rig_delivered() == 7);
    rig_assert_out("1 2 5 6 3 4 7");
}

Test(poll, what_is_in_flight_is_not_read_again)
{
    rig_insert(1, 5);
    active();
    RIG_WAIT(rig_delivered() == 5);
    size_t fetches = rig.fetches;
    RIG_WAIT(rig.fetches > fetches + 5);
    cr_assert_eq(rig_delivered(), 5);
}

Test(poll, no_read_is_larger_than_batch_events)
{
    rig_insert(1, 60);
    rig.pipe.pipeline.limits.batch_events = 10;
    active();
    RIG_WAIT(rig_delivered() == 60);
    for (size_t i = 0; i < rig.pipe.batch_count; i++) {
        cr_assert_leq(rig.pipe.batches[i]->count, 10);
    }
}

Test(poll, it_waits_for_room)
{
    rig_insert(1, 50);
    rig.pipe.pipeline.limits.in_flight_events = 40;
    rig.pipe.room_events = 0;
    active();
    rig_turn();
    cr_assert_eq(rig.fetches, 0);
    rig.pipe.room_events = 10;
    rig.pipe.source->ops->wake(rig.pipe.source);
    RIG_WAIT(rig_delivered() >= 10);
    cr_assert_eq(rig.pipe.batches[0]->count, 10);
}

Test(poll, large_rows_are_cut_at_the_budget_and_the_rest_is_read_later)
{
    rig_insert(1, 60);
    rig.payload_bytes = 10000;
    rig.pipe.pipeline.limits.batch_bytes = 100000;
    stub_set_pieces(3);
    active();
    RIG_WAIT(rig_delivered() == 60);
    cr_assert_geq(stub_cancels(), 1);
    for (size_t i = 0; i < rig.pipe.batch_count; i++) {
        cr_assert_leq(rig.pipe.batches[i]->bytes, 100000 + 11000);
    }
    cr_assert_eq(rig.pipe.lost, 0);
}

/* A statement that does not look at sizes finds nothing once a row needs that look: it says nothing
 * about the rows, and one that looks follows at once. */
Test(poll, a_fetch_that_could_not_see_large_rows_is_repeated_with_their_sizes)
{
    rig.pipe.pipeline.limits.event_bytes = 8 * 1024 * 1024;
    rig.pipe.pipeline.poll.interval_max_ms = 5;
    rig_insert(1, 2);
    active();
    RIG_WAIT(rig_delivered() == 2);
    rig_ack_all();
    RIG_WAIT(rig_marked() == 2);
    size_t begun = rig.small_reads;
    RIG_WAIT(rig.small_reads > begun);
    rig.pipe.pipeline.poll.interval_max_ms = 3600000; /* nothing comes by itself */
    rig.pipe.pipeline.poll.interval_min_ms = 3600000;
    for (size_t still = 0, fetches = rig.fetches; still < 100; still++) {
        rig_turn();
        still = fetches == rig.fetches ? still : 0;
        fetches = rig.fetches;
    }
    size_t before = rig.small_reads;
    rig.large = true;
    rig_insert(3, 4);
    rig.pipe.source->ops->look_again(rig.pipe.source, 3);
    RIG_WAIT(rig_delivered() == 4);
    cr_assert_eq(rig.small_reads, before + 1, "in vain");
    cr_assert_eq(rig.pipe.lost, 0);
}

Test(poll, rows_wait_until_their_commit_is_on_disk)
{
    rig_insert(1, 2);
    rig.not_durable = 3; /* at the fetch, and two times more */
    active();
    RIG_WAIT(rig_delivered() == 2); /* poll_rig.c asserts that it was not earlier */
    cr_assert_eq(rig.guards, 3);
    cr_assert_eq(rig.flushes, 0);
}

Test(poll, a_commit_that_nobody_flushes_is_flushed_by_us)
{
    rig_insert(1, 2);
    rig.durable = false;
    active();
    RIG_WAIT(rig_delivered() == 2);
    cr_assert_eq(rig.flushes, 1);
}

/* The writers are asked for only while there are gaps. */
static size_t fences_of(size_t fetches)
{
    size_t fences = 0;
    for (size_t i = 0; i < fetches; i++) {
        size_t before = rig.fetches;
        RIG_PASS(rig.fetches > before);
        fences += strstr(rig.fetch_sql, " AS writers") != NULL;
    }
    return fences;
}

Test(poll, a_gap_is_given_up_when_its_writers_are_gone)
{
    rig.writers = "3/12 4/7";
    rig_insert(1, 2);
    rig_insert(5, 6);
    active();
    RIG_PASS(rig_delivered() == 4);
    for (size_t fences = 0; fences < 3;) { /* one every 200 ms */
        fences += fences_of(1);
    }
    rig_insert(4, 4);
    RIG_PASS(rig_delivered() == 5);
    cr_assert_eq(*rig.pipe.stats.rows->swept, 0, "given up while its writers run");
    rig.writers = "13/12 4/70 5/1"; /* others, whose names begin or end alike */
    RIG_PASS(fences_of(150) == 0);
    rig_insert(3, 3);
    RIG_PASS(rig_delivered() == 6);
    cr_assert_eq(*rig.pipe.stats.rows->swept, 1, "still looked for");
    rig_assert_out("1 2 5 6 4 3");
}

Test(poll, a_sweep_finds_what_lies_below_the_bound)
{
    rig_insert(10, 12);
    active();
    RIG_PASS(rig_delivered() == 3);
    rig_ack_all();
    RIG_PASS(rig_marked() == 3);
    RIG_PASS(fences_of(150) == 0);
    rig_insert(4, 4); /* by hand */
    RIG_PASS(rig_delivered() == 4);
    rig_assert_out("4");
    cr_assert_eq(*rig.pipe.stats.rows->swept, 1);
}

Test(poll, a_row_that_is_unmarked_by_hand_is_published_again_though_no_gap_moves)
{
    rig_insert(1, 50);
    active();
    RIG_PASS(rig_delivered() == 50);
    rig_ack_all();
    RIG_PASS(rig_marked() == 50);
    RIG_PASS(fences_of(150) == 0);
    rig.rows[20] = (RigRow){.visible = true};
    RIG_PASS(rig.rows[20].delivered == 1);
    rig_assert_out("20");
    rig_ack_all();
    RIG_PASS(rig.rows[20].marked);
}

Test(poll, a_row_whose_mark_is_undone_again_and_again_is_not_published_in_a_circle)
{
    rig_insert(1, 3);
    active();
    RIG_WAIT(rig_delivered() == 3);
    rig_ack_all();
    RIG_WAIT(rig_marked() == 3);
    rig.rows[2] = (RigRow){.visible = true};
    RIG_WAIT(rig.rows[2].delivered == 1);
    rig_ack_all();
    RIG_WAIT(rig.rows[2].marked);
    rig.rows[2] = (RigRow){.visible = true};
    size_t fetches = rig.fetches;
    RIG_WAIT(rig.fetches > fetches + 20);
    cr_assert_eq(rig.rows[2].delivered, 0, "within a sweep_interval");
}

Test(poll, numbers_that_go_back_are_read_in_order_across_the_old_top)
{
    rig_insert(100, 120);
    active();
    RIG_PASS(rig_delivered() == 21);
    rig_ack_all();
    RIG_PASS(rig_marked() == 21);
    RIG_PASS(fences_of(150) == 0);
    memset(rig.rows, 0, sizeof(rig.rows)); /* TRUNCATE ... RESTART IDENTITY */
    rig_insert(1, 2);
    RIG_PASS(rig_delivered() == 2);
    cr_assert_eq(*rig.pipe.stats.rows->swept, 2);
    for (int64_t seq = 3; seq <= 150; seq += 7) { /* as if nothing had been: no sweep is needed */
        rig_insert(seq, seq + 6);
        RIG_PASS(rig_delivered() == (size_t)seq + 6);
    }
    cr_assert_eq(*rig.pipe.stats.rows->swept, 2);
    int64_t last = 0;
    for (size_t i = 0; i < rig.pipe.batch_count; i++) {
        for (size_t j = 0; j < rig.pipe.batches[i]->count; j++) {
            cr_assert_eq(rig.pipe.batches[i]->events[j]->seq, ++last);
        }
    }
}

static void assert_ascending_after(size_t skip)
{
    int64_t last = 0;
    for (size_t i = 0; i < rig.pipe.batch_count; i++) {
        for (size_t j = 0; j < rig.pipe.batches[i]->count; j++) {
            if (skip > 0) {
                skip--;
                continue;
            }
            cr_assert_lt(last, rig.pipe.batches[i]->events[j]->seq);
            last = rig.pipe.batches[i]->events[j]->seq;
        }
    }
}

/* The rows in flight are gone, their numbers are given out again, and more of them than there were
 * before the next fetch. The next sweep would be late. */
static void numbers_go_back_in_flight(const char *storage, const char *last_value)
{
    rig.pipe.pipeline.poll.sweep_interval_ms = 3600000;
    rig.last_value = "250";
    rig_insert(1, 20);
    active();
    RIG_PASS(rig_delivered() == 20);
    RIG_PASS(rig.fetches > 10);
    size_t before = 0;
    do { /* a sweep is dear: the next one comes 50 times as much later */
        rig.hang_fetch = false;
        stub_continue();
        rig.hang_fetch = true;
        before = rig.fetches;
        RIG_PASS(rig.fetches > before);
    } while (!rig.in_snapshot);
    clock_skip_us(60000);
    clock_turn(rig.pipe.base);
    rig.hang_fetch = false;
    stub_continue();
    before = rig.fetches;
    RIG_PASS(rig.fetches > before);
    cr_assert_null(strstr(rig.fetch_sql, "REPEATABLE READ"), "%s", rig.fetch_sql);
    for (int64_t seq = 1; seq <= 40; seq++) {
        rig.rows[seq] = (RigRow){.visible = true, .version = 1};
    }
    rig.storage = storage;
    rig.last_value = last_value;
    RIG_PASS(rig_delivered() >= 20 && rig.rows[40].delivered == 1);
    assert_ascending_after(20);
    RIG_PASS(rig_delivered() == 40);
    for (int64_t seq = 41; seq <= 90; seq++) { /* no sweep is needed any more */
        rig_insert(seq, seq);
        RIG_PASS(rig_delivered() == (size_t)seq);
    }
    assert_ascending_after(20);
    cr_assert_eq(rig.pipe.lost, 0);
}

Test(poll, other_storage_of_the_sequence_tells_that_numbers_went_back)
{
    numbers_go_back_in_flight("5000 5001", "250");
}

Test(poll, a_lower_last_number_tells_that_numbers_went_back)
{
    numbers_go_back_in_flight(NULL, "40");
}

Test(poll, rows_in_flight_do_not_hide_what_lies_among_them)
{
    for (int64_t seq = 2; seq <= 300; seq += 2) {
        rig_insert(seq, seq);
    }
    rig.pipe.pipeline.limits.batch_events = 10;
    rig.pipe.room_events = 10000;
    active();
    RIG_PASS(rig_delivered() == 150);
    RIG_PASS(fences_of(150) == 0); /* the numbers between them are given up */
    rig_insert(299, 299);
    RIG_PASS(rig.rows[299].delivered == 1);
    cr_assert_eq(*rig.pipe.stats.rows->swept, 1);
    cr_assert_gt(rig.wide, 0);
    cr_assert_eq(rig_delivered(), 151);
}

Test(poll, a_row_that_was_marked_while_a_fetch_ran_is_not_read_again)
{
    rig_insert(1, 5);
    active();
    RIG_WAIT(rig_delivered() == 5);
    rig.hang_fetch = true;
    size_t fetches = rig.fetches;
    RIG_WAIT(rig.fetches > fetches); /* its snapshot shows all five unpublished */
    cr_assert(rig.in_snapshot, "a sweep while rows are known is wide");
    rig_ack_all();
    RIG_WAIT(rig_marked() == 5);
    RIG_WAIT(rig.pipe.source->ops->unmarked(rig.pipe.source) == 0);
    rig.hang_fetch = false;
    fetches = rig.fetches;
    stub_continue();
    RIG_WAIT(rig.fetches > fetches + 3);
    cr_assert_eq(rig_delivered(), 5);
}

Test(poll, a_wide_fetch_that_is_cut_at_the_budget_goes_on_where_it_ended)
{
    rig_insert(200, 203);
    active();
    RIG_WAIT(rig_delivered() == 4);
    rig.pipe.room_events = 0;
    RIG_WAIT(rig.pipe.source->ops->unmarked(rig.pipe.source) == 0);
    rig_turn();
    rig_insert(1, 60);
    rig.payload_bytes = 10000;
    rig.pipe.pipeline.limits.batch_bytes = 100000;
    stub_set_pieces(3);
    rig.pipe.room_events = 100;
    rig.pipe.source->ops->wake(rig.pipe.source);
    RIG_WAIT(rig_delivered() == 64);
    cr_assert_geq(stub_cancels(), 1);
    cr_assert_gt(rig.wide, 0);
    cr_assert_eq(rig.pipe.lost, 0);
    rig_ack_all();
    RIG_WAIT(rig_marked() == 64);
}

Test(poll, a_wide_fetch_that_is_kept_out_by_a_lock_leaves_no_transaction_open)
{
    rig_insert(1, 3);
    active();
    RIG_WAIT(rig_delivered() == 3);
    rig.error_of_fetch = "55P03";
    RIG_WAIT(rig.in_snapshot == false);
    size_t fetches = rig.fetches;
    RIG_WAIT(rig.fetches > fetches + 3);
    rig.error_of_fetch = NULL;
    rig_insert(4, 5);
    RIG_WAIT(rig_delivered() == 5);
    cr_assert_eq(rig.pipe.lost, 0);
}

Test(poll, being_told_to_look_again_it_looks_at_everything)
{
    rig_insert(1, 3);
    active();
    RIG_WAIT(rig_delivered() == 3);
    rig.pipe.pipeline.poll.interval_max_ms = 3600000; /* nothing comes by itself */
    rig.pipe.pipeline.poll.interval_min_ms = 3600000;
    rig_turn();
    RIG_WAIT(!rig.in_snapshot);
    for (size_t still = 0, fetches = rig.fetches; still < 100; still++) {
        rig_turn();
        still = fetches == rig.fetches ? still : 0;
        fetches = rig.fetches;
    }
    rig.rows[1] = (RigRow){.visible = true, .version = 1};
    rig.pipe.source->ops->look_again(rig.pipe.source, 1);
    RIG_WAIT(rig_delivered() == 3 && rig.rows[1].delivered == 1);
    cr_assert_not_null(strstr(rig.fetch_sql, "BEGIN ISOLATION LEVEL REPEATABLE READ"));
}

/* Rows that the server cannot read. */

static void expect_isolated(int64_t bad, bool at_once, size_t most_reads)
{
    rig.unreadable_at_once = at_once;
    rig.large = true;
    rig_insert(1, 300);
    rig.unreadable = bad;
    rig.pipe.room_events = 1000;
    rig.pipe.pipeline.limits.in_flight_events = 1000;
    active();
    RIG_WAIT(rig_delivered() == 300);
    cr_assert_leq(rig.unreadable_reads, most_reads, "%zu", rig.unreadable_reads);
    size_t refused = 0;
    for (size_t b = 0; b < rig.pipe.batch_count; b++) {
        for (size_t i = 0; i < rig.pipe.batches[b]->count; i++) {
            const Event *event = rig.pipe.batches[b]->events[i];
            cr_assert_eq(event->refusal != NULL, event->seq == bad, "%lld", (long long)event->seq);
            refused += event->refusal != NULL;
        }
    }
    cr_assert_eq(refused, 1);
    cr_assert_eq(rig.pipe.lost, 0);
}

Test(poll, a_row_that_cannot_be_read_is_met_three_times_and_no_more)
{
    expect_isolated(197, false, 3);
}

Test(poll, a_row_that_cannot_be_read_may_be_the_first)
{
    expect_isolated(1, false, 3);
}

Test(poll, a_row_that_cannot_be_read_is_found_though_none_before_it_comes)
{
    expect_isolated(197, true, 12);
}

/* Marking. */

Test(poll, acknowledged_rows_are_marked_and_no_others)
{
    rig_insert(1, 5);
    active();
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
    active();
    RIG_WAIT(rig_delivered() == 300);
    cr_assert_geq(rig.pipe.batch_count, 30);
    rig_ack_all(); /* the first mark is sent at once, the others pile up behind it */
    RIG_WAIT(rig_marked() == 300);
    cr_assert_leq(rig.marks, 3);
}

Test(poll, old_rows_are_pruned_only_when_asked)
{
    active();
    RIG_WAIT(rig.fetches >= 3);
    cr_assert_eq(rig.prunes, 0);
}

Test(poll, old_rows_are_pruned)
{
    rig.pipe.pipeline.outbox.retain_ms = 1000;
    active();
    RIG_WAIT(rig.prunes == 1);
}

/* Dead letters. */

Test(poll, an_event_set_aside_is_told_when_it_is_committed)
{
    rig_insert(1, 3);
    active();
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
    active();
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
    active();
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
    active();
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
    active();
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
    active();
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
    active();
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
    active();
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
    active();
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
    active();
    RIG_WAIT(rig_delivered() == 2);
    stub_break_idle(2);
    RIG_WAIT(rig.pipe.lost == 1);
    rig_ack(-1);
    rig.lock_taken = true;
    rig_restart();
    RIG_WAIT(rig.pipe.standby == 1);
    rig.pipe.source->ops->drain(rig.pipe.source);
    RIG_WAIT(rig.pipe.drained == 1);
    cr_assert_eq(rig_marked(), 0);
    cr_assert_eq(stub_open_connections(), 0);
}

Test(poll, draining_after_a_loss_reconnects_to_mark)
{
    rig_insert(1, 2);
    active();
    RIG_WAIT(rig_delivered() == 2);
    stub_break_idle(2);
    RIG_WAIT(rig.pipe.lost == 1);
    rig_ack(-1);
    rig_restart();
    rig.pipe.source->ops->drain(rig.pipe.source);
    RIG_WAIT(rig.pipe.drained == 1);
    cr_assert_eq(rig_marked(), 2);
}
