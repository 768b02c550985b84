/* What looks tell, what a NOTIFY does, what must hold. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "flow/event.h"
#include "stub/given.h"
#include "watch_rig.h"

/* What a look tells. */

Test(watch, a_look_tells_all_and_metrics_show_it)
{
    at.paused = true;
    at.safe = "500000";
    at.oldest_seq = "17";
    rig_start();
    rig_wait_looks(1);
    cr_assert_str_eq(stub_connect_value("fallback_application_name"), "shop/watch");
    cr_assert(watch_server(at.watch)->up);
    cr_assert_str_eq(watch_server(at.watch)->address, "db:5432/shop");
    cr_assert_str_eq(watch_server(at.watch)->version, "15.20");
    const WatchFacts *orders = watch_facts(at.watch, 0);
    cr_assert(orders->paused);
    cr_assert_eq(orders->paused_since_us, 1000000);
    cr_assert_str_eq(orders->paused_by, "root@db");
    cr_assert_str_eq(orders->pause_reason, "moving");
    WatchOldest row;
    cr_assert(rig_oldest(&row));
    cr_assert_eq(row.seq, 17);
    cr_assert_str_eq(row.aggregate_id, "k-7");
    cr_assert_eq(orders->dead_letters, 3);
    cr_assert_not(orders->slot.present);
    const WatchFacts *audit = watch_facts(at.watch, 1);
    cr_assert_not(audit->paused);
    cr_assert_str_eq(audit->slot.status, "extended");
    rig_assert_exposed("outboxd_watch_up 1\n", true);
    rig_assert_exposed("outboxd_paused{pipeline=\"orders\"} 1\n", true);
    rig_assert_exposed("outboxd_paused{pipeline=\"audit\"} 0\n", true);
    rig_assert_exposed("outboxd_dead_letters{pipeline=\"orders\"} 3\n", true);
    rig_assert_exposed("outboxd_slot_retained_wal_bytes{pipeline=\"audit\",slot=\"outboxd_audit\"} "
                       "1000\n",
                       true);
    rig_assert_exposed(
        "outboxd_slot_confirmed_lag_bytes{pipeline=\"audit\",slot=\"outboxd_audit\"} "
        "77\n",
        true);
    rig_assert_exposed("outboxd_slot_safe_wal_bytes{pipeline=\"audit\",slot=\"outboxd_audit\"} "
                       "500000\n",
                       true);
    rig_assert_exposed(
        "outboxd_slot_spill_bytes_total{pipeline=\"audit\",slot=\"outboxd_audit\"} 12\n", true);
    rig_assert_exposed("slot=\"outboxd_audit\",status=\"extended\"} 1\n", true);
    rig_assert_exposed("slot=\"outboxd_audit\",status=\"reserved\"} 0\n", true);
    rig_assert_exposed("outboxd_watch_duration_seconds_count 1\n", at.servers == 1);
    rig_assert_exposed("slot_active{pipeline=\"orders\"", false);
}

Test(watch, pauses_are_known_before_anything_else_is_asked)
{
    rig_start();
    WAIT(at.known > 0);
    cr_assert_not(at.server_asked_first);
    cr_assert(watch_knows_pauses(at.watch));
    cr_assert_eq(at.failed, 0);
}

Test(watch, without_its_tables_nothing_is_paused_or_counted)
{
    at.pause_table = at.dead_letter = STUB_NULL;
    rig_start();
    rig_wait_looks(1);
    cr_assert_eq(at.pauses, 0);
    cr_assert_eq(at.deads, 0);
    cr_assert(watch_knows_pauses(at.watch));
    cr_assert(isnan(watch_facts(at.watch, 0)->dead_letters));
    cr_assert(watch_server(at.watch)->up);
    rig_assert_exposed("outboxd_dead_letters{", false);
    rig_assert_exposed("outboxd_slot_safe_wal_bytes{", false); /* no max_slot_wal_keep_size */
}

Test(watch, rows_that_are_kept_tell_nothing)
{
    at.pipelines[0].outbox.on_publish = at.pipelines[1].outbox.on_publish = ON_PUBLISH_KEEP;
    rig_start();
    rig_wait_looks(1);
    cr_assert_eq(at.oldests, 0);
}

Test(watch, an_adopted_table_is_asked_by_its_own_names)
{
    at.pipelines[0].outbox.columns[FIELD_SEQ] = GIVEN("Nr");
    at.pipelines[0].outbox.columns[FIELD_AGGREGATE_ID] = GIVEN("");
    at.pipelines[0].outbox.columns[FIELD_OCCURRED_AT] = GIVEN("");
    at.pipelines[1].outbox.on_publish = ON_PUBLISH_KEEP;
    rig_start();
    rig_wait_looks(1);
    cr_assert_not_null(strstr(text_string(&at.oldest_sql),
                              "\"Nr\"::bigint AS seq, \"event_id\"::text AS id, "
                              "NULL::timestamptz AS at"),
                       "%s", text_string(&at.oldest_sql));
    cr_assert_not_null(strstr(text_string(&at.oldest_sql), "left(NULL::text, 100) AS key"));
    cr_assert_not_null(strstr(text_string(&at.oldest_sql), "ORDER BY o.\"Nr\" LIMIT 100)"));
}

Test(watch, slot_statistics_are_asked_only_where_they_are)
{
    rig_start();
    rig_wait_looks(1);
    cr_assert_not_null(strstr(text_string(&at.server_sql), "pg_stat_replication_slots"));
    watch_free(&at.watch);
    stub_set_version(130015);
    rig_start();
    rig_wait_looks(1);
    cr_assert_null(strstr(text_string(&at.server_sql), "pg_stat_replication_slots"));
}

/* The oldest transaction. */

Test(watch, a_role_that_sees_all_is_told_the_age)
{
    at.age = "12.5";
    rig_start();
    rig_wait_looks(1);
    cr_assert(watch_server(at.watch)->oldest_transaction_exact);
    cr_assert_eq(watch_server(at.watch)->oldest_transaction_seconds, 12.5);
    rig_assert_exposed("outboxd_oldest_transaction_age_seconds{pipeline=\"orders\"} 12.5\n", true);
}

Test(watch, other_roles_see_since_when_the_oldest_xid_is_the_same)
{
    at.sees_all = "f";
    rig_start();
    rig_wait_looks(2);
    cr_assert_eq(watch_server(at.watch)->oldest_transaction_seconds, 0, "nobody writes");
    at.oldest_xid = "700";
    rig_wait_looks(2);
    double age = watch_server(at.watch)->oldest_transaction_seconds;
    cr_assert_gt(age, 0);
    cr_assert_not(watch_server(at.watch)->oldest_transaction_exact);
    WAIT(watch_server(at.watch)->oldest_transaction_seconds > age + 0.05);
    at.oldest_xid = "800"; /* that one has ended, another runs */
    WAIT(watch_server(at.watch)->oldest_transaction_seconds < 0.04);
}

/* Slots. */

Test(watch, growth_is_that_of_the_last_minute)
{
    const int64_t second = 1000000;
    Growth growth = {0};
    cr_assert(isnan(growth_note(&growth, 5 * second, 1000)), "one sample is no rate");
    cr_assert_float_eq(growth_note(&growth, 15 * second, 3000), 200, 1e-9);
    for (int64_t at_s = 16; at_s <= 200; at_s++) {
        (void)growth_note(&growth, at_s * second, 3000 + (double)(at_s - 15) * 10);
    }
    cr_assert_float_eq(growth_note(&growth, 201 * second, 3000 + 186 * 10), 10, 1e-9,
                       "what was before is forgotten");
    cr_assert_lt(growth_note(&growth, 202 * second, 100), 0, "the slot moved");
    cr_assert(isnan(growth_note(&growth, 203 * second, NAN)), "the slot is gone");
    cr_assert(isnan(growth_note(&growth, 204 * second, 100)), "and what it was forgotten");
    cr_assert_float_eq(growth_note(&growth, 504 * second, 400), 1, 1e-9, "looks far apart");
}

Test(watch, a_slot_that_holds_more_and_more_has_seconds_left)
{
    at.safe = "1000000";
    rig_start();
    rig_wait_looks(1);
    cr_assert(isnan(watch_facts(at.watch, 1)->slot.seconds_left), "nothing grows");
    at.watch->pipelines[1].growth->samples[0].at_us -= 10000000; /* ten seconds ago, 1000 bytes */
    at.retained = "101000";
    rig_wait_looks(1);
    cr_assert_float_eq(watch_facts(at.watch, 1)->slot.seconds_left, 100, 10);
    at.safe = "-5";
    rig_wait_looks(1);
    cr_assert_eq(watch_facts(at.watch, 1)->slot.seconds_left, 0);
}

/* NOTIFY. */

Test(watch, a_notification_is_followed_at_once_by_a_look_at_pauses_and_rows)
{
    at.config.monitor.interval_ms = 3600000;
    rig_start();
    rig_wait_looks(1);
    WAIT(clock_monotonic_us() > rows_next_us(at.watch->pipelines[0].rows) &&
         clock_monotonic_us() > rows_next_us(at.watch->pipelines[1].rows));
    size_t oldests = at.oldests;
    at.paused = true;
    stub_notify(1, "outboxd_pause");
    WAIT(watch_facts(at.watch, 0)->paused && !at.watch->looking);
    cr_assert_eq(at.servers, 1);
    cr_assert_eq(at.oldests, oldests + 2);
    cr_assert(event_pending(at.watch->timer, EV_TIMEOUT, NULL), "the whole look comes in its time");
}

Test(watch, a_notification_during_a_look_is_not_missed)
{
    at.config.monitor.interval_ms = 3600000;
    at.hanging = "backend_xid IS NOT NULL";
    rig_start();
    WAIT(at.known == 1 && at.servers == 1);
    at.paused = true;
    at.hanging = NULL;
    stub_notify(1, "outboxd_pause");
    WAIT(at.watch->turn->notified);
    stub_continue();
    WAIT(watch_facts(at.watch, 0)->paused && !at.watch->looking);
    cr_assert(watch_server(at.watch)->up);
}

/* What must hold. */

Test(watch, preconditions_are_read_in_one_round_trip_and_prepared_once)
{
    rig_start();
    rig_wait_looks(3);
    cr_assert_geq(at.preconditions, 3);
    cr_assert_eq(at.prepares, 1);
    cr_assert_geq(at.verdicts, 3);
    cr_assert_str_eq(at.fault, "");
    cr_assert_eq(at.wal_end, 0x7000);
    cr_assert_str_eq(at.identity, "publication 7:8 table 4343");
    rig_assert_exposed("outboxd_precondition_broken{", false);
}

Test(watch, a_broken_precondition_is_told_and_counted_until_it_is_mended)
{
    rig_start();
    rig_wait_looks(1);
    at.may_mark = false;
    WAIT(strcmp(at.fault, "RIGHT_UPDATE") == 0);
    rig_assert_exposed("outboxd_precondition_broken{code=\"RIGHT_UPDATE\",pipeline=\"orders\"} 1\n",
                       true);
    at.may_mark = true;
    WAIT(at.fault[0] == '\0');
    rig_assert_exposed("outboxd_precondition_broken{code=\"RIGHT_UPDATE\",pipeline=\"orders\"} 0\n",
                       true);
}

Test(watch, a_warning_is_no_broken_precondition)
{
    at.drawn_elsewhere = true;
    rig_start();
    WAIT(at.faults == 1);
    cr_assert_str_eq(at.fault, "");
    rig_assert_exposed("outboxd_precondition_broken{", false);
}

Test(watch, preconditions_are_looked_at_although_the_names_cannot_be_read)
{
    at.broken = "AS i(i, name)"; /* the question for names */
    at.may_mark = false;
    rig_start();
    WAIT(strcmp(at.fault, "RIGHT_UPDATE") == 0);
    cr_assert_eq(at.servers, 0);
}

Test(watch, what_a_standby_shows_is_no_verdict)
{
    at.recovery = true;
    at.may_mark = false;
    rig_start();
    rig_wait_looks(2);
    cr_assert_eq(at.verdicts, 0);
}

Test(watch, statements_that_failed_are_prepared_again)
{
    rig_start();
    rig_wait_looks(1);
    at.broken = "EXECUTE outboxd_look_";
    size_t before = at.preconditions;
    WAIT(!watch_server(at.watch)->up);
    cr_assert_eq(at.preconditions, before);
    at.broken = NULL;
    WAIT(at.prepares == 2 && watch_server(at.watch)->up);
}

Test(watch, a_hint_during_a_look_makes_another_at_once)
{
    at.config.monitor.interval_ms = 600000;
    rig_start();
    rig_wait_looks(1);
    size_t seen = at.preconditions;
    at.hanging = "backend_xid IS NOT NULL"; /* behind the preconditions */
    watch_hurry(at.watch);
    WAIT(at.preconditions == seen + 1);
    watch_hurry(at.watch);
    at.hanging = NULL;
    stub_continue();
    WAIT(at.preconditions == seen + 2);
}
