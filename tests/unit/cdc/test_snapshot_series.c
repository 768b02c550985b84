/* What a scrape shows of a snapshot. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cdc/snapshot_series.h"
#include "stub/clock.h"

enum { MANY = METRICS_SERIES_MAX + 3 };

static PipelineConfig pipeline = {.name = (char *)"catalog"};
static Metrics *metrics;
static SnapshotSeries *series;
static SnapshotTables tables;
static SnapshotView view;

/* So many tables wait, each of ten rows. */
static void plan(size_t count)
{
    for (size_t i = 0; i < count; i++) {
        *vec_add(&tables.items) = (SnapshotTable){.oid = (uint32_t)i + 1,
                                                  .schema = x_strdup("public"),
                                                  .name = x_format("t%04zu", i),
                                                  .sql = x_strdup(""),
                                                  .rows = 10,
                                                  .bytes = 100,
                                                  .rows_expected = i == 0 ? -1 : 20,
                                                  .bytes_expected = 8192};
    }
}

static void begin(void)
{
    metrics = metrics_new();
    series = snapshot_series_new(metrics, "catalog");
    view = (SnapshotView){.pipeline = &pipeline};
}

static void end(void)
{
    snapshot_series_free(&series);
    snapshot_tables_clear(&tables);
    metrics_free(&metrics);
}

TestSuite(snapshot_series, .init = begin, .fini = end);

static char *scraped(void)
{
    AUTO_BUFFER text = TEXT_EMPTY;
    snapshot_series_collect(series, &view, &tables, 4096);
    metrics_expose(metrics, &text);
    return x_strdup(text_string(&text));
}

static void expect_line(const char *all, const char *line)
{
    AUTO_TEXT whole = x_format("\n%s\n", line);
    cr_expect_not_null(strstr(all, whole), "%s is not in\n%s", line, all);
}

static size_t count_of(const char *all, const char *what)
{
    size_t count = 0;
    for (const char *at = all; (at = strstr(at, what)) != NULL; at++) {
        count++;
    }
    return count;
}

Test(snapshot_series, before_the_first_snapshot_nothing_but_that_none_runs_is_shown)
{
    AUTO_TEXT all = scraped();
    expect_line(all, "outboxd_snapshot_running{pipeline=\"catalog\"} 0");
    cr_expect_eq(count_of(all, "{"), 1, "%s", all);
}

Test(snapshot_series, a_running_one_is_shown_as_a_whole_and_by_table)
{
    plan(4);
    snapshot_view_begin(&view, &tables, 1024);
    tables.items.items[0].state = TABLE_RECORDED;
    clock_skip_us(INT64_C(30000000));
    AUTO_TEXT all = scraped();
    expect_line(all, "outboxd_snapshot_running{pipeline=\"catalog\"} 1");
    expect_line(all, "outboxd_snapshot_done_ratio{pipeline=\"catalog\"} 0.25");
    expect_line(all, "outboxd_snapshot_tables{pipeline=\"catalog\"} 4");
    expect_line(all, "outboxd_snapshot_tables_published{pipeline=\"catalog\"} 1");
    expect_line(all, "outboxd_snapshot_rows{pipeline=\"catalog\"} 40");
    expect_line(all, "outboxd_snapshot_rows_expected{pipeline=\"catalog\"} 60");
    expect_line(all, "outboxd_snapshot_bytes{pipeline=\"catalog\"} 400");
    expect_line(all, "outboxd_snapshot_seconds_left{pipeline=\"catalog\"} 90");
    expect_line(all, "outboxd_snapshot_retained_wal_bytes{pipeline=\"catalog\"} 4096");
    expect_line(all, "outboxd_snapshot_retained_wal_expected_bytes{pipeline=\"catalog\"} 13312");
    cr_expect_not_null(strstr(all, "outboxd_snapshot_duration_seconds{pipeline=\"catalog\"} 30"));
    expect_line(all, "outboxd_snapshot_table_rows{pipeline=\"catalog\",table=\"public.t0003\"} 10");
    expect_line(all,
                "outboxd_snapshot_table_bytes{pipeline=\"catalog\",table=\"public.t0003\"} 100");
    expect_line(all,
                "outboxd_snapshot_table_published{pipeline=\"catalog\",table=\"public.t0000\"} 1");
    expect_line(all,
                "outboxd_snapshot_table_published{pipeline=\"catalog\",table=\"public.t0001\"} 0");
}

Test(snapshot_series, how_long_it_takes_is_unknown_before_anything_is_read)
{
    plan(1);
    snapshot_view_begin(&view, &tables, 1024);
    AUTO_TEXT all = scraped();
    cr_expect_null(strstr(all, "seconds_left"), "%s", all);
    cr_expect_null(strstr(all, "wal_expected"), "%s", all);
}

Test(snapshot_series, at_the_end_the_time_that_it_took_stays)
{
    plan(1);
    snapshot_view_begin(&view, &tables, 1024);
    clock_skip_us(INT64_C(30000000));
    tables.items.items[0].state = TABLE_RECORDED;
    snapshot_view_end(&view);
    clock_skip_us(INT64_C(900000000));
    AUTO_TEXT all = scraped();
    expect_line(all, "outboxd_snapshot_running{pipeline=\"catalog\"} 0");
    expect_line(all, "outboxd_snapshot_done_ratio{pipeline=\"catalog\"} 1");
    expect_line(all, "outboxd_snapshot_seconds_left{pipeline=\"catalog\"} 0");
    cr_expect_not_null(strstr(all, "outboxd_snapshot_duration_seconds{pipeline=\"catalog\"} 30"));
    cr_expect_null(strstr(all, "retained_wal"), "%s", all);
}

Test(snapshot_series, tables_beyond_the_bound_are_one_series_which_is_their_sum)
{
    plan(MANY);
    snapshot_view_begin(&view, &tables, 1024);
    tables.items.items[MANY - 1].state = TABLE_RECORDED;
    for (int scrape = 0; scrape < 2; scrape++) {
        AUTO_TEXT all = scraped();
        cr_expect_eq(count_of(all, "snapshot_table_rows{"), METRICS_SERIES_MAX + 1);
        expect_line(all, "outboxd_snapshot_table_rows{pipeline=\"other\",table=\"other\"} 30");
        expect_line(all, "outboxd_snapshot_table_bytes{pipeline=\"other\",table=\"other\"} 300");
        expect_line(all, "outboxd_snapshot_table_published{pipeline=\"other\",table=\"other\"} 1");
    }
}

Test(snapshot_series, the_sum_is_that_of_every_pipeline_and_without_one_that_is_over)
{
    SnapshotSeries *second = snapshot_series_new(metrics, "stock");
    plan(MANY);
    free(scraped());
    snapshot_series_collect(second, &view, &tables, 0);
    AUTO_TEXT both = scraped();
    AUTO_TEXT sum = x_format("outboxd_snapshot_table_rows{pipeline=\"other\",table=\"other\"} %d",
                             30 + MANY * 10);
    expect_line(both, sum);
    snapshot_series_free(&second);
    AUTO_TEXT all = scraped();
    expect_line(all, "outboxd_snapshot_table_rows{pipeline=\"other\",table=\"other\"} 30");
}

Test(snapshot_series, tables_of_a_snapshot_that_is_over_leave_when_another_one_begins)
{
    plan(2);
    snapshot_view_begin(&view, &tables, 1024);
    free(scraped());
    snapshot_tables_clear(&tables);
    view = (SnapshotView){.pipeline = &pipeline};
    snapshot_series_forget(series);
    AUTO_TEXT none = scraped();
    cr_expect_eq(count_of(none, "{"), 1, "%s", none);
    plan(1);
    snapshot_view_begin(&view, &tables, 1024);
    AUTO_TEXT all = scraped();
    cr_expect_eq(count_of(all, "snapshot_table_rows{"), 1, "%s", all);
}

Test(snapshot_series, without_a_registry_nothing_is_shown)
{
    SnapshotSeries *none = snapshot_series_new(NULL, "catalog");
    plan(1);
    snapshot_series_collect(none, &view, &tables, 0);
    snapshot_series_forget(none);
    snapshot_series_free(&none);
    cr_expect_null(none);
}
