/* Connections: made, watched, read and failed as libpq would. */
#include "stub/libpq.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pg/open.h"
#include "stub/libpq_internal.h"

Stub stub = {.lock = PTHREAD_MUTEX_INITIALIZER, .version = 150000};

/* Failures. */

typedef enum Failure { FAILURE_NONE, FAILURE_SOFT, FAILURE_HARD } Failure;

static Failure fails(void)
{
    Failure failure = FAILURE_NONE;
    pthread_mutex_lock(&stub.lock);
    if (stub.fail_at > 0 && --stub.fail_at == 0) {
        failure = stub.hard ? FAILURE_HARD : FAILURE_SOFT;
    } else if (stub.permille > 0 && random_below(&stub.random, 1000) < stub.permille) {
        failure = random_chance(&stub.random, 50) ? FAILURE_HARD : FAILURE_SOFT;
    }
    stub.failures += failure != FAILURE_NONE;
    pthread_mutex_unlock(&stub.lock);
    return failure;
}

bool stub_call_fails(void)
{
    return fails() != FAILURE_NONE;
}

static void conn_break(PGconn *conn, const char *state, const char *message)
{
    conn->status = CONNECTION_BAD;
    snprintf(conn->error, sizeof(conn->error), "%s", message);
    snprintf(conn->last_words, sizeof(conn->last_words), "%s", state != NULL ? state : "");
}

/* Connections. */

void stub_make_readable(PGconn *conn)
{
    if (write(conn->socket[1], "x", 1) != 1) {
        abort();
    }
}

static void conn_make_unreadable(PGconn *conn)
{
    char bytes[64];
    while (read(conn->socket[0], bytes, sizeof(bytes)) > 0) {
    }
}

PGconn *PQconnectStartParams(const char *const *keywords, const char *const *values, int expand)
{
    (void)expand;
    Failure failure = fails();
    if (failure == FAILURE_HARD) {
        return NULL; /* out of memory */
    }
    PGconn *conn = calloc(1, sizeof(*conn));
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, conn->socket) != 0) {
        abort();
    }
    pthread_mutex_lock(&stub.lock);
    conn->number = ++stub.connections;
    stub.open_connections++;
    for (size_t i = 0; i < sizeof(stub.list) / sizeof(stub.list[0]); i++) {
        if (stub.list[i] == NULL) {
            stub.list[i] = conn;
            break;
        }
    }
    for (size_t i = 0; i < KEYWORDS_MAX; i++) {
        free(stub.keywords[i][0]);
        free(stub.keywords[i][1]);
        stub.keywords[i][0] = stub.keywords[i][1] = NULL;
    }
    for (size_t i = 0; keywords[i] != NULL && i < KEYWORDS_MAX; i++) {
        stub.keywords[i][0] = strdup(keywords[i]);
        stub.keywords[i][1] = strdup(values[i]);
    }
    conn->status = CONNECTION_STARTED;
    if (stub.refuse_start != NULL || failure != FAILURE_NONE) {
        conn_break(conn, NULL, stub.refuse_start != NULL ? stub.refuse_start : "stub: start\n");
    }
    pthread_mutex_unlock(&stub.lock);
    return conn;
}

void PQfinish(PGconn *conn)
{
    if (conn == NULL) {
        return;
    }
    pthread_mutex_lock(&stub.lock);
    stub.open_connections--;
    for (size_t i = 0; i < sizeof(stub.list) / sizeof(stub.list[0]); i++) {
        stub.list[i] = stub.list[i] == conn ? NULL : stub.list[i];
    }
    pthread_mutex_unlock(&stub.lock);
    close(conn->socket[0]);
    close(conn->socket[1]);
    reply_free(conn->reply);
    free(conn->notification);
    free(conn);
}

PostgresPollingStatusType PQconnectPoll(PGconn *conn)
{
    conn_make_unreadable(conn);
    if (stub.stay_connecting) {
        return PGRES_POLLING_READING;
    }
    if (fails() != FAILURE_NONE) {
        conn_break(conn, NULL, "stub: poll\n");
        return PGRES_POLLING_FAILED;
    }
    switch (conn->polls++) {
    case 0:
        return PGRES_POLLING_WRITING;
    case 1:
        stub_make_readable(conn);
        return PGRES_POLLING_READING;
    default:
        if (stub.refuse_poll != NULL) {
            conn_break(conn, NULL, stub.refuse_poll);
            return PGRES_POLLING_FAILED;
        }
        conn->status = CONNECTION_OK;
        return PGRES_POLLING_OK;
    }
}

ConnStatusType PQstatus(const PGconn *conn)
{
    return conn != NULL ? conn->status : CONNECTION_BAD;
}

char *PQerrorMessage(const PGconn *conn)
{
    return conn != NULL ? (char *)conn->error : (char *)"connection pointer is NULL\n";
}

int PQsocket(const PGconn *conn)
{
    return conn->socket[0];
}

int PQsetnonblocking(PGconn *conn, int on)
{
    (void)conn;
    (void)on;
    return 0;
}

int PQserverVersion(const PGconn *conn)
{
    (void)conn;
    return stub.version;
}

const char *PQparameterStatus(const PGconn *conn, const char *name)
{
    (void)conn;
    if (strcmp(name, "server_encoding") == 0) {
        return stub.encoding != NULL ? stub.encoding : "UTF8";
    }
    return strcmp(name, "server_version") == 0 ? "15.20 (Debian 15.20-1)" : NULL;
}

char *PQhost(const PGconn *conn)
{
    (void)conn;
    return (char *)"db";
}

char *PQport(const PGconn *conn)
{
    (void)conn;
    return (char *)"5432";
}

PQnoticeProcessor PQsetNoticeProcessor(PGconn *conn, PQnoticeProcessor processor, void *arg)
{
    (void)conn;
    (void)processor;
    (void)arg;
    return NULL;
}

PGnotify *PQnotifies(PGconn *conn)
{
    if (conn->notification == NULL) {
        return NULL;
    }
    size_t length = strlen(conn->notification) + 1;
    PGnotify *notification = malloc(sizeof(*notification) + length);
    char *channel = (char *)(notification + 1);
    memcpy(channel, conn->notification, length);
    *notification = (PGnotify){.relname = channel, .be_pid = 1, .extra = channel + length - 1};
    free(conn->notification);
    conn->notification = NULL;
    return notification;
}

int PQbackendPID(const PGconn *conn)
{
    return 1000 + conn->number;
}

char *PQuser(const PGconn *conn)
{
    (void)conn;
    return (char *)"relay";
}

char *PQpass(const PGconn *conn)
{
    return (char *)(conn->password[0] != '\0' ? conn->password : "s3cret pass");
}

char *PQdb(const PGconn *conn)
{
    (void)conn;
    return (char *)"shop";
}

/* Queries. */

static int conn_send(PGconn *conn, StubQuery query)
{
    bool opens = query.sql != NULL && strncmp(query.sql, PG_OPEN_SQL, strlen(PG_OPEN_SQL)) == 0;
    const char *mark = opens ? strstr(query.sql, PG_SESSION_MARK "', '") : NULL;
    bool follows = conn->pipelined && conn->reading;
    if (conn->status != CONNECTION_OK || (conn->reading && !follows) ||
        (opens && mark == NULL) == conn->opened || (mark != NULL && !stub.pooled)) {
        abort(); /* the caller's mistake: a session begins with PG_OPEN_SQL, once */
    }
    Failure failure = fails();
    if (failure != FAILURE_NONE) {
        snprintf(conn->error, sizeof(conn->error), "cannot allocate memory for output buffer\n");
        if (failure == FAILURE_HARD) {
            conn_break(conn, NULL, "stub: send\n");
        }
        return 0;
    }
    pthread_mutex_lock(&stub.lock);
    stub.cancelled[conn->number] = false;
    pthread_mutex_unlock(&stub.lock);
    query.connection = conn->number;
    if (!follows) {
        reply_free(conn->reply);
        conn->reply = calloc(1, sizeof(*conn->reply));
    }
    conn->reading = true;
    if (reply_has_failed(conn->reply)) {
        reply_item(conn->reply, ITEM_RESULT)->result = result_of(PGRES_PIPELINE_ABORTED);
    } else if (opens) {
        conn->opened = true;
        if (stub.refuse_open != NULL) {
            stub_reply_error(conn->reply, stub.refuse_open, "stub: open");
        } else if (stub.pooled && mark == NULL) {
            stub_reply_no_row(conn->reply);
        } else {
            stub_reply_row(conn->reply, "set_config", "pg_catalog, pg_temp", NULL);
        }
        if (mark != NULL) {
            snprintf(stub.mark, sizeof(stub.mark), "%s", mark + strlen(PG_SESSION_MARK "', '"));
        }
    } else if (stub.server != NULL) {
        stub.server(stub.arg, &query, conn->reply);
        reply_lie(conn->reply, &query);
    }
    reply_end_copy(conn->reply);
    if (conn->pipelined) {
        reply_item(conn->reply, ITEM_RESULT); /* NULL */
    } else {
        stub_make_readable(conn);
    }
    return 1;
}

int PQenterPipelineMode(PGconn *conn)
{
    if (conn->status != CONNECTION_OK || conn->reading || conn->pipelined) {
        abort();
    }
    conn->pipelined = fails() == FAILURE_NONE;
    return conn->pipelined;
}

int PQpipelineSync(PGconn *conn)
{
    if (!conn->pipelined || !conn->reading) {
        abort();
    }
    if (fails() != FAILURE_NONE) {
        return 0;
    }
    if (!stub.loses_sync || !reply_has_failed(conn->reply)) {
        reply_item(conn->reply, ITEM_RESULT)->result = result_of(PGRES_PIPELINE_SYNC);
    }
    stub_make_readable(conn);
    return 1;
}

int PQexitPipelineMode(PGconn *conn)
{
    if (fails() != FAILURE_NONE) {
        return 0;
    }
    conn->pipelined = conn->reading = false;
    return 1;
}

int PQsendQuery(PGconn *conn, const char *sql)
{
    return conn_send(conn, (StubQuery){.sql = sql});
}

int PQsendQueryParams(PGconn *conn, const char *sql, int count, const Oid *types,
                      const char *const *values, const int *lengths, const int *formats, int format)
{
    (void)types;
    (void)format;
    return conn_send(conn, (StubQuery){.sql = sql,
                                       .param_count = count,
                                       .values = values,
                                       .lengths = lengths,
                                       .formats = formats});
}

int PQsendQueryPrepared(PGconn *conn, const char *statement, int count, const char *const *values,
                        const int *lengths, const int *formats, int format)
{
    (void)format;
    return conn_send(conn, (StubQuery){.statement = statement,
                                       .param_count = count,
                                       .values = values,
                                       .lengths = lengths,
                                       .formats = formats});
}

int PQflush(PGconn *conn)
{
    if (fails() != FAILURE_NONE) {
        conn->broken = true; /* found out by the next read */
        stub_make_readable(conn);
        return -1;
    }
    if (stub.slow_flushes > 0) {
        stub.slow_flushes--;
        return 1;
    }
    return 0;
}

/* A cancelled query ends with an error instead of what has not arrived yet. */
static void conn_look_for_cancel(PGconn *conn)
{
    pthread_mutex_lock(&stub.lock);
    bool cancelled = stub.cancelled[conn->number];
    stub.cancelled[conn->number] = false;
    pthread_mutex_unlock(&stub.lock);
    StubReply *reply = conn->reply;
    if (!cancelled || reply == NULL || !conn->reading || reply->arrived == reply->count) {
        return;
    }
    bool copying = false;
    for (size_t i = 0; i < reply->arrived; i++) {
        copying |= reply->items[i].kind == ITEM_RESULT && reply->items[i].result != NULL &&
                   reply->items[i].result->status == PGRES_COPY_OUT;
        copying = reply->items[i].kind == ITEM_COPY_ROW ||
                  (copying && reply->items[i].kind != ITEM_COPY_END);
    }
    for (size_t i = reply->arrived; i < reply->count; i++) {
        free(reply->items[i].bytes);
        PQclear(reply->items[i].result);
    }
    reply->count = reply->arrived;
    reply->copying = copying;
    stub_reply_error(reply, "57014", "canceling statement due to user request");
}

int PQconsumeInput(PGconn *conn)
{
    conn_make_unreadable(conn);
    if (conn->status != CONNECTION_OK || conn->broken) {
        conn_break(conn, NULL, "server closed the connection unexpectedly\n");
        return 0;
    }
    if (fails() != FAILURE_NONE) {
        conn_break(conn, NULL, "stub: input\n");
        return 0;
    }
    conn_look_for_cancel(conn);
    StubReply *reply = conn->reply;
    size_t pieces = stub.pieces > 0 ? stub.pieces : ITEMS_MAX;
    for (; reply != NULL && pieces > 0 && reply->arrived < reply->count; pieces--) {
        const Item *item = &reply->items[reply->arrived];
        if (item->kind == ITEM_HANG) {
            return 1;
        }
        if (item->kind == ITEM_BREAK) {
            conn_break(conn, item->state, "server closed the connection unexpectedly\n");
            return 0;
        }
        reply->arrived++;
    }
    if (reply != NULL && reply->arrived < reply->count) {
        stub_make_readable(conn);
    }
    return 1;
}

static const Item *conn_next(const PGconn *conn)
{
    const StubReply *reply = conn->reply;
    return reply != NULL && reply->taken < reply->arrived ? &reply->items[reply->taken] : NULL;
}

int PQisBusy(PGconn *conn)
{
    const StubReply *reply = conn->reply;
    return conn->status == CONNECTION_OK && conn->reading && conn_next(conn) == NULL &&
           reply->arrived < reply->count;
}

/* What is left of a reply is thrown away: only this error comes. */
static PGresult *conn_fail_reply(PGconn *conn, bool hard)
{
    conn->reply->taken = conn->reply->arrived = 0;
    for (size_t i = 0; i < conn->reply->count; i++) {
        free(conn->reply->items[i].bytes);
        PQclear(conn->reply->items[i].result);
    }
    conn->reply->count = 0;
    if (hard) {
        conn_break(conn, NULL, "stub: result\n");
        return result_error(NULL, "stub: result\n");
    }
    return result_error("53200", "out of memory");
}

int PQgetCopyData(PGconn *conn, char **ret_buffer, int async)
{
    (void)async;
    *ret_buffer = NULL;
    const Item *item = conn_next(conn);
    if (item == NULL && conn->status == CONNECTION_OK) {
        return 0;
    }
    Failure failure = fails();
    if (failure != FAILURE_NONE) {
        PGresult *result = conn_fail_reply(conn, failure == FAILURE_HARD);
        reply_item(conn->reply, ITEM_RESULT)->result = result;
        conn->reply->arrived = 1;
        return -2;
    }
    if (item == NULL || item->kind != ITEM_COPY_ROW) {
        conn->reply->taken += item != NULL && item->kind == ITEM_COPY_END;
        return -1;
    }
    *ret_buffer = malloc(item->length + 1);
    memcpy(*ret_buffer, item->bytes, item->length);
    conn->reply->taken++;
    return (int)item->length;
}

PGresult *PQgetResult(PGconn *conn)
{
    Item *item = (Item *)conn_next(conn);
    if (conn->status != CONNECTION_OK && item == NULL) {
        if (!conn->reading) {
            return NULL;
        }
        conn->reading = false;
        return result_error(conn->last_words, conn->error);
    }
    if (item == NULL) {
        conn->reading = false;
        return NULL;
    }
    Failure failure = fails();
    if (failure != FAILURE_NONE) {
        return conn_fail_reply(conn, failure == FAILURE_HARD);
    }
    if (item->kind != ITEM_RESULT && conn->status != CONNECTION_OK) {
        conn->reading = false; /* what was not taken went with the connection */
        return result_error(conn->last_words, conn->error);
    }
    if (item->kind != ITEM_RESULT) {
        abort(); /* the caller must take the rows of COPY first */
    }
    PGresult *result = item->result;
    item->result = NULL;
    conn->reply->taken++;
    conn->feeding = result != NULL && result->status == PGRES_COPY_IN;
    return result;
}

PGcancel *PQgetCancel(PGconn *conn)
{
    if (fails() != FAILURE_NONE) {
        return NULL;
    }
    PGcancel *cancel = malloc(sizeof(*cancel));
    cancel->number = conn->number;
    return cancel;
}

void PQfreeCancel(PGcancel *cancel)
{
    free(cancel);
}

int PQcancel(PGcancel *cancel, char *error, int size)
{
    if (cancel == NULL || fails() != FAILURE_NONE) {
        snprintf(error, (size_t)size, "stub: cancel\n");
        return 0;
    }
    pthread_mutex_lock(&stub.lock);
    stub.cancelled[cancel->number] = true;
    stub.cancels++;
    for (size_t i = 0; i < sizeof(stub.list) / sizeof(stub.list[0]); i++) {
        if (stub.list[i] != NULL && stub.list[i]->number == cancel->number) {
            stub_make_readable(stub.list[i]);
        }
    }
    pthread_mutex_unlock(&stub.lock);
    return 1;
}
