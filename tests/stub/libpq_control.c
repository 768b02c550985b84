/* What a test says and asks: how calls fail, what comes late, how many connections there are. */
#include <stdlib.h>
#include <string.h>

#include "stub/libpq_internal.h"

void stub_reset(StubServer server, void *arg)
{
    for (size_t i = 0; i < KEYWORDS_MAX; i++) {
        free(stub.keywords[i][0]);
        free(stub.keywords[i][1]);
        stub.keywords[i][0] = stub.keywords[i][1] = NULL;
    }
    stub.server = server;
    stub.arg = arg;
    stub.pieces = stub.slow_flushes = stub.fail_at = stub.failures = 0;
    stub.lie_at = stub.lies = 0;
    stub.permille = 0;
    stub.version = 150000;
    stub.encoding = NULL;
    stub.refuse_start = stub.refuse_poll = stub.refuse_open = NULL;
    stub.stay_connecting = stub.loses_sync = stub.pooled = false;
    stub.mark[0] = '\0';
    stub.connections = stub.cancels = 0;
    memset(stub.cancelled, 0, sizeof(stub.cancelled));
}

void stub_continue(void)
{
    for (size_t i = 0; i < sizeof(stub.list) / sizeof(stub.list[0]); i++) {
        PGconn *conn = stub.list[i];
        StubReply *reply = conn != NULL ? conn->reply : NULL;
        if (reply != NULL && reply->arrived < reply->count &&
            reply->items[reply->arrived].kind == ITEM_HANG) {
            memmove(&reply->items[reply->arrived], &reply->items[reply->arrived + 1],
                    (reply->count - reply->arrived - 1) * sizeof(Item));
            reply->count--;
            stub_make_readable(conn);
        }
    }
}

void stub_set_pieces(size_t pieces)
{
    stub.pieces = pieces;
}

void stub_lose_sync(bool lose)
{
    stub.loses_sync = lose;
}

void stub_set_slow_flushes(size_t count)
{
    stub.slow_flushes = count;
}

void stub_refuse_start(const char *message)
{
    stub.refuse_start = message;
}

void stub_refuse_open(const char *sqlstate)
{
    stub.refuse_open = sqlstate;
}

void stub_set_pooled(bool pooled)
{
    stub.pooled = pooled;
}

const char *stub_session_mark(void)
{
    return stub.mark;
}

void stub_refuse_poll(const char *message)
{
    stub.refuse_poll = message;
}

void stub_stay_connecting(bool stay)
{
    stub.stay_connecting = stay;
}

void stub_notify(int connection, const char *channel)
{
    for (size_t i = 0; i < sizeof(stub.list) / sizeof(stub.list[0]); i++) {
        if (stub.list[i] != NULL && stub.list[i]->number == connection) {
            free(stub.list[i]->notification);
            stub.list[i]->notification = strdup(channel);
            stub_make_readable(stub.list[i]);
        }
    }
}

void stub_set_encoding(const char *encoding)
{
    stub.encoding = encoding;
}

void stub_set_version(int version)
{
    stub.version = version;
}

void stub_break_idle(int connection)
{
    for (size_t i = 0; i < sizeof(stub.list) / sizeof(stub.list[0]); i++) {
        if (stub.list[i] != NULL && stub.list[i]->number == connection) {
            stub.list[i]->broken = true;
            stub_make_readable(stub.list[i]);
        }
    }
}

void stub_fail_at(size_t n, bool hard)
{
    stub.fail_at = n;
    stub.hard = hard;
}

void stub_fail_often(unsigned permille, uint64_t seed)
{
    pthread_mutex_lock(&stub.lock);
    stub.permille = permille;
    stub.random = random_new(seed);
    pthread_mutex_unlock(&stub.lock);
}

size_t stub_failures(void)
{
    return stub.failures;
}

const char *stub_connect_value(const char *keyword)
{
    for (size_t i = 0; i < KEYWORDS_MAX && stub.keywords[i][0] != NULL; i++) {
        if (strcmp(stub.keywords[i][0], keyword) == 0) {
            return stub.keywords[i][1];
        }
    }
    return NULL;
}

int stub_connections(void)
{
    return stub.connections;
}

int stub_open_connections(void)
{
    return stub.open_connections;
}

int stub_open_results(void)
{
    return stub.open_results;
}

int stub_cancels(void)
{
    pthread_mutex_lock(&stub.lock);
    int cancels = stub.cancels;
    pthread_mutex_unlock(&stub.lock);
    return cancels;
}
