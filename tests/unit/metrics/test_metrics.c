#include <criterion/criterion.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "metrics/metrics.h"
#include "metrics/process.h"

static const char *exposed(Metrics *metrics, Text *out)
{
    text_clear(out);
    metrics_expose(metrics, out);
    return text_string(out);
}

static double process_value(Metrics *metrics, const char *name)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    metrics_expose(metrics, &out);
    AUTO_BUFFER line = TEXT_EMPTY;
    text_printf(&line, "\n%s ", name);
    const char *found = strstr(out.data, line.data);
    cr_assert_not_null(found, "%s is missing", name);
    return strtod(found + line.length, NULL);
}

Test(metrics, exposes_help_type_and_series_in_the_order_of_names_and_labels)
{
    Metrics *metrics = metrics_new();
    AUTO_BUFFER out = TEXT_EMPTY;
    *metrics_gauge(metrics, "b_seconds", "Second.", NULL) = 1.5;
    *metrics_counter(metrics, "a_total", "First.", "pipeline", "orders", NULL) = 7;
    *metrics_counter(metrics, "a_total", "First.", "pipeline", "audit", NULL) = 9;
    cr_assert_str_eq(exposed(metrics, &out), "# HELP a_total First.\n"
                                             "# TYPE a_total counter\n"
                                             "a_total{pipeline=\"audit\"} 9\n"
                                             "a_total{pipeline=\"orders\"} 7\n"
                                             "# HELP b_seconds Second.\n"
                                             "# TYPE b_seconds gauge\n"
                                             "b_seconds 1.5\n");
    metrics_free(&metrics);
    cr_assert_null(metrics);
}

Test(metrics, same_name_and_labels_in_any_order_give_the_same_series)
{
    Metrics *metrics = metrics_new();
    uint64_t *a = metrics_counter(metrics, "a_total", "A.", "x", "1", "y", "2", NULL);
    uint64_t *b = metrics_counter(metrics, "a_total", "A.", "y", "2", "x", "1", NULL);
    uint64_t *c = metrics_counter(metrics, "a_total", "A.", "y", "1", "x", "2", NULL);
    cr_assert_eq(a, b);
    cr_assert_neq(a, c);
    metrics_free(&metrics);
}

Test(metrics, pointers_stay_valid_while_series_and_families_are_added)
{
    Metrics *metrics = metrics_new();
    uint64_t *first = metrics_counter(metrics, "m_total", "M.", "n", "500", NULL);
    *first = 42;
    for (int i = 0; i < 900; i++) {
        char name[16];
        snprintf(name, sizeof(name), "%03d", i);
        *metrics_counter(metrics, "m_total", "M.", "n", name, NULL) += 1;
        snprintf(name, sizeof(name), "f%03d", i);
        *metrics_gauge(metrics, name, "F.", NULL) = i;
    }
    cr_assert_eq(metrics_counter(metrics, "m_total", "M.", "n", "500", NULL), first);
    cr_assert_eq(*first, 43);
    metrics_free(&metrics);
}

Test(metrics, label_values_and_help_are_escaped)
{
    Metrics *metrics = metrics_new();
    AUTO_BUFFER out = TEXT_EMPTY;
    metrics_counter(metrics, "a_total", "Back\\slash, \"quote\",\nline.", "v", "b\\q\"n\n", NULL);
    cr_assert_str_eq(exposed(metrics, &out), "# HELP a_total Back\\\\slash, \"quote\",\\nline.\n"
                                             "# TYPE a_total counter\n"
                                             "a_total{v=\"b\\\\q\\\"n\\n\"} 0\n");
    metrics_free(&metrics);
}

Test(metrics, label_value_that_is_not_utf8_is_replaced)
{
    Metrics *metrics = metrics_new();
    AUTO_BUFFER out = TEXT_EMPTY;
    metrics_counter(metrics, "a_total", "A.", "v", "\xC3\xA9\xFF", NULL);
    cr_assert_not_null(strstr(exposed(metrics, &out), "{v=\"\xC3\xA9\xEF\xBF\xBD\"} 0\n"));
    metrics_free(&metrics);
}

Test(metrics, nan_hides_a_gauge_and_a_family_without_series_has_no_header)
{
    Metrics *metrics = metrics_new();
    AUTO_BUFFER out = TEXT_EMPTY;
    *metrics_gauge(metrics, "a", "A.", "v", "1", NULL) = NAN;
    *metrics_gauge(metrics, "b", "B.", "v", "1", NULL) = NAN;
    *metrics_gauge(metrics, "b", "B.", "v", "2", NULL) = INFINITY;
    *metrics_gauge(metrics, "b", "B.", "v", "3", NULL) = -INFINITY;
    *metrics_gauge(metrics, "b", "B.", "v", "4", NULL) = 0.1;
    *metrics_gauge(metrics, "b", "B.", "v", "5", NULL) = 1e15;
    *metrics_gauge(metrics, "b", "B.", "v", "6", NULL) = 1700000000.123;
    cr_assert_str_eq(exposed(metrics, &out), "# HELP b B.\n# TYPE b gauge\n"
                                             "b{v=\"2\"} +Inf\nb{v=\"3\"} -Inf\nb{v=\"4\"} 0.1\n"
                                             "b{v=\"5\"} 1e+15\nb{v=\"6\"} 1700000000.123\n");
    metrics_free(&metrics);
}

Test(metrics, histogram_buckets_are_cumulative_and_end_with_inf_sum_and_count)
{
    Metrics *metrics = metrics_new();
    AUTO_BUFFER out = TEXT_EMPTY;
    Histogram *h = metrics_histogram(metrics, "d_seconds", "D.", "pipeline", "orders", NULL);
    histogram_observe_us(h, 400);
    histogram_observe_us(h, 900);
    histogram_observe_us(h, 61000000);
    const char *text = exposed(metrics, &out);
    const char *expected[] = {
        "# TYPE d_seconds histogram\n",
        "d_seconds_bucket{pipeline=\"orders\",le=\"0.0005\"} 1\n",
        "d_seconds_bucket{pipeline=\"orders\",le=\"0.001\"} 2\n",
        "d_seconds_bucket{pipeline=\"orders\",le=\"60\"} 2\n",
        "d_seconds_bucket{pipeline=\"orders\",le=\"+Inf\"} 3\n",
        "d_seconds_sum{pipeline=\"orders\"} 61.001300\n",
        "d_seconds_count{pipeline=\"orders\"} 3\n",
    };
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        cr_assert_not_null(strstr(text, expected[i]), "no line %sin\n%s", expected[i], text);
    }
    metrics_free(&metrics);
}

Test(metrics, series_beyond_the_limit_share_one_named_other)
{
    Metrics *metrics = metrics_new();
    AUTO_BUFFER out = TEXT_EMPTY;
    for (int i = 0; i < METRICS_SERIES_MAX + 50; i++) {
        char topic[16];
        snprintf(topic, sizeof(topic), "t%d", i);
        (*metrics_counter(metrics, "a_total", "A.", "topic", topic, NULL))++;
    }
    cr_assert_not_null(strstr(exposed(metrics, &out), "a_total{topic=\"other\"} 50\n"));
    cr_assert_null(strstr(out.data, "t1049"));
    metrics_free(&metrics);
}

static void collect_twice(void *arg)
{
    *(double *)arg *= 2;
}

Test(metrics, collectors_run_before_each_exposition)
{
    Metrics *metrics = metrics_new();
    AUTO_BUFFER out = TEXT_EMPTY;
    double *gauge = metrics_gauge(metrics, "a", "A.", NULL);
    *gauge = 1;
    metrics_on_collect(metrics, collect_twice, gauge);
    cr_assert_not_null(strstr(exposed(metrics, &out), "a 2\n"));
    cr_assert_not_null(strstr(exposed(metrics, &out), "a 4\n"));
    metrics_free(&metrics);
}

Test(metrics, name_with_two_types_is_an_assertion_failure, .signal = SIGABRT)
{
    Metrics *metrics = metrics_new();
    metrics_counter(metrics, "a_total", "A.", NULL);
    metrics_gauge(metrics, "a_total", "A.", NULL);
}

Test(metrics, process_metrics_have_plausible_values)
{
    Metrics *metrics = metrics_new();
    process_add_metrics(metrics);
    double now = (double)time(NULL);
    double start = process_value(metrics, "process_start_time_seconds");
    cr_assert(start <= now + 1 && start > now - 3600, "start %f, now %f", start, now);
    cr_assert_gt(process_value(metrics, "process_resident_memory_bytes"), 1 << 19);
    cr_assert_gt(process_value(metrics, "process_virtual_memory_bytes"), 1 << 20);
    cr_assert_gt(process_value(metrics, "process_max_fds"), 8);

    double before = process_value(metrics, "process_open_fds");
    int extra = dup(STDERR_FILENO);
    cr_assert_eq(process_value(metrics, "process_open_fds"), before + 1);
    close(extra);

    double cpu = process_value(metrics, "process_cpu_seconds_total");
    clock_t until = clock() + CLOCKS_PER_SEC / 20; /* burns 50 ms of CPU time */
    while (clock() < until) {
    }
    cr_assert_geq(process_value(metrics, "process_cpu_seconds_total"), cpu + 0.04);
    metrics_free(&metrics);
}

Test(metrics, a_removed_series_makes_room_and_the_others_stay)
{
    Metrics *metrics = metrics_new();
    AUTO_BUFFER out = TEXT_EMPTY;
    char name[16];
    for (int i = 0; i < 3 * METRICS_SERIES_MAX; i++) {
        (void)snprintf(name, sizeof(name), "g%d", i);
        *metrics_gauge(metrics, "lag", "Lag.", "group", name, "topic", "t", NULL) = i;
        metrics_remove(metrics, "lag", "topic", "t", "group", name, NULL);
    }
    *metrics_gauge(metrics, "lag", "Lag.", "group", "a", "topic", "t", NULL) = 1;
    *metrics_gauge(metrics, "lag", "Lag.", "group", "b", "topic", "t", NULL) = 2;
    *metrics_gauge(metrics, "lag", "Lag.", "group", "c", "topic", "t", NULL) = 3;
    metrics_remove(metrics, "lag", "group", "b", "topic", "t", NULL);
    metrics_remove(metrics, "lag", "group", "b", "topic", "t", NULL);
    metrics_remove(metrics, "other_name", NULL);
    cr_assert_str_eq(exposed(metrics, &out), "# HELP lag Lag.\n"
                                             "# TYPE lag gauge\n"
                                             "lag{group=\"a\",topic=\"t\"} 1\n"
                                             "lag{group=\"c\",topic=\"t\"} 3\n");
    metrics_free(&metrics);
}
