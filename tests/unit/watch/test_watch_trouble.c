/* Looks that fail, are slow, or are broken off. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "flow/event.h"
#include "stub/given.h"
#include "watch_rig.h"

/* Failures. */

Test(watch, a_server_that_refuses_is_tried_again_and_says_that_nothing_is_known)
{
    stub_refuse_poll("connection refused\n");
    rig_start();
    WAIT(at.failed >= 2);
    cr_assert_not(watch_server(at.watch)->up);
    cr_assert_not(watch_knows_pauses(at.watch));
    rig_assert_exposed("outboxd_watch_up 0\n", true);
    stub_refuse_poll(NULL);
    watch_hurry(at.watch);
    WAIT(watch_server(at.watch)->up);
    cr_assert_eq(at.known > 0, true);
}

Test(watch, a_query_that_fails_leaves_only_its_own_facts_unknown)
{
    at.broken = "ORDER BY id DESC";
    at.oldest_seq = "17";
    rig_start();
    rig_wait_looks(2);
    cr_assert_not(watch_server(at.watch)->up);
    cr_assert(isnan(watch_facts(at.watch, 0)->dead_letters));
    cr_assert(rig_has_oldest());
    cr_assert(watch_facts(at.watch, 1)->slot.present);
    cr_assert_eq(at.sessions, 1, "the connection is kept");
    at.broken = NULL;
    WAIT(watch_server(at.watch)->up);
    cr_assert_eq(watch_facts(at.watch, 0)->dead_letters, 3);
}

Test(watch, a_row_whose_type_or_key_cannot_be_printed_hides_no_rows)
{
    at.broken = "left(\"event_type\"::text";
    at.state = "22P03";
    at.oldest_seq = "17";
    rig_start();
    WAIT(rig_has_oldest());
    cr_assert_not_null(strstr(text_string(&at.oldest_sql), "left(NULL::text, 100) AS type"));
    cr_assert(watch_server(at.watch)->up);
    at.broken = NULL;
    at.oldest_seq = NULL;
    WAIT(!rig_has_oldest());
    WAIT(strstr(text_string(&at.oldest_sql), "left(\"event_type\"::text") != NULL);
    at.broken = "AS part"; /* nor the name */
    WAIT(!watch_server(at.watch)->up);
}

Test(watch, pauses_that_cannot_be_read_count_as_none_until_they_can)
{
    at.broken = "paused_by";
    at.paused = true;
    rig_start();
    WAIT(at.failed > 0);
    cr_assert_not(watch_facts(at.watch, 0)->paused);
    at.broken = NULL;
    WAIT(at.known > 0);
    cr_assert(watch_facts(at.watch, 0)->paused);
}

Test(watch, a_pause_outlasts_a_broken_connection_and_slots_do_not)
{
    at.paused = true;
    at.oldest_seq = "17";
    rig_start();
    rig_wait_looks(1);
    stub_refuse_poll("connection refused\n");
    stub_break_idle(1);
    WAIT(!watch_server(at.watch)->up);
    cr_assert(watch_facts(at.watch, 0)->paused);
    cr_assert(rig_has_oldest(), "it is still unpublished");
    cr_assert_not(watch_facts(at.watch, 1)->slot.present);
    cr_assert_eq(at.failed, 0, "they are known");
    rig_assert_exposed("outboxd_slot_active{", false);
    stub_refuse_poll(NULL);
    WAIT(watch_server(at.watch)->up);
}

Test(watch, a_slow_query_is_asked_less_often)
{
    at.hanging = "ORDER BY id DESC";
    rig_start();
    WAIT(at.deads == 1);
    int64_t asked_us = clock_monotonic_us();
    WAIT(clock_monotonic_us() - asked_us > 20000);
    at.hanging = NULL;
    stub_continue();
    size_t looks = at.servers + 5;
    WAIT(at.servers >= looks);
    cr_assert_gt(at.watch->pipelines[0].dead_next_us, clock_monotonic_us());
    cr_assert_eq(watch_facts(at.watch, 0)->dead_letters, 3, "it is still known");
}

Test(watch, every_call_may_fail_and_it_comes_back)
{
    for (size_t n = 1; n < 60; n++) {
        for (int hard = 0; hard < 2; hard++) {
            stub_reset(rig_serve, NULL);
            at.known = at.failed = 0;
            stub_fail_at(n, hard);
            rig_start();
            PASS(stub_failures() == 1);
            PASS(watch_server(at.watch)->up && at.known > 0);
            watch_free(&at.watch);
            cr_assert_eq(stub_open_connections(), 0);
        }
    }
}

Test(watch, stopped_it_asks_nothing_more_and_keeps_what_it_knows)
{
    at.paused = true;
    rig_start();
    rig_wait_looks(1);
    watch_stop(at.watch);
    watch_hurry(at.watch);
    size_t names = at.names;
    int64_t until_us = clock_monotonic_us() + 20000;
    WAIT(clock_monotonic_us() > until_us);
    cr_assert_eq(at.names, names);
    cr_assert_eq(stub_open_connections(), 0);
    cr_assert(watch_facts(at.watch, 0)->paused);
}

Test(watch, a_table_name_that_cannot_be_is_refused)
{
    at.pipelines[0].outbox.table = GIVEN("a.b.c.d");
    AUTO_ERROR err = {0};
    WatchOptions all = rig_options();
    cr_assert_eq(watch_new(&all, &at.watch, &err), FAILED);
    cr_assert_eq(err.exit_code, EXIT_CONFIG);
}
