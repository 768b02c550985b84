/* A page is a row of PAGES: its path and the function that fills the answer. */
#include "metrics/monitor.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memory.h"
#include "metrics/address.h"
#include "metrics/http.h"

typedef struct Page {
    const char *path;
    const char *what; /* for the list of pages */
    const char *content_type;
    void (*fill)(Monitor *monitor, const HttpRequest *request, HttpAnswer *answer);
} Page;

static void monitor_metrics(Monitor *monitor, const HttpRequest *request, HttpAnswer *answer);
static void monitor_livez(Monitor *monitor, const HttpRequest *request, HttpAnswer *answer);
static void monitor_readyz(Monitor *monitor, const HttpRequest *request, HttpAnswer *answer);
static void monitor_status(Monitor *monitor, const HttpRequest *request, HttpAnswer *answer);

#define TEXT_TYPE "text/plain; charset=utf-8"

static const Page PAGES[] = {
    {"/livez", "200 while the loop turns", TEXT_TYPE, monitor_livez},
    {"/readyz", "200 when publishing or a healthy standby, else 503; ?verbose", TEXT_TYPE,
     monitor_readyz},
    {"/metrics", "Prometheus text format", "text/plain; version=0.0.4; charset=utf-8",
     monitor_metrics},
    {"/status", "what `outboxd status --json` prints", "application/json", monitor_status},
};
enum { PAGE_COUNT = sizeof(PAGES) / sizeof(PAGES[0]) };

struct Monitor {
    HttpServer *server;
    Metrics *metrics;
    MonitorSources sources;
    char address[128];
    uint64_t *requests[PAGE_COUNT + 1]; /* the last: of no page */
    double *connections;
    uint64_t *timed_out;
    uint64_t *evicted;
    uint64_t *refused;
};

static void monitor_metrics(Monitor *monitor, const HttpRequest *request, HttpAnswer *answer)
{
    (void)request;
    const HttpCounts *counts = http_server_counts(monitor->server);
    *monitor->connections = counts->open;
    *monitor->timed_out = counts->timed_out;
    *monitor->evicted = counts->evicted;
    *monitor->refused = counts->refused;
    metrics_expose(monitor->metrics, &answer->body);
}

static void monitor_status(Monitor *monitor, const HttpRequest *request, HttpAnswer *answer)
{
    (void)request;
    monitor->sources.status(monitor->sources.arg, &answer->body);
    const Text *body = &answer->body;
    if (body->length > 0 && body->data[body->length - 1] != '\n') {
        text_add_char(&answer->body, '\n');
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

static void monitor_livez(Monitor *monitor, const HttpRequest *request, HttpAnswer *answer)
{
    (void)monitor;
    if (monitor_is_verbose(request)) {
        text_add(&answer->body, "[+]loop ok\nlivez check passed\n");
    } else {
        text_add(&answer->body, "ok\n");
    }
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

static void monitor_readyz(Monitor *monitor, const HttpRequest *request, HttpAnswer *answer)
{
    AUTO_BUFFER reason = TEXT_EMPTY;
    bool ready = monitor->sources.ready(monitor->sources.arg, &reason);
    bool verbose = monitor_is_verbose(request);
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

static void monitor_handle(void *arg, const HttpRequest *request, HttpAnswer *answer)
{
    Monitor *monitor = arg;
    for (int i = 0; i < PAGE_COUNT; i++) {
        if (slice_equal(request->path, slice_of(PAGES[i].path))) {
            (*monitor->requests[i])++;
            answer->content_type = PAGES[i].content_type;
            PAGES[i].fill(monitor, request, answer);
            return;
        }
    }
    (*monitor->requests[PAGE_COUNT])++;
    answer->code = 404;
    text_add(&answer->body, "no such page; there are\n");
    for (int i = 0; i < PAGE_COUNT; i++) {
        text_printf(&answer->body, "  %-9s %s\n", PAGES[i].path, PAGES[i].what);
    }
}

static uint64_t *monitor_closed_counter(Monitor *monitor, const char *reason)
{
    return metrics_counter(monitor->metrics, "outboxd_monitor_connections_closed_total",
                           "Connections to the HTTP endpoint that ended without a whole answer.",
                           "reason", reason, NULL);
}

static void monitor_add_metrics(Monitor *monitor)
{
    monitor->connections = metrics_gauge(monitor->metrics, "outboxd_monitor_connections",
                                         "Open connections to the HTTP endpoint.", NULL);
    monitor->timed_out = monitor_closed_counter(monitor, "deadline");
    monitor->evicted = monitor_closed_counter(monitor, "evicted");
    monitor->refused = monitor_closed_counter(monitor, "accept_failed");
    for (int i = 0; i <= PAGE_COUNT; i++) {
        monitor->requests[i] = metrics_counter(monitor->metrics, "outboxd_monitor_requests_total",
                                               "Requests to the HTTP endpoint.", "path",
                                               i < PAGE_COUNT ? PAGES[i].path : "other", NULL);
    }
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
    monitor_add_metrics(monitor);
    for (int i = 0; i < socket_count; i++) {
        char bound[sizeof(monitor->address)];
        address_of_socket(sockets[i], bound, sizeof(bound));
        log_write(LOG_INFO, NULL, CODE_MONITOR_LISTENING, LOG_FIELDS(log_text("address", bound)),
                  "metrics, health and status over HTTP");
        if (i == 0) {
            memcpy(monitor->address, bound, sizeof(bound));
        }
    }
    monitor->server = http_server_new(base, sockets, socket_count, monitor_handle, monitor);
    *ret_monitor = monitor;
    return OK;
}

void monitor_stop(Monitor **monitor)
{
    if (*monitor == NULL) {
        return;
    }
    http_server_free(&(*monitor)->server);
    free(*monitor);
    *monitor = NULL;
}

const char *monitor_address(const Monitor *monitor)
{
    return monitor->address;
}
