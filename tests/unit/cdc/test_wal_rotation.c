/* ALTER TABLE event RENAME TO event_2025; CREATE TABLE event (...): the WAL source as the pipeline
 * sees it. The rig checks that each row is marked in its own table. */
#include <stdio.h>
#include <string.h>

#include "stub/random.h"
#include "wal_rig.h"

TestSuite(wal_rotation, .init = rig_prepare, .fini = rig_end);

/* A server tells how far its log goes. */
static bool keep_alive(void)
{
    static int64_t next_us;
    if (rig.walsender != 0 && clock_monotonic_us() >= next_us) {
        next_us = clock_monotonic_us() + 5000;
        rig_keepalive(rig_log_end(), false);
    }
    return true;
}

#define ALIVE_WAIT(condition) RIG_WAIT(keep_alive() && (condition))

static void begin_streaming(void)
{
    rig_begin();
    RIG_WAIT(rig.walsender != 0 && rig.pipe.active == 1);
}

/* The pulse of the lease is what notices it. */
static void begin_and_swap(int64_t from)
{
    rig.pipe.pipeline.claim.lease_ms = 200;
    begin_streaming();
    rig_commit(1, from - 1);
    RIG_WAIT(rig_delivered() == (size_t)from - 1);
    rig_swap(from);
}

static void come_back(void)
{
    rig.pipe.lost = 0;
    rig_restart();
    RIG_WAIT(rig.walsender != 0 && rig.pipe.active >= 2);
}

Test(wal_rotation, what_is_acknowledged_is_marked_in_the_old_table_before_a_new_row_is_read)
{
    begin_and_swap(4);
    RIG_WAIT(rig.pipe.lost == 1);
    cr_assert_eq(rig.pipe.error.class, ERROR_RETRY);
    rig_commit(4, 5); /* into the new one */
    rig.walsender = 0;
    come_back();
    RIG_WAIT(rig_delivered() >= 6); /* the old ones again, as they came back */
    rig_turn();
    cr_assert_eq(rig.rows[4].delivered, 0, "the old table is finished first");
    rig_ack_all();
    ALIVE_WAIT(rig.rows[5].delivered == 1);
    for (int seq = 1; seq <= 3; seq++) {
        cr_assert(rig.rows[seq].marked, "row %d", seq);
    }
    cr_assert_eq(rig.position.table_id, RIG_OUTBOX, "it is not known yet");
    rig_ack_all();
    ALIVE_WAIT(rig.rows[5].marked);
    ALIVE_WAIT(rig.position.table_id == RIG_NEXT);
}

/* Stops with everything done, then other rows come, and another table. */
static void swap_while_down(void)
{
    begin_streaming();
    rig_commit(1, 2);
    RIG_WAIT(rig_delivered() == 2);
    rig_ack_all();
    rig.pipe.source->ops->drain(rig.pipe.source);
    RIG_WAIT(rig.pipe.drained == 1);
    rig_end();
    rig.pipe.drained = rig.pipe.active = 0;
    rig_commit(3, 5);
    rig_swap(6);
    rig_commit(6, 8);
}

Test(wal_rotation, a_swap_while_nobody_ran_is_found_by_the_position)
{
    swap_while_down();
    rig_begin();
    ALIVE_WAIT(rig.rows[5].delivered == 1);
    rig_turn();
    cr_assert_eq(rig.rows[6].delivered, 0);
    rig_ack_all();
    ALIVE_WAIT(rig.rows[8].delivered == 1);
    rig_ack_all();
    ALIVE_WAIT(rig.position.table_id == RIG_NEXT);
    rig_assert_published_once(1, 8);
    cr_assert_null(strstr(rig.trace.data, "peek"), "nothing has to be proven");
}

Test(wal_rotation, a_table_that_was_published_later_is_compared_with_the_log)
{
    swap_while_down();
    rig.swap_unborn = true;
    rig_begin();
    ALIVE_WAIT(rig.rows[5].delivered == 1);
    cr_assert_not_null(strstr(rig.trace.data, "peek"));
    rig_ack_all();
    ALIVE_WAIT(rig.rows[8].delivered == 1);
    rig_ack_all();
    ALIVE_WAIT(rig.position.table_id == RIG_NEXT);
    rig_assert_published_once(1, 8);
}

Test(wal_rotation, an_old_table_that_is_gone_is_published_and_left)
{
    swap_while_down();
    rig.swap_dropped = true;
    rig_begin();
    ALIVE_WAIT(rig.rows[8].delivered == 1 || rig.pipe.batch_count > 0);
    for (int i = 0; i < 5; i++) {
        rig_ack_all();
        rig_turn();
    }
    ALIVE_WAIT(rig.position.table_id == RIG_NEXT);
    for (int seq = 3; seq <= 8; seq++) {
        cr_assert_eq(rig.rows[seq].delivered, 1, "row %d", seq);
    }
}

Test(wal_rotation, without_rights_on_the_old_table_nothing_is_read)
{
    swap_while_down();
    rig.swap_denied = true;
    rig_begin();
    RIG_WAIT(rig.pipe.lost == 1);
    cr_assert_eq(rig.pipe.error.code, CODE_OLD_TABLE_DENIED);
    cr_assert_not_null(strstr(error_own_hint(&rig.pipe.error), "GRANT UPDATE"));
    cr_assert_eq(rig.rows[3].delivered, 0);
}

Test(wal_rotation, a_row_of_the_old_table_that_the_log_does_not_have_is_a_gap)
{
    swap_while_down();
    rig.rows[1].marked = false;
    rig_begin();
    while (rig.pipe.lost == 0) {
        (void)keep_alive();
        rig_ack_all();
        rig_turn();
    }
    cr_assert_eq(rig.pipe.error.code, CODE_OLD_TABLE_UNFINISHED);
    cr_assert_eq(rig.pipe.error.exit_code, EXIT_GAP);
    cr_assert_not_null(strstr(error_message(&rig.pipe.error), "1 rows of outbox.event_2025"), "%s",
                       error_message(&rig.pipe.error));
}

/* Kept rows of the old table and of the new one, none of which was read; the old one is done. */
Test(wal_rotation, a_stop_does_not_wait_for_the_next_table)
{
    rig.pipe.pipeline.outbox.on_publish = ON_PUBLISH_KEEP;
    rig.has_slot = true;
    rig.confirmed = 0x10000;
    rig.position =
        (RigPosition){.lsn = 0x10000, .end = SLOT_NO_END, .backfill = true, .table_id = RIG_OUTBOX};
    snprintf(rig.position.publication, sizeof(rig.position.publication), "publication 1");
    rig.rows[1].visible = rig.rows[2].visible = true;
    rig_swap(2);
    rig_begin();
    RIG_WAIT(rig.rows[1].delivered == 1);
    rig.hang_notes = true;
    rig_ack_all();
    RIG_WAIT(strstr(text_string(&rig.trace), "table") != NULL);
    rig.pipe.source->ops->drain(rig.pipe.source);
    rig_turn();
    cr_assert_eq(rig.pipe.drained, 0, "what is done is written down first");
    rig.hang_notes = false;
    stub_continue();
    RIG_WAIT(rig.pipe.drained == 1);
    cr_assert_eq(rig.position.table_id, RIG_NEXT);
    cr_assert_eq(rig.rows[2].delivered, 0);
}

/* Batches come back settled, in part or not at all; connections break; at the end each row is
 * published, marked in its table, and the first of the new table was not delivered before the last
 * of the old one was marked. */
static void swap_at_random(uint64_t seed)
{
    Random random = random_new(seed);
    rig.pipe.pipeline.claim.lease_ms = 200;
    rig.pipe.pipeline.limits.batch_events = 2 + (int64_t)random_below(&random, 4);
    begin_streaming();
    int64_t committed = 0;
    int64_t from = 20 + (int64_t)random_below(&random, 20);
    int64_t until_us = clock_monotonic_us() + 20000000;
    while (committed < 60 || rig.position.table_id != RIG_NEXT) {
        cr_assert_lt(clock_monotonic_us(), until_us, "seed %llu: it does not end (%s)",
                     (unsigned long long)seed, error_message(&rig.pipe.error));
        int64_t many = 1 + (int64_t)random_below(&random, 5);
        if (committed + 1 == from && rig.swap_from == 0) {
            rig_swap(from);
        }
        int64_t most = rig.swap_from == 0 ? from - 1 : 60;
        if (committed < most && random_below(&random, 2) == 0) {
            int64_t last = committed + many < most ? committed + many : most;
            rig_commit(committed + 1, last);
            committed = last;
        }
        if (rig.pipe.batch_count > 0 && random_below(&random, 3) != 0) {
            rig_ack(-1);
        }
        if (rig.walsender != 0 && committed < 60 && random_below(&random, 25) == 0) {
            stub_break_idle(rig.walsender);
        }
        (void)keep_alive();
        rig_turn();
        if (rig.rows[from].delivered > 0) {
            for (int64_t seq = 1; seq < from; seq++) {
                cr_assert(rig.rows[seq].marked, "seed %llu: row %d", (unsigned long long)seed,
                          (int)seq);
            }
        }
        if (rig.pipe.lost > 0) {
            rig.pipe.lost = 0;
            rig.walsender = 0;
            rig_restart();
        }
    }
    RIG_WAIT(rig.walsender != 0);
}

Test(wal_rotation, simulation_of_swaps, .timeout = 120)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        swap_at_random(seed);
        if (seed < 20) {
            rig_end();
            rig_prepare();
        }
    }
}
