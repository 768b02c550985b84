/* The endpoint over real sockets: the loop turns in a thread beside that of the endpoint, the test
 * is the clients. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "metrics/http.h"
#include "metrics/monitor.h"

enum { CLIENT_WAIT_MS = 10000 };

static struct {
    pthread_t thread;
    struct event_base *base;
    struct event *stop;
    struct event *tick;
    Metrics *metrics;
    Monitor *monitor;
    struct sockaddr_in address;
    atomic_bool ready;
    atomic_bool hangs;    /* the loop, in one turn ... */
    atomic_bool hanging;  /* ... which has begun */
    atomic_long statuses; /* that were filled */
    int64_t still_ms_max; /* 0: the monitor's */
    atomic_long ticks;
    atomic_long last_tick_us;
    atomic_long longest_gap_us; /* between two turns of the loop: what the data path would notice */
} server;

static bool on_ready(void *arg, Text *reason)
{
    (void)arg;
    if (!server.ready) {
        text_add(reason,
                 "orders: starting\naudit: stalled: topic \"audit.events\" does not exist\n");
    }
    return server.ready;
}

static void on_status(void *arg, Text *json)
{
    (void)arg;
    server.statuses++;
    text_add(json, "{\"name\":\"shop\"}");
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
    long now = (long)clock_monotonic_us();
    long gap = now - server.last_tick_us;
    if (server.last_tick_us != 0 && gap > server.longest_gap_us) {
        server.longest_gap_us = gap;
    }
    server.last_tick_us = now;
    server.ticks++;
    monitor_beat(server.monitor);
    while (server.hangs) {
        server.hanging = true;
        (void)poll(NULL, 0, 1);
    }
    server.hanging = false;
}

static void on_stop(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    event_base_loopbreak(arg);
}

static void *turn(void *arg)
{
    (void)arg;
    event_base_dispatch(server.base);
    return NULL;
}

static int stop_pipe[2];

static void start(void)
{
    struct rlimit files = {0};
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max < 4096 ? files.rlim_max : 4096;
    setrlimit(RLIMIT_NOFILE, &files);
    log_configure(LOG_FORMAT_LOGFMT, LOG_ERROR);

    server.ready = true;
    server.base = event_base_new();
    server.metrics = metrics_new();
    *metrics_counter(server.metrics, "test_total", "Test.", NULL) = 41;
    const MonitorSources sources = {
        .ready = on_ready, .status = on_status, .still_ms_max = server.still_ms_max};
    AUTO_ERROR err = {0};
    Status status =
        monitor_start(server.base, "127.0.0.1:0", server.metrics, &sources, &server.monitor, &err);
    cr_assert_eq(status, OK, "%s", error_message(&err));
    server.address.sin_family = AF_INET;
    server.address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    server.address.sin_port =
        htons((uint16_t)atoi(strrchr(monitor_address(server.monitor), ':') + 1));

    server.tick = event_new(server.base, -1, EV_PERSIST, on_tick, NULL);
    event_add(server.tick, &(struct timeval){.tv_usec = 1000});
    cr_assert_eq(pipe(stop_pipe), 0);
    server.stop = event_new(server.base, stop_pipe[0], EV_READ, on_stop, server.base);
    event_add(server.stop, NULL);
    cr_assert_eq(pthread_create(&server.thread, NULL, turn, NULL), 0);
}

static void start_impatient(void)
{
    server.still_ms_max = 400;
    start();
}

static void finish(void)
{
    server.hangs = false;
    cr_assert_eq(write(stop_pipe[1], "x", 1), 1);
    pthread_join(server.thread, NULL);
    monitor_stop(&server.monitor);
    cr_assert_null(server.monitor);
    event_free(server.tick);
    event_free(server.stop);
    event_base_free(server.base);
    metrics_free(&server.metrics);
    close(stop_pipe[0]);
    close(stop_pipe[1]);
}

TestSuite(monitor, .init = start, .fini = finish, .timeout = 60);
TestSuite(monitor_impatient, .init = start_impatient, .fini = finish, .timeout = 60);

static void wait_until(const atomic_bool *flag)
{
    int64_t until = clock_monotonic_us() + CLIENT_WAIT_MS * INT64_C(1000);
    while (!*flag && clock_monotonic_us() < until) {
        (void)poll(NULL, 0, 1);
    }
    cr_assert(*flag);
}

static void hang(void)
{
    server.hangs = true;
    wait_until(&server.hanging);
}

static int client_connect(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_geq(fd, 0, "socket: %s", strerror(errno));
    int failed = connect(fd, (struct sockaddr *)&server.address, sizeof(server.address));
    cr_assert_eq(failed, 0, "connect: %s", strerror(errno));
    return fd;
}

static void client_send(int fd, const char *bytes, size_t length)
{
    cr_assert_eq(send(fd, bytes, length, MSG_NOSIGNAL), (ssize_t)length);
}

/* Reads until the server closes; false when it takes longer than CLIENT_WAIT_MS, or on a reset. */
static bool client_read_all(int fd, Text *out)
{
    int64_t until = clock_monotonic_us() + CLIENT_WAIT_MS * INT64_C(1000);
    text_clear(out);
    for (;;) {
        int64_t left_ms = (until - clock_monotonic_us()) / 1000;
        struct pollfd readable = {.fd = fd, .events = POLLIN};
        if (left_ms <= 0 || poll(&readable, 1, (int)left_ms) == 0) {
            return false;
        }
        char buffer[16384];
        ssize_t count = recv(fd, buffer, sizeof(buffer), 0);
        if (count < 0) {
            return false;
        }
        if (count == 0) {
            return true;
        }
        text_append(out, buffer, (size_t)count);
    }
}

static void request(const char *head, Text *out)
{
    int fd = client_connect();
    client_send(fd, head, strlen(head));
    cr_assert(client_read_all(fd, out), "no whole answer to: %s", head);
    close(fd);
}

static const char *get(const char *target, Text *out)
{
    AUTO_BUFFER head = TEXT_EMPTY;
    text_printf(&head, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", target);
    request(head.data, out);
    return text_string(out);
}

static const char *body_of(const char *answer)
{
    const char *end = strstr(answer, "\r\n\r\n");
    cr_assert_not_null(end);
    return end + 4;
}

static void expect_code(const char *answer, int code)
{
    char line[32];
    snprintf(line, sizeof(line), "HTTP/1.1 %d ", code);
    cr_assert_eq(strncmp(answer, line, strlen(line)), 0, "wanted %d, got: %s", code, answer);
}

Test(monitor, pages_have_their_content_type_and_length)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    const char *answer = get("/metrics", &out);
    expect_code(answer, 200);
    cr_assert_not_null(
        strstr(answer, "\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    cr_assert_not_null(strstr(answer, "\ntest_total 41\n"));
    char length[64];
    snprintf(length, sizeof(length), "\r\nContent-Length: %zu\r\n", strlen(body_of(answer)));
    cr_assert_not_null(strstr(answer, length));

    answer = get("/status", &out);
    expect_code(answer, 200);
    cr_assert_not_null(strstr(answer, "\r\nContent-Type: application/json\r\n"));
    cr_assert_str_eq(body_of(answer), "{\"name\":\"shop\"}\n");

    answer = get("/livez", &out);
    expect_code(answer, 200);
    cr_assert_str_eq(body_of(answer), "ok\n");
}

Test(monitor, readyz_says_why_not)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    const char *answer = get("/readyz", &out);
    expect_code(answer, 200);
    cr_assert_str_eq(body_of(answer), "ok\n");
    answer = get("/readyz?verbose", &out);
    cr_assert_str_eq(body_of(answer), "[+]loop ok\n[+]pipelines ok\nreadyz check passed\n");

    server.ready = false;
    answer = get("/readyz", &out);
    expect_code(answer, 503);
    cr_assert_str_eq(body_of(answer), "orders: starting\n"
                                      "audit: stalled: topic \"audit.events\" does not exist\n");
    answer = get("/readyz?x=1&verbose=1", &out);
    expect_code(answer, 503);
    cr_assert_str_eq(body_of(answer), "[+]loop ok\n[-]orders: starting\n"
                                      "[-]audit: stalled: topic \"audit.events\" does not exist\n"
                                      "readyz check failed\n");
    expect_code(get("/livez", &out), 200);
}

Test(monitor, a_page_of_the_web_cannot_read_a_loopback_listener)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    request("GET /status HTTP/1.1\r\nHost: rebound.example:9480\r\n\r\n", &out);
    expect_code(text_string(&out), 403);
    cr_assert_not_null(strstr(out.data, "localhost, 127.0.0.1 and [::1]"), "%s", out.data);
}

Test(monitor, unknown_page_lists_those_there_are)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    const char *pages[] = {"/", "/nosuch", "/metricsx", "/metric", "/livez/", "/%6Detrics"};
    for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
        const char *answer = get(pages[i], &out);
        expect_code(answer, 404);
        const char *paths[] = {"/livez", "/readyz", "/metrics", "/status"};
        for (size_t p = 0; p < sizeof(paths) / sizeof(paths[0]); p++) {
            cr_assert_not_null(strstr(body_of(answer), paths[p]));
        }
    }
    cr_assert_not_null(
        strstr(get("/metrics", &out), "outboxd_monitor_requests_total{path=\"other\"} 6\n"));
}

Test(monitor, head_has_the_length_but_no_body)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    request("HEAD /livez HTTP/1.1\r\nHost: localhost\r\n\r\n", &out);
    expect_code(out.data, 200);
    cr_assert_not_null(strstr(out.data, "\r\nContent-Length: 3\r\n"));
    cr_assert_str_eq(body_of(out.data), "");
}

Test(monitor, other_methods_and_bodies_are_refused)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    request("POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", &out);
    expect_code(out.data, 405);
    cr_assert_not_null(strstr(out.data, "\r\nAllow: GET, HEAD\r\n"));
    request("DELETE / HTTP/1.1\r\n\r\n", &out);
    expect_code(out.data, 405);
    request("GET /livez HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", &out);
    expect_code(out.data, 413);
    request("what is this\r\n\r\n", &out);
    expect_code(out.data, 400);
    request("GET / HTTP/2.0\r\n\r\n", &out);
    expect_code(out.data, 505);
}

Test(monitor, answer_arrives_whole_although_the_client_goes_on_sending)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    AUTO_BUFFER head = TEXT_EMPTY;
    text_add(&head, "POST /metrics HTTP/1.1\r\nContent-Length: 30000\r\n\r\n");
    for (int i = 0; i < 30000; i++) {
        text_add_char(&head, 'x');
    }
    for (int round = 0; round < 20; round++) {
        request(head.data, &out);
        expect_code(out.data, 405);
    }
}

Test(monitor, head_over_the_limit_is_refused)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    AUTO_BUFFER head = TEXT_EMPTY;
    text_add(&head, "GET /livez HTTP/1.1\r\nX: ");
    while (head.length < HTTP_HEADER_BYTES_MAX - 4) {
        text_add_char(&head, 'x');
    }
    AUTO_BUFFER longer = TEXT_EMPTY;
    text_printf(&longer, "%sx\r\n\r\n", head.data);
    text_add(&head, "\r\n\r\n");
    cr_assert_eq(head.length, HTTP_HEADER_BYTES_MAX);
    request(head.data, &out);
    expect_code(out.data, 200);
    request(longer.data, &out);
    expect_code(out.data, 431);
}

Test(monitor, request_in_single_bytes_is_served)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    const char head[] = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
    int fd = client_connect();
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, &on, sizeof(on));
    for (size_t i = 0; i < sizeof(head) - 1; i++) {
        client_send(fd, head + i, 1);
    }
    cr_assert(client_read_all(fd, &out));
    expect_code(out.data, 200);
    close(fd);
}

/* The classic slowloris: a byte now and then, so that no inactivity time-out ever strikes. */
Test(monitor, client_that_drips_bytes_is_closed_at_the_deadline)
{
    int64_t started = clock_monotonic_us();
    int fd = client_connect();
    client_send(fd, "GET /livez HTTP/1.1\r\n", 21);
    bool closed = false;
    while (!closed && clock_monotonic_us() - started < CLIENT_WAIT_MS * INT64_C(1000)) {
        struct pollfd readable = {.fd = fd, .events = POLLIN};
        if (poll(&readable, 1, 200) == 1) {
            char byte;
            closed = recv(fd, &byte, 1, 0) <= 0;
        } else {
            (void)send(fd, "X", 1, MSG_NOSIGNAL);
        }
    }
    int64_t took_ms = (clock_monotonic_us() - started) / 1000;
    cr_assert(closed, "still open after %ld ms", (long)took_ms);
    cr_assert(took_ms >= HTTP_DEADLINE_MS - 100, "closed too early, after %ld ms", (long)took_ms);
    close(fd);

    AUTO_BUFFER out = TEXT_EMPTY;
    get("/metrics", &out);
    cr_assert_not_null(
        strstr(out.data, "outboxd_monitor_connections_closed_total{reason=\"deadline\"} 1\n"));
}

Test(monitor, thousand_slow_clients_hurt_neither_the_loop_nor_a_probe)
{
    enum { CLIENTS = 1000 };
    static int clients[CLIENTS];
    AUTO_BUFFER out = TEXT_EMPTY;
    long ticks_before = server.ticks;
    int64_t started = clock_monotonic_us();
    int64_t slowest_probe_us = 0;
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = client_connect();
        (void)send(clients[i], "GET /metrics HTTP/1.1\r\nX: ", 26, MSG_NOSIGNAL);
        if (i % 100 == 99) {
            int64_t asked = clock_monotonic_us();
            expect_code(get("/livez", &out), 200);
            int64_t took = clock_monotonic_us() - asked;
            slowest_probe_us = took > slowest_probe_us ? took : slowest_probe_us;
        }
    }
    expect_code(get("/metrics", &out), 200);
    int64_t elapsed_us = clock_monotonic_us() - started;
    const char *open = strstr(out.data, "\noutboxd_monitor_connections ");
    cr_assert_not_null(open);
    cr_assert_leq(atoi(strrchr(strtok((char *)open + 1, "\n"), ' ')), HTTP_CONNECTIONS_MAX);

    cr_assert_lt(slowest_probe_us, 2000000);
    cr_assert_lt(server.longest_gap_us, 250000, "the loop stood still for %ld us",
                 (long)server.longest_gap_us);
    cr_assert_gt(server.ticks - ticks_before, elapsed_us / 1000 / 10, "the loop hardly turned");
    for (int i = 0; i < CLIENTS; i++) {
        close(clients[i]);
    }
}

Test(monitor, clients_that_do_not_read_their_answer_hold_nothing_for_long)
{
    enum { CLIENTS = HTTP_CONNECTIONS_MAX };
    int clients[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = client_connect();
        client_send(clients[i], "GET /metrics HTTP/1.1\r\n\r\n", 25);
    }
    AUTO_BUFFER out = TEXT_EMPTY;
    expect_code(get("/livez", &out), 200);
    int64_t until = clock_monotonic_us() + CLIENT_WAIT_MS * INT64_C(1000);
    bool gone = false;
    while (!gone && clock_monotonic_us() < until) {
        get("/metrics", &out);
        gone = strstr(out.data, "\noutboxd_monitor_connections 1\n") != NULL;
        (void)poll(NULL, 0, 20);
    }
    cr_assert(gone, "connections remain: %s", strstr(out.data, "\noutboxd_monitor_connections "));
    for (int i = 0; i < CLIENTS; i++) {
        close(clients[i]);
    }
}

/* With every descriptor taken, accept(2) fails although the socket stays readable: the loop must
 * not spin, and must serve again once there is a descriptor. */
Test(monitor, running_out_of_descriptors_does_not_stop_the_loop)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    int client = client_connect();
    expect_code(get("/livez", &out), 200);
    int late = socket(AF_INET, SOCK_STREAM, 0);
    int taken[4096];
    int count = 0;
    while (count < 4096 && (taken[count] = dup(client)) >= 0) {
        count++;
    }
    cr_assert_eq(connect(late, (struct sockaddr *)&server.address, sizeof(server.address)), 0);
    client_send(late, "GET /livez HTTP/1.1\r\n\r\n", 23);
    long ticks_before = server.ticks;
    int64_t until = clock_monotonic_us() + CLIENT_WAIT_MS * INT64_C(1000);
    while (server.ticks < ticks_before + 50 && clock_monotonic_us() < until) {
        (void)poll(NULL, 0, 5);
    }
    cr_assert_geq(server.ticks, ticks_before + 50);
    for (int i = 0; i < count; i++) {
        close(taken[i]);
    }
    cr_assert(client_read_all(late, &out));
    expect_code(out.data, 200);
    get("/metrics", &out);
    cr_assert_null(
        strstr(out.data, "outboxd_monitor_connections_closed_total{reason=\"accept_failed\"} 0\n"));
    close(client);
    close(late);
}

/* One event of half a gigabyte is read and decoded in one turn. */
Test(monitor, livez_answers_while_the_loop_is_in_a_long_turn_and_the_other_pages_after_it)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    hang();
    int waiting = client_connect();
    client_send(waiting, "GET /status HTTP/1.1\r\n\r\n", 24);
    int64_t slowest_us = 0;
    for (int i = 0; i < 50; i++) {
        int64_t asked_us = clock_monotonic_us();
        expect_code(get("/livez", &out), 200);
        int64_t took_us = clock_monotonic_us() - asked_us;
        slowest_us = took_us > slowest_us ? took_us : slowest_us;
    }
    cr_assert_lt(slowest_us, 1000000);
    cr_assert_eq(server.statuses, 0);
    cr_assert(server.hanging, "it was asked in one turn of the loop");
    server.hangs = false;
    cr_assert(client_read_all(waiting, &out));
    expect_code(text_string(&out), 200);
    cr_assert_str_eq(body_of(out.data), "{\"name\":\"shop\"}\n");
    close(waiting);
    cr_assert_not_null(strstr(get("/metrics", &out), "{path=\"/livez\"} 50\n"), "%s", out.data);
}

Test(monitor_impatient, livez_fails_when_the_loop_hangs_and_passes_when_it_turns_again)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    hang();
    int64_t since_us = clock_monotonic_us();
    int64_t until_us = since_us + CLIENT_WAIT_MS * INT64_C(1000);
    while (strncmp(get("/livez", &out), "HTTP/1.1 503 ", 13) != 0 &&
           clock_monotonic_us() < until_us) {
        (void)poll(NULL, 0, 5);
    }
    cr_assert_geq(clock_monotonic_us() - since_us, 300000);
    cr_assert_str_eq(body_of(out.data), "the loop has not turned for 0 s\n");
    expect_code(get("/livez?verbose", &out), 503);
    cr_assert_str_eq(body_of(out.data), "[-]the loop has not turned for 0 s\nlivez check failed\n");
    server.hangs = false;
    while (strncmp(get("/livez", &out), "HTTP/1.1 200 ", 13) != 0 &&
           clock_monotonic_us() < until_us) {
        (void)poll(NULL, 0, 5);
    }
    expect_code(text_string(&out), 200);
}

/* A probe gives up after a second and asks again, for as long as the loop hangs. */
Test(monitor, questions_of_clients_that_are_gone_are_not_kept_for_the_loop)
{
    enum { CLIENTS = 500 };
    AUTO_BUFFER out = TEXT_EMPTY;
    hang();
    for (int i = 0; i < CLIENTS; i++) {
        int client = client_connect();
        client_send(client, "GET /status HTTP/1.1\r\n\r\n", 24);
        close(client);
    }
    expect_code(get("/livez", &out), 200);
    server.hangs = false;
    expect_code(get("/readyz", &out), 200);
    cr_assert_leq(server.statuses, HTTP_CONNECTIONS_MAX + 1);
    expect_code(get("/status", &out), 200);
    get("/metrics", &out);
    cr_assert_not_null(strstr(out.data, "{path=\"/status\"} 501\n"), "%s", out.data);
}

Test(monitor_start, address_in_use_is_a_configuration_error)
{
    struct event_base *base = event_base_new();
    Metrics *metrics = metrics_new();
    const MonitorSources sources = {.ready = on_ready, .status = on_status};
    Monitor *first = NULL;
    Monitor *second = NULL;
    AUTO_ERROR err = {0};
    log_configure(LOG_FORMAT_LOGFMT, LOG_ERROR);
    cr_assert_eq(monitor_start(base, "127.0.0.1:0", metrics, &sources, &first, &err), OK);
    Status status = monitor_start(base, monitor_address(first), metrics, &sources, &second, &err);
    cr_assert_eq(status, FAILED);
    cr_assert_null(second);
    cr_assert_eq(err.class, ERROR_FATAL);
    cr_assert_eq(err.exit_code, EXIT_CONFIG);
    cr_assert_not_null(strstr(error_message(&err), "monitor.listen"));
    monitor_stop(&first);
    monitor_stop(&first);
    metrics_free(&metrics);
    event_base_free(base);
}

/* A start or an end that takes long: the loop does not turn yet, or any more. */
Test(monitor_start, livez_answers_without_a_loop_and_what_waits_for_one_holds_up_no_stop)
{
    struct event_base *base = event_base_new();
    Metrics *metrics = metrics_new();
    const MonitorSources sources = {.ready = on_ready, .status = on_status};
    Monitor *monitor = NULL;
    AUTO_ERROR err = {0};
    log_configure(LOG_FORMAT_LOGFMT, LOG_ERROR);
    cr_assert_eq(monitor_start(base, "127.0.0.1:0", metrics, &sources, &monitor, &err), OK);
    server.address.sin_family = AF_INET;
    server.address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    server.address.sin_port = htons((uint16_t)atoi(strrchr(monitor_address(monitor), ':') + 1));
    AUTO_BUFFER out = TEXT_EMPTY;
    int waiting = client_connect();
    client_send(waiting, "GET /status HTTP/1.1\r\n\r\n", 24);
    expect_code(get("/livez", &out), 200);
    monitor_stop(&monitor);
    cr_assert(client_read_all(waiting, &out) || errno == ECONNRESET);
    cr_assert_eq(out.length, 0);
    cr_assert_eq(server.statuses, 0);
    close(waiting);
    metrics_free(&metrics);
    event_base_free(base);
}
