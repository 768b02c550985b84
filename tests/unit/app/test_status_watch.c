#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "app/status_watch.h"

/* One look at one pipeline, or at none (name NULL). */
static void note(Watch *watch, const char *name, double lag, double rate)
{
    json_t *status = name != NULL ? json_pack("{s:[{s:s,s:f,s:f}]}", "pipelines", "name", name,
                                              "lag_seconds", lag, "events_per_second", rate)
                                  : NULL;
    watch_note(watch, status);
    json_decref(status);
}

static void assert_lag_line(const Watch *watch, size_t index, const char *expected)
{
    AUTO_BUFFER line = TEXT_EMPTY;
    watch_add_sparkline(&watch->pipelines[index].lag, &line);
    cr_assert_str_eq(text_string(&line), expected);
}

Test(status_watch, bars_are_shares_of_the_greatest_value)
{
    Watch watch = {0};
    for (int i = 0; i <= 7; i++) {
        note(&watch, "orders", i, 0);
    }
    assert_lag_line(&watch, 0, "▁▂▃▄▅▆▇█");
    note(&watch, "orders", 70, 0);
    assert_lag_line(&watch, 0, "▁▁▁▁▁▂▂▂█");
    watch_free(&watch);
}

Test(status_watch, nothing_but_zero_is_a_flat_line)
{
    Watch watch = {0};
    note(&watch, "orders", 0, 0);
    note(&watch, "orders", 0, 0);
    assert_lag_line(&watch, 0, "▁▁");
    watch_free(&watch);
}

Test(status_watch, what_is_not_known_is_a_gap)
{
    Watch watch = {0};
    note(&watch, "orders", 1, 1);
    note(&watch, NULL, 0, 0);
    json_t *unknown = json_pack("{s:[{s:s,s:n}]}", "pipelines", "name", "orders", "lag_seconds");
    watch_note(&watch, unknown);
    json_decref(unknown);
    note(&watch, "orders", 1, 1);
    assert_lag_line(&watch, 0, "█  █");
    watch_free(&watch);
}

Test(status_watch, only_the_last_looks_are_kept)
{
    Watch watch = {0};
    note(&watch, "orders", 1000, 0);
    for (int i = 0; i < WATCH_LOOKS; i++) {
        note(&watch, "orders", 1, 0);
    }
    cr_assert_eq(watch.pipelines[0].lag.count, WATCH_LOOKS);
    AUTO_BUFFER line = TEXT_EMPTY;
    watch_add_sparkline(&watch.pipelines[0].lag, &line);
    cr_assert_null(strstr(text_string(&line), "▁"), "%s", text_string(&line));
    watch_free(&watch);
}

Test(status_watch, each_pipeline_has_its_lines_and_its_most)
{
    Watch watch = {0};
    note(&watch, "orders", 0.25, 812.4);
    note(&watch, "audit", 840, 0);
    AUTO_BUFFER out = TEXT_EMPTY;
    watch_add_screen(&watch, false, &out);
    const char *text = text_string(&out);
    const char *orders = strstr(text, "\norders\n");
    const char *audit = strstr(text, "\naudit\n");
    cr_assert(orders != NULL && audit != NULL && orders < audit, "%s", text);
    cr_assert_not_null(strstr(orders, "most 250 ms\n"), "%s", text);
    cr_assert_not_null(strstr(orders, "most 812\n"), "%s", text);
    cr_assert_not_null(strstr(audit, "most 14 min\n"), "%s", text);
    assert_lag_line(&watch, 0, "█ ");
    assert_lag_line(&watch, 1, "█");
    watch_free(&watch);
}
