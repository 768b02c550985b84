#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "status/status_live.h"

/* One look at one pipeline, or at none (name NULL). */
static void note(Live *live, const char *name, double lag, double rate)
{
    json_t *status = name != NULL ? json_pack("{s:[{s:s,s:f,s:f}]}", "pipelines", "name", name,
                                              "lag_seconds", lag, "events_per_second", rate)
                                  : NULL;
    live_note(live, status);
    json_decref(status);
}

static void assert_lag_line(const Live *live, size_t index, const char *expected)
{
    AUTO_BUFFER line = TEXT_EMPTY;
    live_add_sparkline(&live->pipelines[index].lag, LIVE_LOOKS, &line);
    cr_assert_str_eq(text_string(&line), expected);
}

Test(status_live, bars_are_shares_of_the_greatest_value)
{
    Live live = {0};
    for (int i = 0; i <= 7; i++) {
        note(&live, "orders", i, 0);
    }
    assert_lag_line(&live, 0, "▁▂▃▄▅▆▇█");
    note(&live, "orders", 70, 0);
    assert_lag_line(&live, 0, "▁▁▁▁▁▂▂▂█");
    live_free(&live);
}

Test(status_live, nothing_but_zero_is_a_flat_line)
{
    Live live = {0};
    note(&live, "orders", 0, 0);
    note(&live, "orders", 0, 0);
    assert_lag_line(&live, 0, "▁▁");
    live_free(&live);
}

Test(status_live, what_is_not_known_is_a_gap)
{
    Live live = {0};
    note(&live, "orders", 1, 1);
    note(&live, NULL, 0, 0);
    json_t *unknown = json_pack("{s:[{s:s,s:n}]}", "pipelines", "name", "orders", "lag_seconds");
    live_note(&live, unknown);
    json_decref(unknown);
    note(&live, "orders", 1, 1);
    assert_lag_line(&live, 0, "█  █");
    live_free(&live);
}

Test(status_live, only_the_last_looks_are_kept)
{
    Live live = {0};
    note(&live, "orders", 1000, 0);
    for (int i = 0; i < LIVE_LOOKS; i++) {
        note(&live, "orders", 1, 0);
    }
    cr_assert_eq(live.pipelines[0].lag.count, LIVE_LOOKS);
    AUTO_BUFFER line = TEXT_EMPTY;
    live_add_sparkline(&live.pipelines[0].lag, LIVE_LOOKS, &line);
    cr_assert_null(strstr(text_string(&line), "▁"), "%s", text_string(&line));
    live_free(&live);
}

Test(status_live, each_pipeline_has_its_lines_and_its_most)
{
    Live live = {0};
    note(&live, "orders", 0.25, 812.4);
    note(&live, "audit", 840, 0);
    AUTO_BUFFER out = TEXT_EMPTY;
    live_add_screen(&live, false, 0, &out);
    const char *text = text_string(&out);
    const char *orders = strstr(text, "\norders\n");
    const char *audit = strstr(text, "\naudit\n");
    cr_assert(orders != NULL && audit != NULL && orders < audit, "%s", text);
    cr_assert_not_null(strstr(orders, "most 250 ms\n"), "%s", text);
    cr_assert_not_null(strstr(orders, "most 812\n"), "%s", text);
    cr_assert_not_null(strstr(audit, "most 14 min\n"), "%s", text);
    assert_lag_line(&live, 0, "█ ");
    assert_lag_line(&live, 1, "█");
    live_free(&live);
}
