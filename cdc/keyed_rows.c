/* What the tables are, and whether the transactions are seen, is asked first; then each table is
 * read by a COPY, in a statement of its own: it sees what the first one saw, and locks (ACCESS
 * SHARE) one table for as long as it is read. */
#include "cdc/keyed_rows.h"

#include <event2/event.h>
#include <stdlib.h>

#include "base/backoff.h"
#include "base/failpoint.h"
#include "base/memory.h"
#include "cdc/copy_text.h"
#include "pg/result.h"
#include "pg/sqlstate.h"
#include "rows/mark_queue.h"
#include "rows/publisher.h"

enum {
    UNSEEN_MIN_MS = 10, /* between two looks at what is not seen yet */
    UNSEEN_MAX_MS = 500,
    TRIES_MAX = 5, /* of a table that is another one each time */
};

/* A row that came. */
typedef struct RowRead {
    Text bytes;
    VEC(Slice) values;
    Error failed; /* what was wrong with it, or one before */
} RowRead;

struct KeyedRows {
    KeyedRowsParts with;
    PgConn *conn;
    struct event *timer;
    const KeyedQuestion *question; /* NULL: none */
    VEC(KeyedFound) found;         /* of each table */
    size_t at;                     /* the table that is read */
    unsigned tries;                /* at it */
    unsigned looks;                /* that did not see everything */
    bool unseen;
    RowRead *read;
};

static void rows_describe(KeyedRows *rows);
static void rows_read_next(KeyedRows *rows);

static const KeyedTable *rows_table(const KeyedRows *rows)
{
    return &rows->question->tables.items[rows->at];
}

/* Failures. */

/* A table, a column or a type of it that is gone since it was asked about. */
static bool is_change(const Error *err)
{
    return sqlstate_is(err, "42P01") || sqlstate_is(err, "42703") || sqlstate_is(err, "42704");
}

/* Another attempt would end in the same way. Rights are waited for. */
static bool is_of_rows(const Error *err)
{
    return (sqlstate_is_of_data(err) || sqlstate_is(err, "42")) && !sqlstate_is(err, "42501");
}

static void rows_lose(KeyedRows *rows, const Error *err)
{
    const char *table = rows_table(rows)->table->name;
    AUTO_ERROR copy = error_of(err);
    error_prefix(&copy, "rows of %s that are read again", table);
    if (sqlstate_is(err, "42501")) {
        error_hint(&copy,
                   "The relay's role must be able to read the table: GRANT SELECT ON %s TO the "
                   "role; with row-level security, also BYPASSRLS.",
                   table);
    }
    keyed_rows_close(rows);
    rows->with.lost(rows->with.arg, &copy);
}

/* False: it is lost. */
static bool rows_go_on(KeyedRows *rows, const Error *err)
{
    if (err != NULL) {
        rows_lose(rows, err);
    }
    return err == NULL;
}

/* Reading. */

static void on_row(void *arg, const char *bytes, size_t length)
{
    KeyedRows *rows = arg;
    const KeyedTable *table = rows_table(rows);
    const KeyedFound *found = &rows->found.items[rows->at];
    size_t count = table->columns.count + 1;
    if (rows->read->failed.class != ERROR_NONE) {
        return;
    }
    text_clear(&rows->read->bytes);
    text_append(&rows->read->bytes, bytes, length);
    while (rows->read->values.count < count) {
        (void)vec_add(&rows->read->values);
    }
    Slice *values = rows->read->values.items;
    if (copy_text_read(rows->read->bytes.data, length, values, count, &rows->read->failed) != OK) {
        return;
    }
    char *end = NULL;
    AUTO_TEXT place = x_strndup(values[0].data, values[0].length);
    size_t row = strtoull(place, &end, 10);
    if (*place == '\0' || *end != '\0' || row >= table->rows.count) {
        error_set(&rows->read->failed, CODE_PG_PROTOCOL,
                  "the server sent a row that was not asked for");
        return;
    }
    for (size_t i = 1; i < count; i++) {
        bool there = found->columns[table->columns.items[i - 1]].sql != NULL;
        values[i] = there ? values[i] : SLICE_UNSENT;
    }
    rows->with.row(rows->with.arg, rows->at, row, values + 1);
}

static void on_read(void *arg, const Error *err)
{
    KeyedRows *rows = arg;
    AUTO_ERROR wrong = error_of(err != NULL ? err : &rows->read->failed);
    if (wrong.class == ERROR_NONE) {
        (void)FAILPOINT_FAILS("keyed_rows", &wrong);
    }
    if (wrong.class != ERROR_NONE && pg_conn_is_open(rows->conn) && is_change(&wrong) &&
        ++rows->tries < TRIES_MAX) {
        rows_describe(rows);
        return;
    }
    if (wrong.class != ERROR_NONE && !(pg_conn_is_open(rows->conn) && is_of_rows(&wrong))) {
        rows_lose(rows, &wrong);
        return;
    }
    if (wrong.class != ERROR_NONE) {
        rows->with.unread(rows->with.arg, rows->at, &wrong);
    }
    rows->at++;
    rows->tries = 0;
    rows_read_next(rows);
}

static void rows_end(KeyedRows *rows)
{
    rows->question = NULL;
    rows->with.done(rows->with.arg);
}

static void rows_read_next(KeyedRows *rows)
{
    const KeyedQuestion *question = rows->question;
    while (rows->at < question->tables.count &&
           !keyed_is_readable(rows_table(rows), &rows->found.items[rows->at])) {
        rows->at++;
    }
    if (rows->at == question->tables.count) {
        rows_end(rows);
        return;
    }
    error_clear(&rows->read->failed);
    AUTO_BUFFER sql = TEXT_EMPTY;
    keyed_add_read(rows_table(rows), &rows->found.items[rows->at], &sql);
    pg_conn_send(rows->conn, &(PgQuery){.step = "read rows by key",
                                        .sql = text_string(&sql),
                                        .arg = rows,
                                        .row = on_row,
                                        .done = on_read});
}

/* What the tables are. */

static void on_description(void *arg, const PGresult *result)
{
    KeyedRows *rows = arg;
    if (PQfnumber(result, KEYED_SNAPSHOT) >= 0) {
        const char *snapshot = pg_needed_field(result, 0, KEYED_SNAPSHOT);
        rows->unseen = false;
        for (size_t i = 0; i < rows->question->transactions.count; i++) {
            uint32_t xid = rows->question->transactions.items[i];
            rows->unseen = rows->unseen || !mark_snapshot_shows(snapshot, xid);
        }
    }
    for (size_t i = rows->at; i < rows->question->tables.count; i++) {
        (void)keyed_read_description(result, &rows->question->tables.items[i],
                                     &rows->found.items[i]);
    }
}

static void on_described(void *arg, const Error *err)
{
    KeyedRows *rows = arg;
    if (!rows_go_on(rows, err)) {
        return;
    }
    if (!rows->unseen) {
        rows_read_next(rows);
        return;
    }
    int64_t pause_ms = backoff_next_ms(&rows->looks, UNSEEN_MIN_MS, UNSEEN_MAX_MS);
    event_add(rows->timer,
              &(struct timeval){.tv_sec = pause_ms / 1000, .tv_usec = pause_ms % 1000 * 1000});
}

static void rows_describe(KeyedRows *rows)
{
    AUTO_BUFFER sql = TEXT_EMPTY;
    keyed_add_description(rows->question, &sql);
    pg_conn_send(rows->conn, &(PgQuery){.step = "describe tables of keys",
                                        .sql = text_string(&sql),
                                        .rows_wanted = 1,
                                        .arg = rows,
                                        .result = on_description,
                                        .done = on_described});
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    rows_describe(arg);
}

/* Connecting. */

static void on_session(void *arg, const Error *err)
{
    KeyedRows *rows = arg;
    if (rows_go_on(rows, err)) {
        rows_describe(rows);
    }
}

static void on_opened(void *arg, const Error *err)
{
    KeyedRows *rows = arg;
    const WalContext *wal = rows->with.wal;
    if (rows->question == NULL || !rows_go_on(rows, err)) {
        return; /* without a question: it was lost between two, and the next one opens it */
    }
    AUTO_BUFFER sql = TEXT_EMPTY;
    publisher_add_settings(wal->config, wal->pipeline, false, pg_conn_raw(rows->conn), &sql);
    text_add(&sql, rows->with.settings);
    pg_conn_send(rows->conn, &(PgQuery){.step = "session of rows by key",
                                        .sql = text_string(&sql),
                                        .arg = rows,
                                        .done = on_session});
}

void keyed_rows_read(KeyedRows *rows, const KeyedQuestion *question)
{
    rows->question = question;
    rows->at = rows->tries = rows->looks = 0;
    while (rows->found.count < question->tables.count) {
        *vec_add(&rows->found) = (KeyedFound){0};
    }
    if (pg_conn_is_open(rows->conn)) {
        rows_describe(rows);
    } else {
        pg_conn_open(rows->conn);
    }
}

void keyed_rows_close(KeyedRows *rows)
{
    event_del(rows->timer);
    pg_conn_close(rows->conn);
    rows->question = NULL;
}

KeyedRows *keyed_rows_new(const KeyedRowsParts *parts)
{
    const WalContext *wal = parts->wal;
    KeyedRows *rows = x_calloc(1, sizeof(*rows));
    rows->with = *parts;
    rows->read = x_calloc(1, sizeof(*rows->read));
    rows->timer = event_new(wal->options->base, -1, 0, on_timer, rows);
    rows->conn = claim_new_conn(
        wal->claim,
        &(PgConnOptions){.silence_timeout_ms = wal->config->database.statement_timeout_ms,
                         .tcp_user_timeout_ms = wal->pipeline->claim.lease_ms,
                         .arg = rows,
                         .opened = on_opened});
    return rows;
}

void keyed_rows_free(KeyedRows **rows)
{
    KeyedRows *old = *rows;
    *rows = NULL;
    if (old == NULL) {
        return;
    }
    pg_conn_free(&old->conn);
    event_free(old->timer);
    for (size_t i = 0; i < old->found.count; i++) {
        keyed_found_clear(&old->found.items[i]);
    }
    vec_free(&old->found);
    vec_free(&old->read->values);
    text_free(&old->read->bytes);
    error_clear(&old->read->failed);
    free(old->read);
    free(old);
}
