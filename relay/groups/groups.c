/* The loop's side: a timer sends the helper process a request; its answer becomes series and a list
 * for /status. Series of groups that are gone go, too. A helper that ends, or
 * does not answer, is replaced at the next turn of the timer. */
#include "groups/groups.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/document.h"
#include "base/memory.h"
#include "config/lists.h"
#include "groups/groups_helper.h"
#include "groups/groups_learn.h"
#include "groups/groups_message.h"
#include "groups/groups_shown.h"
#include "groups/groups_trouble.h"
#include "token/token.h"

enum { ANSWER_SECONDS_MAX = 60 };

struct Groups {
    GroupsOptions options;
    struct event *timer;
    pid_t helper; /* 0: none */
    struct bufferevent *io;
    TokenWait *wait;     /* for what the helper logs in with */
    int64_t asked_us;    /* monotonic; 0: nothing is asked */
    int64_t answered_us; /* likewise: the last answer */
    GroupsShown *shown;
    GroupsTrouble *trouble;
};

static void groups_apply(Groups *groups, const GroupsAnswer *answer)
{
    groups_shown_set(groups->shown, answer);
    groups->answered_us = clock_monotonic_us();
    groups_trouble_tell(groups->trouble, &answer->error, answer->groups_left_out);
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
    AUTO_ERROR err = {0};
    error_set(&err, CODE_CONSUMER_GROUPS_HELPER,
              "the helper process for consumer groups %s (%s); starting it again", what, how);
    groups_trouble_tell_again(groups->trouble, &err);
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
    AUTO_ERROR err = {0};
    if (groups_helper_start(&groups->helper, &fd, &err) != OK) {
        groups->helper = 0;
        groups_trouble_tell_again(groups->trouble, &err);
        return false;
    }
    groups->io = bufferevent_socket_new(groups->options.base, fd, BEV_OPT_CLOSE_ON_FREE);
    bufferevent_setcb(groups->io, groups_on_answer, NULL, groups_on_end, groups);
    bufferevent_enable(groups->io, EV_READ | EV_WRITE);
    return true;
}

static void groups_ask(Groups *groups, const TokenValue *token)
{
    AUTO_BUFFER request = TEXT_EMPTY;
    StringList topics = {0};
    StringList patterns = {0};
    groups_config_topics(groups->options.config, &topics, &patterns);
    groups->options.topics(groups->options.arg, &topics);
    groups_request_write(groups->options.config, &topics, &patterns, token, &request);
    bufferevent_write(groups->io, request.data, request.length);
    explicit_bzero(request.data, request.length);
    string_list_free(&topics);
    string_list_free(&patterns);
    groups->asked_us = clock_monotonic_us();
}

static void groups_on_token(void *arg, const TokenValue *value, const Error *err)
{
    Groups *groups = arg;
    groups->wait = NULL;
    if (err != NULL) {
        groups_trouble_tell_again(groups->trouble, err);
    } else if (groups->helper != 0 && groups->asked_us == 0) {
        groups_ask(groups, value);
    }
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
        groups_shown_clear(groups->shown);
    }
    if (groups->asked_us != 0 &&
        now_us - groups->asked_us > (int64_t)ANSWER_SECONDS_MAX * 1000000) {
        groups_lose_helper(groups, "did not answer");
    } else if (groups->asked_us == 0 && (groups->helper != 0 || groups_start_helper(groups))) {
        if (!token_is_wanted(TOKEN_KAFKA)) {
            groups_ask(groups, NULL);
        } else if (groups->wait == NULL) {
            groups->wait = token_ask(TOKEN_KAFKA, true, groups_on_token, groups);
        }
    }
}

/* Life. */

static bool groups_wanted(const Config *config)
{
    return config_has_sink(config, SINK_KAFKA) && config->monitor.consumer_groups.count > 0;
}

Groups *groups_new(const GroupsOptions *options)
{
    if (!groups_wanted(options->config)) {
        return NULL;
    }
    Groups *groups = x_calloc(1, sizeof(*groups));
    groups->options = *options;
    groups->shown = groups_shown_new(options->metrics);
    groups->trouble = groups_trouble_new(options->metrics);
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
    token_forget(&old->wait);
    if (old->helper != 0) {
        free(groups_end_helper(old));
    }
    groups_shown_clear(old->shown); /* who comes after it may look at others */
    groups_shown_free(&old->shown);
    groups_trouble_free(&old->trouble);
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
    groups_trouble_status(groups->trouble, object);
    document_number(object, "objective_seconds", "%.3f",
                    (double)groups->options.config->monitor.lag_objective_ms / 1e3);
    json_t *rows = document_array(object, "groups");
    groups_shown_status(groups->shown, rows);
}
