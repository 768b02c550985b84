/* The loop's side: a timer sends the helper process a request; its answer becomes series and a list
 * for /status. Series of groups that are gone go, too. A helper that ends, or
 * does not answer, is replaced at the next turn of the timer. */
#include "groups/groups.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/document.h"
#include "base/log.h"
#include "base/memory.h"
#include "config/lists.h"
#include "groups/groups_ask.h"
#include "groups/groups_helper.h"
#include "groups/groups_learn.h"
#include "groups/groups_message.h"

enum {
    FAILURES_TOLD = 2, /* a coordinator may be loading: that is over in the next round */
    ANSWER_SECONDS_MAX = 60,
};

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

struct Groups {
    GroupsOptions options;
    struct event *timer;
    pid_t helper; /* 0: none */
    struct bufferevent *io;
    int64_t asked_us;    /* monotonic; 0: nothing is asked */
    int64_t answered_us; /* likewise: the last answer */
    StringList topics;
    StringList patterns;
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

static void groups_collect_topics(Groups *groups)
{
    string_list_free(&groups->topics);
    string_list_free(&groups->patterns);
    groups_config_topics(groups->options.config, &groups->topics, &groups->patterns);
    groups->options.topics(groups->options.arg, &groups->topics);
}

/* Results. */

static GroupSeries *groups_series(Groups *groups, const GroupsAnswerRow *row)
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
        .lag_events = metrics_gauge(groups->options.metrics, LAG_EVENTS,
                                    "Records of the topic that the group has not consumed.",
                                    "group", row->group, "topic", row->topic, NULL),
        .lag_seconds = metrics_gauge(groups->options.metrics, LAG_SECONDS,
                                     "Age of the oldest record that the group has not consumed.",
                                     "group", row->group, "topic", row->topic, NULL)};
    return series;
}

/* Those that are not shown go: groups come and go for years. */
static void groups_hide(Groups *groups)
{
    size_t count = 0;
    for (size_t i = 0; i < groups->count; i++) {
        GroupSeries *series = &groups->series[i];
        if (series->shown) {
            groups->series[count++] = *series;
        } else {
            *series->lag_events = NAN; /* should it be the one of "other" */
            *series->lag_seconds = NAN;
            metrics_remove(groups->options.metrics, LAG_EVENTS, "group", series->group, "topic",
                           series->topic, NULL);
            metrics_remove(groups->options.metrics, LAG_SECONDS, "group", series->group, "topic",
                           series->topic, NULL);
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

/* After each answer, or when there was none. */
static void groups_tell(Groups *groups)
{
    const Error *err = &groups->error;
    bool failed = err->class != ERROR_NONE;
    bool denied = failed && groups_is_denied(err);
    *groups->up = failed ? 0 : 1;
    groups->failures = failed ? groups->failures + 1 : 0;
    bool lasts = groups->failures >= FAILURES_TOLD;
    if ((denied && !groups->said_denied) || (lasts && !groups->said)) {
        log_error(LOG_WARN, NULL, err, "some consumer groups cannot be seen; publishing continues");
        groups->said = true;
        groups->said_denied |= denied;
    } else if (!failed && groups->said) {
        log_write(LOG_INFO, NULL, CODE_CONSUMER_GROUPS_RECOVERED, LOG_NO_FIELDS,
                  "consumer groups can be seen again");
        groups->said = groups->said_denied = false;
    }
    if (groups->left_out > 0 && !groups->left_out_said) {
        log_write(LOG_WARN, NULL, CODE_CONSUMER_GROUPS_TOO_MANY,
                  LOG_FIELDS(log_number("left_out", (long long)groups->left_out)),
                  "monitor.consumer_groups matches more groups than the relay watches; use "
                  "narrower patterns");
    }
    groups->left_out_said = groups->left_out > 0;
}

static void groups_apply(Groups *groups, const GroupsAnswer *answer)
{
    for (size_t i = 0; i < groups->count; i++) {
        groups->series[i].shown = false;
    }
    for (size_t i = 0; i < answer->count; i++) {
        const GroupsAnswerRow *row = &answer->rows[i];
        GroupSeries *series = groups_series(groups, row);
        *series->lag_events = (double)row->lag_events;
        *series->lag_seconds = row->lag_seconds;
        series->change_per_second = row->change_per_second;
        series->grows = row->grows;
        series->committed = row->committed;
        series->shown = true;
    }
    groups_hide(groups);
    if (groups->count > 0) {
        qsort(groups->series, groups->count, sizeof(*groups->series), series_compare);
    }
    groups->left_out = answer->groups_left_out;
    error_copy(&groups->error, &answer->error);
    groups->answered_us = clock_monotonic_us();
    groups_tell(groups);
}

/* The helper. */

/* Ends it; how it had ended by itself, in words. */
static char *groups_end_helper(Groups *groups)
{
    int status = 0;
    bufferevent_free(groups->io); /* closes the socket */
    groups->io = NULL;
    (void)kill(groups->helper, SIGKILL); /* of one that has ended the status stays as it is */
    while (waitpid(groups->helper, &status, 0) < 0 && errno == EINTR) {
    }
    groups->helper = 0;
    groups->asked_us = 0;
    return WIFSIGNALED(status) ? x_format("signal %d", WTERMSIG(status))
                               : x_format("exit code %d", WEXITSTATUS(status));
}

static void groups_lose_helper(Groups *groups, const char *what)
{
    AUTO_TEXT how = groups_end_helper(groups);
    error_set(&groups->error, CODE_CONSUMER_GROUPS_HELPER,
              "the helper process for consumer groups %s (%s); starting it again", what, how);
    groups_tell(groups);
}

/* Takes one answer; false when there is none yet. */
static bool groups_take(Groups *groups, struct evbuffer *input)
{
    char head[GROUPS_MESSAGE_HEAD];
    if (evbuffer_copyout(input, head, sizeof(head)) < (ssize_t)sizeof(head)) {
        return false;
    }
    size_t length = groups_message_length(head);
    if (length <= GROUPS_MESSAGE_MAX && evbuffer_get_length(input) < sizeof(head) + length) {
        return false;
    }
    GroupsAnswer answer = {0};
    bool valid = false;
    if (length <= GROUPS_MESSAGE_MAX) {
        const char *bytes = (const char *)evbuffer_pullup(input, (ssize_t)(sizeof(head) + length));
        valid = groups_answer_read(bytes + sizeof(head), length, &answer);
    }
    if (valid) {
        groups->asked_us = 0;
        groups_apply(groups, &answer);
        evbuffer_drain(input, sizeof(head) + length);
    } else {
        groups_lose_helper(groups, "sent an invalid answer");
    }
    groups_answer_free(&answer);
    return valid;
}

static void groups_on_answer(struct bufferevent *io, void *arg)
{
    while (groups_take(arg, bufferevent_get_input(io))) {
    }
}

static void groups_on_end(struct bufferevent *io, short what, void *arg)
{
    (void)io;
    (void)what;
    groups_lose_helper(arg, "ended");
}

static bool groups_start_helper(Groups *groups)
{
    int fd = -1;
    if (groups_helper_start(&groups->helper, &fd, &groups->error) != OK) {
        groups->helper = 0;
        groups_tell(groups);
        return false;
    }
    groups->io = bufferevent_socket_new(groups->options.base, fd, BEV_OPT_CLOSE_ON_FREE);
    bufferevent_setcb(groups->io, groups_on_answer, NULL, groups_on_end, groups);
    bufferevent_enable(groups->io, EV_READ | EV_WRITE);
    return true;
}

static void groups_ask(Groups *groups)
{
    AUTO_BUFFER request = TEXT_EMPTY;
    groups_collect_topics(groups);
    groups_request_write(groups->options.config, &groups->topics, &groups->patterns, &request);
    bufferevent_write(groups->io, request.data, request.length);
    groups->asked_us = clock_monotonic_us();
}

static void groups_on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    Groups *groups = arg;
    int64_t now_us = clock_monotonic_us();
    int64_t kept_us =
        groups->options.config->monitor.groups_interval_ms * 1000 * GROUP_KEPT_INTERVALS;
    if (now_us - groups->answered_us > kept_us) {
        for (size_t i = 0; i < groups->count; i++) {
            groups->series[i].shown = false;
        }
        groups_hide(groups);
    }
    if (groups->asked_us != 0 &&
        now_us - groups->asked_us > (int64_t)ANSWER_SECONDS_MAX * 1000000) {
        groups_lose_helper(groups, "did not answer");
    } else if (groups->asked_us == 0 && (groups->helper != 0 || groups_start_helper(groups))) {
        groups_ask(groups);
    }
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
    groups->up = metrics_gauge(options->metrics, "outboxd_consumer_groups_up",
                               "1 if the last query of the consumer groups was complete.", NULL);
    *groups->up = NAN;
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
    if (old->helper != 0) {
        free(groups_end_helper(old));
    }
    for (size_t i = 0; i < old->count; i++) {
        free(old->series[i].group);
        free(old->series[i].topic);
    }
    free(old->series);
    string_list_free(&old->topics);
    string_list_free(&old->patterns);
    error_clear(&old->error);
    free(old);
    *groups = NULL;
}

void groups_status(const Groups *groups, json_t *status)
{
    if (groups == NULL) {
        document_null(status, "consumer_groups");
        return;
    }
    json_t *object = document_object(status, "consumer_groups");
    document_bool(object, "up", *groups->up > 0);
    if (groups->error.class == ERROR_NONE) {
        document_null(object, "error");
    } else {
        bool hint = error_own_hint(&groups->error)[0] != '\0';
        AUTO_TEXT text = x_format("%s%s%s", error_message(&groups->error), hint ? ". " : "",
                                  error_own_hint(&groups->error));
        document_text(object, "error", text);
    }
    document_count(object, "groups_left_out", (int64_t)groups->left_out);
    document_number(object, "objective_seconds", "%.3f",
                    (double)groups->options.config->monitor.lag_objective_ms / 1e3);
    json_t *rows = document_array(object, "groups");
    for (size_t i = 0; i < groups->count; i++) {
        const GroupSeries *series = &groups->series[i];
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
