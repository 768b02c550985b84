/* A connection reads a head into a fixed buffer, gets its answer, shuts down its sending side and
 * then drops what the client still sends (closing with unread bytes would reset the connection and
 * could destroy the answer on its way). One timer runs over all of that.
 *
 *     READING --head complete, or too long--> WRITING --all sent--> LINGERING --end of input-->
 * gone READING --the handler answers later--> ASKING --http_server_answer--> WRITING any state:
 * deadline, eviction, error --> gone
 */
#include "metrics/http.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"
#include "metrics/address.h"

typedef enum HttpState { HTTP_READING, HTTP_ASKING, HTTP_WRITING, HTTP_LINGERING } HttpState;

typedef struct HttpConnection {
    TAILQ_ENTRY(HttpConnection) link;
    HttpServer *server;
    HttpState state;
    bool head_only;  /* HEAD */
    uint64_t ticket; /* of the question while it is ASKING */
    int fd;
    const char *own; /* of a loopback listener: what it is bound to; else NULL */
    struct event io;
    struct event deadline;
    char head[HTTP_HEADER_BYTES_MAX];
    size_t head_length;
    Text answer; /* status line, fields and body */
    size_t sent;
    size_t lingered;
} HttpConnection;

struct HttpServer {
    struct event_base *base;
    HttpHandler handler;
    void *arg;
    int sockets[ADDRESS_SOCKETS_MAX];
    char own[ADDRESS_SOCKETS_MAX][64]; /* the address of a loopback listener, else "" */
    struct event accepts[ADDRESS_SOCKETS_MAX];
    int socket_count;
    struct event resume;                      /* accept again after a pause */
    TAILQ_HEAD(, HttpConnection) connections; /* oldest first */
    HttpCounts counts;
    uint64_t tickets;
};

static struct timeval http_interval(int ms)
{
    return (struct timeval){.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000L};
}

static void http_close(HttpConnection *connection)
{
    HttpServer *server = connection->server;
    event_del(&connection->io);
    event_del(&connection->deadline);
    close(connection->fd);
    TAILQ_REMOVE(&server->connections, connection, link);
    server->counts.open--;
    text_free(&connection->answer);
    free(connection);
}

static void http_evict_oldest(HttpServer *server)
{
    http_close(TAILQ_FIRST(&server->connections));
    server->counts.evicted++;
}

static const char *http_reason(int code)
{
    switch (code) {
    case 200:
        return "OK";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 413:
        return "Content Too Large";
    case 431:
        return "Request Header Fields Too Large";
    case 503:
        return "Service Unavailable";
    case 505:
        return "HTTP Version Not Supported";
    default:
        return "Bad Request";
    }
}

static void http_on_io(evutil_socket_t fd, short what, void *arg);

static void http_wait_for(HttpConnection *connection, short what)
{
    event_del(&connection->io);
    event_assign(&connection->io, connection->server->base, connection->fd,
                 (short)(what | EV_PERSIST), http_on_io, connection);
    event_add(&connection->io, NULL);
}

/* Sends what the socket takes. */
static void http_write(HttpConnection *connection)
{
    const Text *answer = &connection->answer;
    while (connection->sent < answer->length) {
        ssize_t count = send(connection->fd, answer->data + connection->sent,
                             answer->length - connection->sent, MSG_NOSIGNAL);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            http_wait_for(connection, EV_WRITE);
            return;
        }
        if (count < 0) {
            http_close(connection);
            return;
        }
        connection->sent += (size_t)count;
    }
    (void)shutdown(connection->fd, SHUT_WR);
    connection->state = HTTP_LINGERING;
    http_wait_for(connection, EV_READ);
}

static void http_answer(HttpConnection *connection, const HttpAnswer *page)
{
    Text *out = &connection->answer;
    char date[64];
    time_t now = time(NULL);
    struct tm parts;
    gmtime_r(&now, &parts);
    (void)strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &parts);

    text_printf(out,
                "HTTP/1.1 %d %s\r\nDate: %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
                "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n",
                page->code, http_reason(page->code), date, page->content_type, page->body.length);
    if (page->code == 405) {
        text_add(out, "Allow: GET, HEAD\r\n");
    }
    text_add(out, "Connection: close\r\n\r\n");
    if (!connection->head_only) {
        text_append(out, text_string(&page->body), page->body.length);
    }
    connection->state = HTTP_WRITING;
    http_write(connection);
}

static void http_serve(HttpConnection *connection, int code, size_t head_length)
{
    HttpRequest request = {0};
    if (code == 200) {
        code = http_request_parse(connection->head, head_length, &request);
    }
    bool stranger =
        code == 200 && connection->own != NULL && !http_request_is_local(&request, connection->own);
    connection->head_only = request.head;
    bool answered = true;
    HttpAnswer page = {.code = stranger ? 403 : code, .content_type = "text/plain; charset=utf-8"};
    if (stranger) {
        text_add(&page.body,
                 "This address answers only to the names localhost, 127.0.0.1 and [::1], so that "
                 "no web page can read it through another name. Use one of these names, or set "
                 "monitor.listen to an address that other machines can reach.\n");
    } else if (code == 200) {
        HttpServer *server = connection->server;
        connection->ticket = ++server->tickets;
        answered = server->handler(server->arg, &request, connection->ticket, &page);
    } else {
        text_printf(&page.body, "%d %s\n", code, http_reason(code));
    }
    if (answered) {
        http_answer(connection, &page);
    } else {
        connection->state = HTTP_ASKING;
        event_del(&connection->io); /* what else it sends can wait */
    }
    text_free(&page.body);
}

static void http_read(HttpConnection *connection)
{
    size_t before = connection->head_length;
    ssize_t count =
        recv(connection->fd, connection->head + before, HTTP_HEADER_BYTES_MAX - before, 0);
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
        return;
    }
    if (count <= 0) {
        http_close(connection);
        return;
    }
    connection->head_length += (size_t)count;
    size_t end = http_request_end(connection->head, connection->head_length, before);
    if (end > 0) {
        http_serve(connection, 200, end);
    } else if (connection->head_length == HTTP_HEADER_BYTES_MAX) {
        http_serve(connection, 431, 0);
    }
}

static void http_linger(HttpConnection *connection)
{
    char dropped[4096];
    ssize_t count = recv(connection->fd, dropped, sizeof(dropped), 0);
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
        return;
    }
    connection->lingered += count > 0 ? (size_t)count : 0;
    if (count <= 0 || connection->lingered > HTTP_LINGER_BYTES_MAX) {
        http_close(connection);
    }
}

static void http_on_io(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    HttpConnection *connection = arg;
    switch (connection->state) {
    case HTTP_READING:
        http_read(connection);
        break;
    case HTTP_ASKING:
        break;
    case HTTP_WRITING:
        http_write(connection);
        break;
    case HTTP_LINGERING:
        http_linger(connection);
        break;
    }
}

static void http_on_deadline(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    HttpConnection *connection = arg;
    if (connection->state != HTTP_LINGERING) {
        connection->server->counts.timed_out++;
    }
    http_close(connection);
}

static void http_open(HttpServer *server, int fd, const char *own)
{
    if (server->counts.open >= HTTP_CONNECTIONS_MAX) {
        http_evict_oldest(server);
    }
    HttpConnection *connection = x_malloc(sizeof(*connection));
    memset(connection, 0, offsetof(HttpConnection, head)); /* not the 8 KiB of the buffer */
    connection->server = server;
    connection->fd = fd;
    connection->own = *own != '\0' ? own : NULL;
    connection->head_length = 0;
    connection->answer = TEXT_EMPTY;
    connection->sent = 0;
    connection->lingered = 0;
    TAILQ_INSERT_TAIL(&server->connections, connection, link);
    server->counts.open++;
    event_assign(&connection->io, server->base, fd, EV_READ | EV_PERSIST, http_on_io, connection);
    event_add(&connection->io, NULL);
    evtimer_assign(&connection->deadline, server->base, http_on_deadline, connection);
    struct timeval deadline = http_interval(HTTP_DEADLINE_MS);
    event_add(&connection->deadline, &deadline);
}

static void http_pause(HttpServer *server, int ms)
{
    for (int i = 0; i < server->socket_count; i++) {
        event_del(&server->accepts[i]);
    }
    struct timeval pause = http_interval(ms);
    event_add(&server->resume, &pause);
}

static void http_on_resume(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    HttpServer *server = arg;
    for (int i = 0; i < server->socket_count; i++) {
        event_add(&server->accepts[i], NULL);
    }
}

static void http_on_accept(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    HttpServer *server = arg;
    int listener = 0;
    while (listener + 1 < server->socket_count && server->sockets[listener] != fd) {
        listener++;
    }
    for (int accepted = 0; accepted < HTTP_ACCEPTS_PER_PASS; accepted++) {
        int connected = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (connected >= 0) {
            http_open(server, connected, server->own[listener]);
            continue;
        }
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return;
        }
        if (errno == EINTR || errno == ECONNABORTED) {
            continue;
        }
        if (accepted > 0) {
            return; /* want of descriptors is reported even when nobody waits: ask the loop again */
        }
        server->counts.refused++;
        if (server->counts.open > 0) {
            http_evict_oldest(server); /* gives a descriptor back; the next pass tries again */
            return;
        }
        http_pause(server, HTTP_ACCEPT_RETRY_MS);
        return;
    }
    http_pause(server, HTTP_ACCEPT_PAUSE_MS);
}

HttpServer *http_server_new(struct event_base *base, const int *sockets, int socket_count,
                            HttpHandler handler, void *arg)
{
    HttpServer *server = x_calloc(1, sizeof(*server));
    server->base = base;
    server->handler = handler;
    server->arg = arg;
    server->socket_count = socket_count;
    TAILQ_INIT(&server->connections);
    evtimer_assign(&server->resume, base, http_on_resume, server);
    for (int i = 0; i < socket_count; i++) {
        server->sockets[i] = sockets[i];
        if (address_is_loopback(sockets[i])) {
            address_of_socket(sockets[i], server->own[i], sizeof(server->own[i]));
            *strrchr(server->own[i], ':') = '\0';
        }
        event_assign(&server->accepts[i], base, sockets[i], EV_READ | EV_PERSIST, http_on_accept,
                     server);
        event_add(&server->accepts[i], NULL);
    }
    return server;
}

void http_server_free(HttpServer **server)
{
    HttpServer *old = *server;
    if (old == NULL) {
        return;
    }
    while (!TAILQ_EMPTY(&old->connections)) {
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): TAILQ_REMOVE moved the head on
        http_close(TAILQ_FIRST(&old->connections));
    }
    for (int i = 0; i < old->socket_count; i++) {
        event_del(&old->accepts[i]);
        close(old->sockets[i]);
    }
    event_del(&old->resume);
    free(old);
    *server = NULL;
}

static HttpConnection *http_asking(const HttpServer *server, uint64_t ticket)
{
    HttpConnection *connection;
    TAILQ_FOREACH(connection, &server->connections, link)
    {
        if (connection->state == HTTP_ASKING && connection->ticket == ticket) {
            return connection;
        }
    }
    return NULL;
}

bool http_server_waits(const HttpServer *server, uint64_t ticket)
{
    return http_asking(server, ticket) != NULL;
}

void http_server_answer(HttpServer *server, uint64_t ticket, const HttpAnswer *answer)
{
    HttpConnection *connection = http_asking(server, ticket);
    if (connection != NULL) {
        http_answer(connection, answer);
    }
}

const HttpCounts *http_server_counts(const HttpServer *server)
{
    return &server->counts;
}
