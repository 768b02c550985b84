/* The loop's side: a timer starts a round as a job of a worker of our own; when it is done, its
 * rows are copied into series and a list for /status. While a job runs nothing of the round is
 * touched here. Series of groups that are gone become NAN, which hides them. */
#include "sink/groups.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/worker.h"
#include "config/lists.h"
#include "flow/template.h"
#include "sink/groups_ask.h"
#include "sink/groups_round.h"

enum { FAILURES_TOLD = 2 }; /* a coordinator may be loading: that is over in the next round */

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

struct Groups {
    GroupsOptions options;
    Worker *worker;
    struct event *worker_io;
    struct event *timer;
    Round *round;      /* the job's while running */
    StringList topics; /* likewise */
    bool running;
    double *up; /* NAN before the first round */
    GroupSeries *series;
    size_t count;
    size_t left_out;
    bool left_out_said;
    Error error;      /* of the last round */
    int failures;     /* rounds in a row that were not complete */
    bool said;        /* of this trouble, in the log */
    bool said_denied; /* likewise, that a right is missing */
};

/* Topics. */

static void groups_add_topic(Groups *groups, const char *text, const PipelineConfig *pipeline)
{
    AUTO(Template, template_free) template = NULL;
    if (text == NULL || template_compile(text, pipeline, &template, NULL) != OK) {
        return;
    }
    const char *name = template_constant(template);
    if (name != NULL && *name != '\0') {
        string_list_add(&groups->topics, name);
    }
}

static void groups_collect_topics(Groups *groups)
{
    const Config *config = groups->options.config;
    string_list_free(&groups->topics);
    for (size_t i = 0; i < config->pipeline_count; i++) {
        const PipelineConfig *pipeline = &config->pipelines[i];
        if (pipeline->sink != SINK_KAFKA) {
            continue;
        }
        groups_add_topic(groups, pipeline->topic, pipeline);
        for (size_t r = 0; r < pipeline->route_count; r++) {
            groups_add_topic(groups, pipeline->routes[r].topic, pipeline);
        }
    }
    groups->options.topics(groups->options.arg, &groups->topics);
}

/* Results. */

static GroupSeries *groups_series(Groups *groups, const GroupRow *row)
{
    for (size_t i = 0; i < groups->count; i++) {
        GroupSeries *series = &groups->series[i];
        if (strcmp(series->group, row->group) == 0 && strcmp(series->topic, row->topic) == 0) {
            return series;
        }
    }
    groups->series = x_realloc(groups->series, (groups->count + 1) * sizeof(*groups->series));
    GroupSeries *series = &groups->series[groups->count++];
    *series = (GroupSeries){
        .group = x_strdup(row->group),
        .topic = x_strdup(row->topic),
        .lag_events = metrics_gauge(groups->options.metrics, "outboxd_consumer_group_lag_events",
                                    "Records of the topic that the group has not consumed.",
                                    "group", row->group, "topic", row->topic, NULL),
        .lag_seconds = metrics_gauge(groups->options.metrics, "outboxd_consumer_group_lag_seconds",
                                     "Age of the oldest record that the group has not consumed.",
                                     "group", row->group, "topic", row->topic, NULL)};
    return series;
}

/* Those that are not shown have no values; their series stay in the registry, hidden. */
static void groups_hide(Groups *groups)
{
    size_t count = 0;
    for (size_t i = 0; i < groups->count; i++) {
        GroupSeries *series = &groups->series[i];
        if (series->shown) {
            groups->series[count++] = *series;
        } else {
            *series->lag_events = NAN;
            *series->lag_seconds = NAN;
            free(series->group);
            free(series->topic);
        }
    }
    groups->count = count;
}

static int series_compare(const void *a, const void *b)
{
    const GroupSeries *x = a;
    const GroupSeries *y = b;
    int order = strcmp(x->group, y->group);
    return order != 0 ? order : strcmp(x->topic, y->topic);
}

static void groups_tell(Groups *groups, const RoundView *view)
{
    const Error *err = view->error;
    bool failed = err->class != ERROR_NONE;
    bool denied = failed && groups_is_denied(err);
    groups->failures = failed ? groups->failures + 1 : 0;
    bool lasts = groups->failures >= FAILURES_TOLD;
    if ((denied && !groups->said_denied) || (lasts && !groups->said)) {
        log_error(LOG_WARN, NULL, err, "consumer groups are not all seen; publishing goes on");
        groups->said = true;
        groups->said_denied |= denied;
    } else if (!failed && groups->said) {
        log_write(LOG_INFO, NULL, "CONSUMER_GROUPS_RECOVERED", LOG_NO_FIELDS,
                  "consumer groups are seen again");
        groups->said = groups->said_denied = false;
    }
    if (view->groups_left_out > 0 && !groups->left_out_said) {
        log_write(LOG_WARN, NULL, "CONSUMER_GROUPS_TOO_MANY",
                  LOG_FIELDS(log_number("left_out", (long long)view->groups_left_out)),
                  "monitor.consumer_groups matches more groups than are looked at; narrow it");
    }
    groups->left_out_said = view->groups_left_out > 0;
}

static void groups_on_done(void *arg)
{
    Groups *groups = arg;
    groups->running = false;
    RoundView view;
    round_view(groups->round, &view);
    for (size_t i = 0; i < groups->count; i++) {
        groups->series[i].shown = false;
    }
    for (size_t i = 0; i < view.count; i++) {
        const GroupRow *row = &view.rows[i];
        GroupSeries *series = groups_series(groups, row);
        *series->lag_events = (double)row->lag_events;
        *series->lag_seconds = row->lag_seconds;
        series->change_per_second = group_row_change(row);
        series->grows = group_row_grows(row);
        series->committed = row->committed;
        series->shown = true;
    }
    groups_hide(groups);
    if (groups->count > 0) {
        qsort(groups->series, groups->count, sizeof(*groups->series), series_compare);
    }
    *groups->up = view.error->class == ERROR_NONE ? 1 : 0;
    groups->left_out = view.groups_left_out;
    groups->error = *view.error;
    groups_tell(groups, &view);
}

static void groups_run(void *arg)
{
    Groups *groups = arg;
    round_run(groups->round, &groups->topics);
}

static void groups_on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    Groups *groups = arg;
    if (!groups->running) {
        groups->running = true;
        groups_collect_topics(groups);
        worker_submit(groups->worker, groups_run, groups_on_done, groups);
    }
}

static void groups_on_worker(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    worker_dispatch(((Groups *)arg)->worker);
}

/* Life. */

static bool groups_wanted(const Config *config)
{
    bool kafka = false;
    for (size_t i = 0; i < config->pipeline_count; i++) {
        kafka |= config->pipelines[i].sink == SINK_KAFKA;
    }
    return kafka && config->monitor.consumer_groups.count > 0;
}

Groups *groups_new(const GroupsOptions *options)
{
    if (!groups_wanted(options->config)) {
        return NULL;
    }
    Groups *groups = x_calloc(1, sizeof(*groups));
    groups->options = *options;
    groups->round = round_new(options->config);
    groups->up = metrics_gauge(options->metrics, "outboxd_consumer_groups_up",
                               "1 when the last look at the consumer groups was complete.", NULL);
    *groups->up = NAN;
    groups->worker = worker_new();
    groups->worker_io = event_new(options->base, worker_fd(groups->worker), EV_READ | EV_PERSIST,
                                  groups_on_worker, groups);
    event_add(groups->worker_io, NULL);
    groups->timer = event_new(options->base, -1, EV_PERSIST, groups_on_timer, groups);
    int64_t interval_ms = options->config->monitor.groups_interval_ms;
    struct timeval tv = {.tv_sec = interval_ms / 1000, .tv_usec = interval_ms % 1000 * 1000};
    event_add(groups->timer, &tv);
    event_active(groups->timer, EV_TIMEOUT, 0);
    return groups;
}

void groups_free(Groups **groups)
{
    Groups *old = *groups;
    if (old == NULL) {
        return;
    }
    event_free(old->timer);
    event_free(old->worker_io);
    worker_free(&old->worker);
    round_free(&old->round);
    for (size_t i = 0; i < old->count; i++) {
        free(old->series[i].group);
        free(old->series[i].topic);
    }
    free(old->series);
    string_list_free(&old->topics);
    free(old);
    *groups = NULL;
}

bool groups_is_busy(const Groups *groups)
{
    return groups != NULL && worker_is_busy(groups->worker);
}

static void add_number(Text *json, const char *key, double value, int digits)
{
    if (isnan(value)) {
        text_printf(json, ",\"%s\":null", key);
    } else {
        text_printf(json, ",\"%s\":%.*f", key, digits, value);
    }
}

void groups_status(const Groups *groups, Text *json)
{
    if (groups == NULL) {
        text_add(json, "null");
        return;
    }
    text_printf(json, "{\"up\":%s,\"error\":", *groups->up > 0 ? "true" : "false");
    if (groups->error.class == ERROR_NONE) {
        text_add(json, "null");
    } else {
        bool hint = groups->error.hint[0] != '\0';
        AUTO_TEXT text =
            x_format("%s%s%s", groups->error.message, hint ? ". " : "", groups->error.hint);
        text_add_json(json, slice_of(text));
    }
    text_printf(json, ",\"groups_left_out\":%zu,\"objective_seconds\":%.3f,\"groups\":[",
                groups->left_out, (double)groups->options.config->monitor.lag_objective_ms / 1e3);
    for (size_t i = 0; i < groups->count; i++) {
        const GroupSeries *series = &groups->series[i];
        text_add(json, i > 0 ? ",{\"group\":" : "{\"group\":");
        text_add_json(json, slice_of(series->group));
        text_add(json, ",\"topic\":");
        text_add_json(json, slice_of(series->topic));
        add_number(json, "lag_events", *series->lag_events, 0);
        add_number(json, "lag_seconds", *series->lag_seconds, 3);
        add_number(json, "change_per_second", series->change_per_second, 3);
        text_printf(json, ",\"grows\":%s,\"committed\":%s}", series->grows ? "true" : "false",
                    series->committed ? "true" : "false");
    }
    text_add(json, "]}");
}
