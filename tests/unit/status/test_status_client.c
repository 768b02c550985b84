/* The client against a server of ours that answers anything, whole or cut. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "status/status_client.h"

typedef struct Server {
    int fd;
    pthread_t thread;
    const char *answer; /* NULL: accept, and say nothing until the client leaves */
    char request[512];
    char address[64];
} Server;

static void *serve(void *arg)
{
    Server *server = arg;
    int client = accept(server->fd, NULL, NULL);
    ssize_t count = recv(client, server->request, sizeof(server->request) - 1, 0);
    server->request[count > 0 ? count : 0] = '\0';
    if (server->answer != NULL) {
        for (const char *c = server->answer; *c != '\0'; c++) {
            (void)send(client, c, 1, MSG_NOSIGNAL); /* in many pieces */
        }
    } else {
        char byte;
        (void)recv(client, &byte, 1, 0);
    }
    close(client);
    return NULL;
}

static void start(Server *server, const char *answer)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof(address);
    server->answer = answer;
    server->fd = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_eq(bind(server->fd, (struct sockaddr *)&address, length), 0);
    cr_assert_eq(listen(server->fd, 4), 0);
    getsockname(server->fd, (struct sockaddr *)&address, &length);
    snprintf(server->address, sizeof(server->address), "0.0.0.0:%u", ntohs(address.sin_port));
    cr_assert_eq(pthread_create(&server->thread, NULL, serve, server), 0);
}

static Status ask(const char *answer, Text *body, Error *err)
{
    static Server server;
    start(&server, answer);
    Status status = status_client_get(server.address, "/status", body, err);
    pthread_join(server.thread, NULL);
    close(server.fd);
    cr_assert_eq(strncmp(server.request, "GET /status HTTP/1.1\r\nHost: ", 28), 0);
    return status;
}

Test(status_client, body_of_a_200_answer_is_returned)
{
    AUTO_BUFFER body = TEXT_EMPTY;
    AUTO_ERROR err = {0};
    cr_assert_eq(ask("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}\n", &body, &err), OK, "%s",
                 error_message(&err));
    cr_assert_str_eq(text_string(&body), "{}\n");
}

Test(status_client, other_programs_are_recognised)
{
    const char *answers[] = {"",
                             "SSH-2.0-OpenSSH_9.2\r\n",
                             "HTTP/1.1 404 Not Found\r\n\r\n",
                             "HTTP/1.1 200 OK\r\nContent-Type",
                             "HTTP/1.",
                             "HTTP/1.1 2000 OK\r\n\r\n"};
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        AUTO_BUFFER body = TEXT_EMPTY;
        AUTO_ERROR err = {0};
        cr_assert_eq(ask(answers[i], &body, &err), FAILED, "%s", answers[i]);
        cr_assert_eq(err.code, CODE_RELAY_ANSWER);
        cr_assert_eq(body.length, 0);
    }
}

Test(status_client, a_body_is_one_object_with_pipelines)
{
    static const struct {
        Slice body;
        bool good;
    } BODIES[] = {{SLICE_LITERAL("{\"pipelines\":[]}"), true},
                  {SLICE_LITERAL("{\"pipelines\":{}}"), false},
                  {SLICE_LITERAL("[1]"), false},
                  {SLICE_LITERAL("{\"pipelines\":[],\"a\":1\0}"), false},
                  {SLICE_LITERAL(""), false}};
    for (size_t i = 0; i < sizeof(BODIES) / sizeof(BODIES[0]); i++) {
        AUTO_BUFFER body = TEXT_EMPTY;
        json_t *object = NULL;
        AUTO_ERROR err = {0};
        text_add_slice(&body, BODIES[i].body);
        bool good = status_client_object("127.0.0.1:1", &body, &object, &err) == OK;
        cr_assert_eq(good, BODIES[i].good, "%zu", i);
        cr_assert_eq(err.code, good ? CODE_NONE : CODE_RELAY_ANSWER);
        json_decref(object);
    }
}

Test(status_client, relay_that_hangs_is_given_up_on, .timeout = 20)
{
    AUTO_BUFFER body = TEXT_EMPTY;
    AUTO_ERROR err = {0};
    int64_t started = clock_monotonic_us();
    cr_assert_eq(ask(NULL, &body, &err), FAILED);
    cr_assert_eq(err.code, CODE_RELAY_SILENT);
    cr_assert_not_null(strstr(error_message(&err), "no complete answer"));
    cr_assert_geq(clock_monotonic_us() - started, STATUS_CLIENT_TIMEOUT_MS * INT64_C(1000));
}

Test(status_client, nobody_listening_is_said_with_the_address)
{
    Server server = {.fd = socket(AF_INET, SOCK_STREAM, 0)};
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof(address);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    cr_assert_eq(bind(server.fd, (struct sockaddr *)&address, length),
                 0); /* taken, not listening */
    getsockname(server.fd, (struct sockaddr *)&address, &length);
    char text[64];
    snprintf(text, sizeof(text), "127.0.0.1:%u", ntohs(address.sin_port));
    AUTO_BUFFER body = TEXT_EMPTY;
    AUTO_ERROR err = {0};
    cr_assert_eq(status_client_get(text, "/status", &body, &err), FAILED);
    cr_assert_eq(err.code, CODE_RELAY_SILENT);
    cr_assert_not_null(strstr(error_message(&err), text));
    cr_assert_not_null(strstr(error_message(&err), "refused"));
    close(server.fd);
}

Test(status_client, port_zero_cannot_be_asked)
{
    AUTO_BUFFER body = TEXT_EMPTY;
    AUTO_ERROR err = {0};
    cr_assert_eq(status_client_get("127.0.0.1:0", "/status", &body, &err), FAILED);
    cr_assert_eq(err.code, CODE_RELAY_SILENT);
}
