#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/document.h"
#include "base/memory.h"
#include "metrics/objective.h"

/* An objective of 5 s at 99.9 %, and a clock of the test's own. */
typedef struct Rig {
    Metrics *metrics;
    Objective *objective;
    int64_t now_us;
} Rig;

static Rig rig_new(void)
{
    Rig rig = {.metrics = metrics_new(), .now_us = INT64_C(1234567) * 1000000};
    rig.objective = objective_new(rig.metrics, "orders", 5000, 0.999);
    return rig;
}

static void rig_free(Rig *rig)
{
    objective_free(&rig->objective);
    cr_assert_null(rig->objective);
    metrics_free(&rig->metrics);
}

/* `seconds` ticks with this lag. */
static void rig_run(Rig *rig, int64_t seconds, double lag_seconds)
{
    for (int64_t i = 0; i < seconds; i++) {
        rig->now_us += 1000000;
        objective_observe(rig->objective, rig->now_us, lag_seconds);
    }
}

static double rig_burn(Rig *rig, ObjectiveWindow window)
{
    return objective_burn_rate(rig->objective, rig->now_us, window);
}

static void assert_near(double value, double expected)
{
    cr_assert(fabs(value - expected) < 1e-6, "%.9g, expected %.9g", value, expected);
}

static void assert_exposed(Rig *rig, const char *line)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    objective_collect(rig->objective, rig->now_us);
    metrics_expose(rig->metrics, &out);
    AUTO_BUFFER whole = TEXT_EMPTY;
    text_printf(&whole, "\n%s\n", line);
    cr_assert_not_null(strstr(text_string(&out), text_string(&whole)), "no \"%s\" in\n%s", line,
                       text_string(&out));
}

Test(objective, every_series_is_there_from_the_start)
{
    Rig rig = rig_new();
    assert_exposed(&rig, "outboxd_lag_objective_seconds 5");
    assert_exposed(&rig, "outboxd_lag_target_ratio 0.999");
    assert_exposed(&rig, "outboxd_lag_late_seconds_total{pipeline=\"orders\"} 0");
    assert_exposed(&rig, "outboxd_lag_observed_seconds_total{pipeline=\"orders\"} 0");
    assert_exposed(&rig, "outboxd_lag_burn_rate{pipeline=\"orders\",window=\"5m\"} 0");
    assert_exposed(&rig, "outboxd_lag_burn_rate{pipeline=\"orders\",window=\"3d\"} 0");
    assert_exposed(&rig, "outboxd_lag_budget_remaining_ratio{pipeline=\"orders\"} 1");
    rig_free(&rig);
}

Test(objective, rings_begin_anywhere_on_the_monotonic_clock)
{
    static const int64_t STARTS_US[] = {0, 999999, INT64_C(3600000000), INT64_C(1) << 55};
    for (size_t i = 0; i < sizeof(STARTS_US) / sizeof(STARTS_US[0]); i++) {
        Rig rig = rig_new();
        rig.now_us = STARTS_US[i];
        cr_assert_eq(rig_burn(&rig, OBJECTIVE_3D), 0);
        rig_run(&rig, 30, 60);
        assert_near(rig_burn(&rig, OBJECTIVE_5M), 100);
        assert_near(rig_burn(&rig, OBJECTIVE_3D), 30 / 259.2);
        rig_free(&rig);
    }
}

Test(objective, second_is_late_only_above_the_objective)
{
    Rig rig = rig_new();
    rig_run(&rig, 7, 5.0);
    rig_run(&rig, 3, 5.001);
    assert_exposed(&rig, "outboxd_lag_late_seconds_total{pipeline=\"orders\"} 3");
    assert_exposed(&rig, "outboxd_lag_observed_seconds_total{pipeline=\"orders\"} 10");
    rig_free(&rig);
}

Test(objective, unknown_lag_is_not_observed)
{
    Rig rig = rig_new();
    rig_run(&rig, 100, NAN);
    assert_exposed(&rig, "outboxd_lag_observed_seconds_total{pipeline=\"orders\"} 0");
    rig_run(&rig, 1, 0);
    assert_exposed(&rig, "outboxd_lag_observed_seconds_total{pipeline=\"orders\"} 1");
    rig_free(&rig);
}

Test(objective, one_second_is_noted_once)
{
    Rig rig = rig_new();
    rig_run(&rig, 1, 9);
    objective_observe(rig.objective, rig.now_us + 1000, 9);
    objective_observe(rig.objective, rig.now_us - 5000000, 9);
    assert_exposed(&rig, "outboxd_lag_late_seconds_total{pipeline=\"orders\"} 1");
    rig_free(&rig);
}

Test(objective, burn_rate_is_the_share_of_late_seconds_over_the_share_allowed)
{
    Rig rig = rig_new();
    rig_run(&rig, 36, 60);
    assert_near(rig_burn(&rig, OBJECTIVE_5M), 36 / 300.0 / 0.001);
    assert_near(rig_burn(&rig, OBJECTIVE_30M), 36 / 1800.0 / 0.001);
    assert_near(rig_burn(&rig, OBJECTIVE_1H), 10);
    assert_near(rig_burn(&rig, OBJECTIVE_6H), 10 / 6.0);
    assert_near(rig_burn(&rig, OBJECTIVE_3D), 10 / 72.0);
    AUTO_BUFFER out = TEXT_EMPTY;
    objective_collect(rig.objective, rig.now_us);
    metrics_expose(rig.metrics, &out);
    static const char SERIES[] = "outboxd_lag_burn_rate{pipeline=\"orders\",window=\"1h\"} ";
    const char *line = strstr(text_string(&out), SERIES);
    cr_assert_not_null(line);
    assert_near(strtod(line + sizeof(SERIES) - 1, NULL), 10);
    rig_free(&rig);
}

Test(objective, late_seconds_leave_each_window_in_time_and_the_counters_keep_them)
{
    Rig rig = rig_new();
    rig_run(&rig, 10, 60);
    static const struct {
        ObjectiveWindow window;
        int64_t seconds;
        int64_t bucket_s;
    } WINDOWS[] = {{OBJECTIVE_5M, 300, 10},
                   {OBJECTIVE_30M, 1800, 10},
                   {OBJECTIVE_1H, 3600, 10},
                   {OBJECTIVE_6H, 21600, 300},
                   {OBJECTIVE_3D, 259200, 300}};
    int64_t gone = 0;
    for (size_t i = 0; i < sizeof(WINDOWS) / sizeof(WINDOWS[0]); i++) {
        int64_t before = WINDOWS[i].seconds - WINDOWS[i].bucket_s - 10;
        rig_run(&rig, before - gone, 0);
        cr_assert_gt(rig_burn(&rig, WINDOWS[i].window), 0, "window %zu is too short", i);
        rig_run(&rig, WINDOWS[i].bucket_s + 20, 0);
        gone = before + WINDOWS[i].bucket_s + 20;
        cr_assert_eq(rig_burn(&rig, WINDOWS[i].window), 0, "window %zu is too long", i);
    }
    assert_exposed(&rig, "outboxd_lag_late_seconds_total{pipeline=\"orders\"} 10");
    rig_free(&rig);
}

Test(objective, windows_empty_themselves_when_nothing_is_observed)
{
    Rig rig = rig_new();
    rig_run(&rig, 10, 60);
    rig.now_us += INT64_C(3601) * 1000000;
    assert_near(rig_burn(&rig, OBJECTIVE_1H), 0);
    cr_assert_gt(rig_burn(&rig, OBJECTIVE_6H), 0);
    rig.now_us += INT64_C(40) * 86400 * 1000000;
    assert_near(rig_burn(&rig, OBJECTIVE_3D), 0);
    assert_near(objective_budget_remaining(rig.objective, rig.now_us), 1);
    rig_free(&rig);
}

Test(objective, budget_of_thirty_days_is_spent_by_2592_late_seconds_and_comes_back_after_them)
{
    Rig rig = rig_new();
    rig_run(&rig, 1296, 60);
    assert_near(objective_budget_remaining(rig.objective, rig.now_us), 0.5);
    rig_run(&rig, 1296, 60);
    assert_near(objective_budget_remaining(rig.objective, rig.now_us), 0);
    rig_run(&rig, 2592, 60);
    assert_near(objective_budget_remaining(rig.objective, rig.now_us), -1);
    rig.now_us += INT64_C(29) * 86400 * 1000000;
    assert_near(objective_budget_remaining(rig.objective, rig.now_us), -1);
    rig.now_us += INT64_C(1) * 86400 * 1000000;
    assert_near(objective_budget_remaining(rig.objective, rig.now_us), 1);
    rig_free(&rig);
}

/* A loop that was stopped for a minute: an event of 23 s was late for the last 18 of them. */
Test(objective, seconds_of_a_pause_count_as_late_as_far_as_the_lag_reaches_back)
{
    Rig rig = rig_new();
    rig_run(&rig, 1, 0);
    rig.now_us += INT64_C(60) * 1000000;
    objective_observe(rig.objective, rig.now_us, 23);
    assert_exposed(&rig, "outboxd_lag_late_seconds_total{pipeline=\"orders\"} 18");
    rig.now_us += INT64_C(60) * 1000000;
    objective_observe(rig.objective, rig.now_us, 100000);
    assert_exposed(&rig, "outboxd_lag_late_seconds_total{pipeline=\"orders\"} 78");
    rig.now_us += INT64_C(86400) * 1000000;
    objective_observe(rig.objective, rig.now_us, 1e12);
    assert_exposed(&rig, "outboxd_lag_late_seconds_total{pipeline=\"orders\"} 3678");
    rig.now_us += INT64_C(60) * 1000000;
    objective_observe(rig.objective, rig.now_us, 1);
    assert_exposed(&rig, "outboxd_lag_observed_seconds_total{pipeline=\"orders\"} 3680");
    rig_free(&rig);
}

Test(objective, timer_that_skips_a_second_now_and_then_loses_none)
{
    Rig rig = rig_new();
    rig_run(&rig, 1, 0);
    rig.now_us += INT64_C(2) * 1000000;
    objective_observe(rig.objective, rig.now_us, 0);
    assert_exposed(&rig, "outboxd_lag_observed_seconds_total{pipeline=\"orders\"} 3");
    rig_free(&rig);
}

Test(objective, json_has_all_numbers)
{
    Rig rig = rig_new();
    rig_run(&rig, 36, 60);
    rig_run(&rig, 4, 0);
    AUTO_BUFFER json = TEXT_EMPTY;
    AUTO(json_t, document_free) status = json_object();
    objective_status(rig.objective, rig.now_us, status);
    document_write(status, &json);
    cr_assert_str_eq(text_string(&json),
                     "{\"seconds\":5,\"target\":0.999,\"late_seconds\":36,\"observed_seconds\":40,"
                     "\"budget_remaining\":0.986111,\"burn_rate\":{\"5m\":120,\"30m\":20,\"1h\":10,"
                     "\"6h\":1.66667,\"3d\":0.138889}}");
    rig_free(&rig);
}
