#include <criterion/criterion.h>
#include <string.h>

#include "flow/stats.h"

Test(stats, dead_letters_of_all_reasons_are_there_from_the_start_and_add_up)
{
    Metrics *metrics = metrics_new();
    Stats stats;
    stats_init(&stats, metrics, "orders");
    *stats.dead_lettered[REASON_TOO_LARGE] = 3;
    *stats.dead_lettered[REASON_UNROUTED] = 4;
    cr_assert_eq(stats_dead_lettered(&stats), 7);
    AUTO_BUFFER text = TEXT_EMPTY;
    metrics_expose(metrics, &text);
    cr_assert_not_null(strstr(text_string(&text), "outboxd_events_dead_lettered_total{pipeline="
                                                  "\"orders\",reason=\"too_large\"} 3\n"));
    cr_assert_not_null(strstr(text_string(&text), "outboxd_events_dead_lettered_total{pipeline="
                                                  "\"orders\",reason=\"malformed\"} 0\n"));
    stats_release(&stats);
    metrics_free(&metrics);
}
