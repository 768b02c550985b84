/* What the files of the stub share; nobody else includes this. */
#pragma once

#include <pthread.h>

#include "pg/open.h"
#include "stub/libpq.h"
#include "stub/random.h"

enum { COLUMNS_MAX = 64, ITEMS_MAX = 4096, CONNECTIONS_MAX = 65536, KEYWORDS_MAX = 24 };

struct pg_result {
    ExecStatusType status;
    int rows;
    int columns;
    char *names[COLUMNS_MAX];
    char **values; /* of all rows, row by row; NULL: SQL NULL */
    char tuples[16];
    char state[6]; /* "": none */
    char message[256];
};

typedef enum ItemKind { ITEM_RESULT, ITEM_COPY_ROW, ITEM_COPY_END, ITEM_BREAK, ITEM_HANG } ItemKind;

typedef struct Item {
    ItemKind kind;
    PGresult *result;
    char *bytes;
    size_t length;
    char state[6];
} Item;

struct StubReply {
    Item items[ITEMS_MAX];
    size_t count;
    size_t arrived; /* items before it are here */
    size_t taken;
    bool copying; /* the reply is being built inside of a COPY */
};

struct pg_conn {
    int number;
    int socket[2]; /* ours to watch, the server's to make it readable */
    ConnStatusType status;
    int polls;
    bool opened; /* has had PG_OPEN_SQL */
    char error[256];
    char last_words[6]; /* SQLSTATE */
    char password[16];  /* "": that of PQpass */
    bool reading;       /* between a sent query and its last result */
    bool pipelined;     /* in pipeline mode */
    bool feeding;       /* in a COPY from the client */
    StubReply *reply;
    bool broken;        /* the next input says so */
    char *notification; /* channel of a NOTIFY that came, or NULL */
};

struct pg_cancel {
    int number;
};

typedef struct Stub {
    pthread_mutex_t lock; /* connecting and cancelling are calls of the worker thread */
    StubServer server;
    void *arg;
    size_t pieces;
    size_t slow_flushes;
    const char *refuse_start;
    const char *refuse_poll;
    const char *refuse_open;
    bool pooled;
    char mark[PG_MARK_SIZE]; /* of the session that was opened last */
    bool stay_connecting;
    bool loses_sync;
    size_t fail_at;
    bool hard;
    unsigned permille;
    Random random;
    size_t failures;
    size_t lie_at;
    size_t lie_times;
    StubLie lie;
    const char *lie_about;
    size_t lies;
    int connections;
    int open_connections;
    int open_results;
    int cancels;
    const char *encoding; /* of the server; NULL: UTF8 */
    int version;
    bool cancelled[CONNECTIONS_MAX];
    char *keywords[KEYWORDS_MAX][2];
    PGconn *list[64]; /* open ones, for stub_continue and stub_break_idle */
} Stub;

extern Stub stub;

/** Whether this call is one that fails. */
bool stub_call_fails(void);

/** The server has something for the connection. */
void stub_make_readable(PGconn *conn);

PGresult *result_error(const char *state, const char *message);
PGresult *result_of(ExecStatusType status);
/** Its last result is an error. */
bool reply_has_failed(const StubReply *reply);
Item *reply_item(StubReply *reply, ItemKind kind);
/** A COPY that is being built ends, as before any other result. */
void reply_end_copy(StubReply *reply);
/** Makes its answers what stub_lie_at() wants. */
void reply_lie(StubReply *reply, const StubQuery *query);
void reply_free(StubReply *reply);
