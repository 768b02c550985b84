/* Series of groups that are gone go, too: groups come and go for years. */
#include "groups/groups_shown.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/document.h"
#include "base/memory.h"
#include "base/vec.h"

static const char LAG_EVENTS[] = "outboxd_consumer_group_lag_events";
static const char LAG_SECONDS[] = "outboxd_consumer_group_lag_seconds";

/* One row as it is shown. */
typedef struct GroupSeries {
    char *group;
    char *topic;
    double *lag_events;
    double *lag_seconds;
    double change_per_second; /* NAN: not known yet */
    bool grows;
    bool committed;
    bool shown;
} GroupSeries;

struct GroupsShown {
    Metrics *metrics;
    VEC(GroupSeries) series; /* by group and topic */
};

GroupsShown *groups_shown_new(Metrics *metrics)
{
    GroupsShown *shown = x_calloc(1, sizeof(*shown));
    shown->metrics = metrics;
    return shown;
}

void groups_shown_free(GroupsShown **shown)
{
    GroupsShown *old = *shown;
    for (size_t i = 0; i < old->series.count; i++) {
        free(old->series.items[i].group);
        free(old->series.items[i].topic);
    }
    vec_free(&old->series);
    free(old);
    *shown = NULL;
}

static GroupSeries *shown_series(GroupsShown *shown, const GroupsAnswerRow *row)
{
    for (size_t i = 0; i < shown->series.count; i++) {
        GroupSeries *series = &shown->series.items[i];
        if (strcmp(series->group, row->group) == 0 && strcmp(series->topic, row->topic) == 0) {
            return series;
        }
    }
    GroupSeries *series = vec_add(&shown->series);
    *series = (GroupSeries){
        .group = x_strdup(row->group),
        .topic = x_strdup(row->topic),
        .lag_events = metrics_gauge(shown->metrics, LAG_EVENTS,
                                    "Records of the topic that the group has not consumed.",
                                    "group", row->group, "topic", row->topic, NULL),
        .lag_seconds = metrics_gauge(shown->metrics, LAG_SECONDS,
                                     "Age of the oldest record that the group has not consumed.",
                                     "group", row->group, "topic", row->topic, NULL)};
    return series;
}

/* Those that are not shown go. */
static void shown_hide(GroupsShown *shown)
{
    size_t count = 0;
    for (size_t i = 0; i < shown->series.count; i++) {
        GroupSeries *series = &shown->series.items[i];
        if (series->shown) {
            shown->series.items[count++] = *series;
        } else {
            *series->lag_events = NAN; /* should it be the one of "other" */
            *series->lag_seconds = NAN;
            metrics_remove(shown->metrics, LAG_EVENTS, "group", series->group, "topic",
                           series->topic, NULL);
            metrics_remove(shown->metrics, LAG_SECONDS, "group", series->group, "topic",
                           series->topic, NULL);
            free(series->group);
            free(series->topic);
        }
    }
    shown->series.count = count;
}

static int series_compare(const void *a, const void *b)
{
    const GroupSeries *x = a;
    const GroupSeries *y = b;
    int order = strcmp(x->group, y->group);
    return order != 0 ? order : strcmp(x->topic, y->topic);
}

static void shown_none(GroupsShown *shown)
{
    for (size_t i = 0; i < shown->series.count; i++) {
        shown->series.items[i].shown = false;
    }
}

void groups_shown_set(GroupsShown *shown, const GroupsAnswer *answer)
{
    shown_none(shown);
    for (size_t i = 0; i < answer->count; i++) {
        const GroupsAnswerRow *row = &answer->rows[i];
        GroupSeries *series = shown_series(shown, row);
        *series->lag_events = (double)row->lag_events;
        *series->lag_seconds = row->lag_seconds;
        series->change_per_second = row->change_per_second;
        series->grows = row->grows;
        series->committed = row->committed;
        series->shown = true;
    }
    shown_hide(shown);
    if (shown->series.count > 0) {
        qsort(shown->series.items, shown->series.count, sizeof(*shown->series.items),
              series_compare);
    }
}

void groups_shown_clear(GroupsShown *shown)
{
    shown_none(shown);
    shown_hide(shown);
}

void groups_shown_status(const GroupsShown *shown, json_t *rows)
{
    for (size_t i = 0; i < shown->series.count; i++) {
        const GroupSeries *series = &shown->series.items[i];
        json_t *row = document_item(rows);
        document_text(row, "group", series->group);
        document_text(row, "topic", series->topic);
        document_number(row, "lag_events", "%.0f", *series->lag_events);
        document_number(row, "lag_seconds", "%.3f", *series->lag_seconds);
        document_number(row, "change_per_second", "%.3f", series->change_per_second);
        document_bool(row, "grows", series->grows);
        document_bool(row, "committed", series->committed);
    }
}
