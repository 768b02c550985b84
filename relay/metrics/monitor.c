/* A page is a row of PAGES: its path and the function that fills the answer.
 *
 * Sockets are served by a thread of its own, which touches nothing of the loop's. Most pages are
 * the loop's to fill: the request goes there as a question and comes back with the answer.
 *
 *     HTTP thread: request --> /livez, no such page ----------------------------> answer
 *                     |                                                            ^
 *                     `--> questions --> loop thread: page->fill --> answers ------'
 *
 * So a turn of the loop that takes seconds (one event of hundreds of megabytes, on a machine that
 * is busy with others) delays those pages and not /livez, which says when the loop turned last: by
 * monitor_beat, or by its answers. */
#include "metrics/monitor.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mailbox.h"
#include "base/memory.h"
#include "base/thread.h"
#include "metrics/address.h"
#include "metrics/http.h"

typedef struct Question Question;

typedef struct Page {
    const char *path;
    const char *what; /* for the list of pages */
    const char *content_type;
    void (*fill)(Monitor *monitor, Question *question); /* NULL: the HTTP thread does */
} Page;

static void monitor_metrics(Monitor *monitor, Question *question);
static void monitor_readyz(Monitor *monitor, Question *question);
static void monitor_status(Monitor *monitor, Question *question);

#define TEXT_TYPE "text/plain; charset=utf-8"

static const Page PAGES[] = {
    {"/livez", "200 while the loop turns", TEXT_TYPE, NULL},
    {"/readyz", "200 if publishing or a healthy standby, otherwise 503; ?verbose", TEXT_TYPE,
     monitor_readyz},
    {"/metrics", "Prometheus text format", "text/plain; version=0.0.4; charset=utf-8",
     monitor_metrics},
    {"/status", "what `outboxd status --json` prints", "application/json", monitor_status},
};
enum { PAGE_COUNT = sizeof(PAGES) / sizeof(PAGES[0]) };

/* What the HTTP thread counts. */
typedef struct Counts {
    HttpCounts connections;
    uint64_t requests[PAGE_COUNT + 1]; /* the last: of no page */
} Counts;

/* Belongs to the thread that has it. */
struct Question {
    Letter letter;
    uint64_t ticket;
    const Page *page;
    bool verbose;
    Counts counts; /* when it was asked */
    HttpAnswer answer;
};

/* Counts as metrics. */
typedef struct Series {
    uint64_t *requests[PAGE_COUNT + 1];
    double *connections;
    uint64_t *timed_out;
    uint64_t *evicted;
    uint64_t *refused;
} Series;

/* The HTTP thread's own. */
typedef struct Served {
    struct event_base *base;
    struct event *answers_io;
    HttpServer *server;
    Counts counts;
} Served;

struct Monitor {
    /* The loop thread's. */
    Metrics *metrics;
    Series *series; /* of the registry */
    MonitorSources sources;
    char address[128];
    struct event *questions_io;
    pthread_t thread;
    /* Of both. */
    Mailbox questions;
    Mailbox answers;
    atomic_llong turned_us; /* monotonic clock */
    atomic_bool ends;
    Served *http; /* the HTTP thread's, while it runs */
};

/* The loop thread: pages. */

static void series_show(const Series *series, const Counts *counts)
{
    *series->connections = counts->connections.open;
    *series->timed_out = counts->connections.timed_out;
    *series->evicted = counts->connections.evicted;
    *series->refused = counts->connections.refused;
    for (int i = 0; i <= PAGE_COUNT; i++) {
        *series->requests[i] = counts->requests[i];
    }
}

static void monitor_metrics(Monitor *monitor, Question *question)
{
    series_show(monitor->series, &question->counts);
    metrics_expose(monitor->metrics, &question->answer.body);
}

static void monitor_status(Monitor *monitor, Question *question)
{
    Text *body = &question->answer.body;
    monitor->sources.status(monitor->sources.arg, body);
    if (body->length > 0 && body->data[body->length - 1] != '\n') {
        text_add_char(body, '\n');
    }
}

/* "?verbose", "?verbose=1", "?a=b&verbose": as Kubernetes' own endpoints have it. */
static bool monitor_is_verbose(const HttpRequest *request)
{
    static const char WORD[] = "verbose";
    const size_t word = sizeof(WORD) - 1;
    Slice rest = request->query;
    while (rest.length >= word) {
        const char *next = memchr(rest.data, '&', rest.length);
        size_t length = next != NULL ? (size_t)(next - rest.data) : rest.length;
        if (length >= word && memcmp(rest.data, WORD, word) == 0 &&
            (length == word || rest.data[word] == '=')) {
            return true;
        }
        if (next == NULL) {
            return false;
        }
        rest.length -= length + 1;
        rest.data = next + 1;
    }
    return false;
}

/* Each line of the reason behind a mark. */
static void monitor_add_lines(Text *out, const char *mark, const char *lines)
{
    while (*lines != '\0') {
        size_t length = strcspn(lines, "\n");
        AUTO_TEXT line = x_strndup(lines, length); /* names of topics and the like: a terminal */
        text_add(out, mark);
        text_add_shown(out, line, false);
        text_add_char(out, '\n');
        lines += length + (lines[length] == '\n');
    }
}

static void monitor_readyz(Monitor *monitor, Question *question)
{
    HttpAnswer *answer = &question->answer;
    bool verbose = question->verbose;
    AUTO_BUFFER reason = TEXT_EMPTY;
    bool ready = monitor->sources.ready(monitor->sources.arg, &reason);
    answer->code = ready ? 200 : 503;
    if (verbose) {
        text_printf(&answer->body, "[+]loop ok\n%s", ready ? "[+]pipelines ok\n" : "");
    }
    if (ready && verbose) {
        monitor_add_lines(&answer->body, "[+]", text_string(&reason));
    }
    if (!ready) {
        const char *lines = reason.length > 0 ? text_string(&reason) : "not ready";
        monitor_add_lines(&answer->body, verbose ? "[-]" : "", lines);
    } else if (!verbose) {
        text_add(&answer->body, "ok\n");
    }
    if (verbose) {
        text_printf(&answer->body, "readyz check %s\n", ready ? "passed" : "failed");
    }
}

void monitor_beat(Monitor *monitor)
{
    if (monitor != NULL) {
        atomic_store(&monitor->turned_us, clock_monotonic_us());
    }
}

static void monitor_on_questions(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    Monitor *monitor = arg;
    MailboxLetters letters;
    mailbox_take(&monitor->questions, &letters);
    while (!TAILQ_EMPTY(&letters)) {
        Letter *letter = TAILQ_FIRST(&letters);
        TAILQ_REMOVE(&letters, letter, link);
        Question *question = (Question *)letter;
        question->page->fill(monitor, question);
        mailbox_put(&monitor->answers, letter);
    }
    monitor_beat(monitor);
}

/* The HTTP thread. */

static void question_drop(Letter *letter)
{
    Question *question = (Question *)letter;
    text_free(&question->answer.body);
    free(question);
}

static bool question_is_needed(void *arg, const Letter *letter)
{
    return http_server_waits(arg, ((const Question *)letter)->ticket);
}

/* Of a loop that does not turn at all nobody takes the questions: those of clients that have given
 * up go, so there are never many more than connections. */
static void monitor_ask(Monitor *monitor, const Page *page, bool verbose, uint64_t ticket)
{
    if (mailbox_count(&monitor->questions) >= HTTP_CONNECTIONS_MAX) {
        mailbox_sift(&monitor->questions, question_is_needed, monitor->http->server, question_drop);
    }
    Question *question = x_calloc(1, sizeof(*question));
    question->ticket = ticket;
    question->page = page;
    question->verbose = verbose;
    question->answer = (HttpAnswer){.code = 200, .content_type = page->content_type};
    question->counts = monitor->http->counts;
    question->counts.connections = *http_server_counts(monitor->http->server);
    mailbox_put(&monitor->questions, &question->letter);
}

static void monitor_livez(Monitor *monitor, bool verbose, HttpAnswer *answer)
{
    int64_t still_ms = (clock_monotonic_us() - atomic_load(&monitor->turned_us)) / 1000;
    answer->content_type = TEXT_TYPE;
    if (still_ms > monitor->sources.still_ms_max) {
        answer->code = 503;
        text_printf(&answer->body, "%sthe loop has not turned for %lld s\n%s", verbose ? "[-]" : "",
                    (long long)still_ms / 1000, verbose ? "livez check failed\n" : "");
    } else {
        text_add(&answer->body, verbose ? "[+]loop ok\nlivez check passed\n" : "ok\n");
    }
}

static bool monitor_handle(void *arg, const HttpRequest *request, uint64_t ticket,
                           HttpAnswer *answer)
{
    Monitor *monitor = arg;
    for (int i = 0; i < PAGE_COUNT; i++) {
        const Page *page = &PAGES[i];
        if (!slice_equal(request->path, slice_of(page->path))) {
            continue;
        }
        bool verbose = monitor_is_verbose(request);
        monitor->http->counts.requests[i]++;
        if (page->fill != NULL) {
            monitor_ask(monitor, page, verbose, ticket);
            return false;
        }
        monitor_livez(monitor, verbose, answer);
        return true;
    }
    monitor->http->counts.requests[PAGE_COUNT]++;
    answer->code = 404;
    text_add(&answer->body, "no such page; there are\n");
    for (int i = 0; i < PAGE_COUNT; i++) {
        text_printf(&answer->body, "  %-9s %s\n", PAGES[i].path, PAGES[i].what);
    }
    return true;
}

static void monitor_on_answers(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    Monitor *monitor = arg;
    MailboxLetters letters;
    mailbox_take(&monitor->answers, &letters);
    while (!TAILQ_EMPTY(&letters)) {
        Letter *letter = TAILQ_FIRST(&letters);
        TAILQ_REMOVE(&letters, letter, link);
        Question *question = (Question *)letter;
        http_server_answer(monitor->http->server, question->ticket, &question->answer);
        question_drop(letter);
    }
    if (atomic_load(&monitor->ends)) {
        event_base_loopbreak(monitor->http->base);
    }
}

static void *monitor_serve(void *arg)
{
    Monitor *monitor = arg;
    event_base_dispatch(monitor->http->base);
    return NULL;
}

/* Starting and ending. */

static uint64_t *closed_counter(Metrics *metrics, const char *reason)
{
    return metrics_counter(metrics, "outboxd_monitor_connections_closed_total",
                           "Connections to the HTTP endpoint that ended without a complete answer.",
                           "reason", reason, NULL);
}

static Series *series_new(Metrics *metrics)
{
    Series *series = metrics_keep(metrics, sizeof(*series));
    series->connections = metrics_gauge(metrics, "outboxd_monitor_connections",
                                        "Open connections to the HTTP endpoint.", NULL);
    series->timed_out = closed_counter(metrics, "deadline");
    series->evicted = closed_counter(metrics, "evicted");
    series->refused = closed_counter(metrics, "accept_failed");
    for (int i = 0; i <= PAGE_COUNT; i++) {
        series->requests[i] = metrics_counter(metrics, "outboxd_monitor_requests_total",
                                              "Requests to the HTTP endpoint.", "path",
                                              i < PAGE_COUNT ? PAGES[i].path : "other", NULL);
    }
    return series;
}

Status monitor_start(struct event_base *base, const char *listen, Metrics *metrics,
                     const MonitorSources *sources, Monitor **ret_monitor, Error *err)
{
    Address address;
    int sockets[ADDRESS_SOCKETS_MAX];
    int socket_count = 0;
    if (address_parse(listen, &address, err) != OK ||
        address_listen(&address, sockets, &socket_count, err) != OK) {
        return FAILED;
    }
    Monitor *monitor = x_calloc(1, sizeof(*monitor));
    monitor->metrics = metrics;
    monitor->sources = *sources;
    if (sources->still_ms_max == 0) {
        monitor->sources.still_ms_max = MONITOR_STILL_MS_MAX;
    }
    monitor->series = series_new(metrics);
    for (int i = 0; i < socket_count; i++) {
        char bound[sizeof(monitor->address)];
        address_of_socket(sockets[i], bound, sizeof(bound));
        log_write(LOG_INFO, NULL, CODE_MONITOR_LISTENING, LOG_FIELDS(log_text("address", bound)),
                  "metrics, health and status over HTTP");
        if (i == 0) {
            memcpy(monitor->address, bound, sizeof(bound));
        }
    }
    mailbox_init(&monitor->questions);
    mailbox_init(&monitor->answers);
    monitor->questions_io = event_new(base, mailbox_fd(&monitor->questions), EV_READ | EV_PERSIST,
                                      monitor_on_questions, monitor);
    event_add(monitor->questions_io, NULL);
    monitor_beat(monitor);
    monitor->http = x_calloc(1, sizeof(*monitor->http));
    monitor->http->base = event_base_new();
    monitor->http->answers_io = event_new(monitor->http->base, mailbox_fd(&monitor->answers),
                                          EV_READ | EV_PERSIST, monitor_on_answers, monitor);
    event_add(monitor->http->answers_io, NULL);
    monitor->http->server =
        http_server_new(monitor->http->base, sockets, socket_count, monitor_handle, monitor);
    thread_start(&monitor->thread, monitor_serve, monitor);
    *ret_monitor = monitor;
    return OK;
}

void monitor_stop(Monitor **monitor)
{
    Monitor *old = *monitor;
    if (old == NULL) {
        return;
    }
    atomic_store(&old->ends, true);
    mailbox_wake(&old->answers);
    pthread_join(old->thread, NULL);
    http_server_free(&old->http->server);
    event_free(old->http->answers_io);
    event_base_free(old->http->base);
    free(old->http);
    event_free(old->questions_io);
    mailbox_release(&old->questions, question_drop);
    mailbox_release(&old->answers, question_drop);
    free(old);
    *monitor = NULL;
}

const char *monitor_address(const Monitor *monitor)
{
    return monitor->address;
}
