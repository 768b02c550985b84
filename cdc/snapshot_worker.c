#include "cdc/snapshot_worker.h"

#include <stdlib.h>

#include "base/failpoint.h"
#include "base/memory.h"
#include "pg/sqlstate.h"
#include "rows/mapped_filter.h"
#include "rows/publisher.h"

struct SnapshotWorker {
    WorkerParts with;
    PgConn *conn;
    bool ready;
    bool asks; /* what the table is; else it reads a chunk */
    const SnapshotTable *table;
    SnapshotChunk chunk;
    SnapshotAnswer *answer;
};

static void worker_tell(SnapshotWorker *worker, WorkerNews news)
{
    worker->ready = true;
    worker->with.news(worker->with.arg, worker, news);
}

/* Failures. */

static void on_rolled_back(void *arg, const Error *err)
{
    SnapshotWorker *worker = arg;
    if (wal_goes_on(worker->with.wal, err)) {
        worker_tell(worker, WORKER_READY);
    }
}

/* The failed transaction is left, in which nothing can be asked. */
static void worker_roll_back(SnapshotWorker *worker)
{
    worker->with.news(worker->with.arg, worker, WORKER_CHANGED);
    if (pg_conn_is_open(worker->conn)) { /* the source was not lost meanwhile */
        pg_conn_send(worker->conn, &(PgQuery){.step = "leave the chunk",
                                              .sql = "ROLLBACK",
                                              .arg = worker,
                                              .done = on_rolled_back});
    }
}

/* A table, a column or a type of it that is gone. */
static bool worker_is_change(const SnapshotWorker *worker, const Error *err)
{
    return pg_conn_is_open(worker->conn) &&
           (sqlstate_is(err, "42P01") || sqlstate_is(err, "42703") || sqlstate_is(err, "42704"));
}

static void worker_fail(SnapshotWorker *worker, const Error *err)
{
    AUTO_ERROR copy = error_of(err);
    error_prefix(&copy, "snapshot of %s", worker->table->sql);
    if (sqlstate_is(err, "42501")) {
        error_hint(&copy,
                   "The relay's role must be able to read the table: GRANT SELECT ON %s TO the "
                   "role; with row-level security, also BYPASSRLS.",
                   worker->table->sql);
    } else if (filter_may_have_failed(worker->with.wal->pipeline, err)) {
        error_hint(&copy, FILTER_FAILED_HINT);
    }
    claim_lose(worker->with.wal->claim, &copy);
}

/* Work. */

static void on_worker_result(void *arg, const PGresult *result)
{
    SnapshotWorker *worker = arg;
    if (!snapshot_read_answer(result, worker->answer) && worker->asks) {
        (void)captured_read(worker->with.captured, result, &worker->answer->failed);
    }
}

static void on_worker_arrived(void *arg)
{
    const SnapshotWorker *worker = arg;
    worker->with.arrived(worker->with.arg);
}

static void on_worker_row(void *arg, const char *bytes, size_t length)
{
    SnapshotWorker *worker = arg;
    if (worker->answer->failed.class == ERROR_NONE) {
        (void)worker->with.row(worker->with.arg, worker, (Slice){.data = bytes, .length = length},
                               &worker->answer->failed);
    }
}

static void on_worker_done(void *arg, const Error *err)
{
    SnapshotWorker *worker = arg;
    AUTO_ERROR injected = {0};
    if (err != NULL && worker_is_change(worker, err)) {
        worker_roll_back(worker);
        return;
    }
    err = err == NULL && worker->answer->failed.class != ERROR_NONE ? &worker->answer->failed : err;
    if (err == NULL && !worker->asks && FAILPOINT_FAILS("snapshot_chunk", &injected)) {
        err = &injected;
    }
    if (err != NULL) {
        worker_fail(worker, err);
    } else if (worker->asks) {
        worker_tell(worker, WORKER_ASKED);
    } else {
        worker_tell(worker, worker->answer->changed ? WORKER_CHANGED : WORKER_READ);
    }
}

static void worker_begin(SnapshotWorker *worker, const SnapshotTable *table, bool asks)
{
    worker->table = table;
    worker->asks = asks;
    worker->ready = false;
    snapshot_answer_clear(worker->answer);
}

void snapshot_worker_ask(SnapshotWorker *worker, size_t place, const SnapshotTable *table,
                         const char *snapshot)
{
    const WalContext *wal = worker->with.wal;
    worker_begin(worker, table, true);
    worker->chunk = (SnapshotChunk){.table = place};
    AUTO_BUFFER sql = TEXT_EMPTY;
    snapshot_add_description(wal->pipeline, table, snapshot,
                             PQserverVersion(pg_conn_raw(worker->conn)), &sql);
    pg_conn_send(worker->conn, &(PgQuery){.step = "describe a table",
                                          .sql = text_string(&sql),
                                          .arg = worker,
                                          .result = on_worker_result,
                                          .done = on_worker_done});
}

void snapshot_worker_read(SnapshotWorker *worker, const SnapshotTable *table,
                          const SnapshotChunk *chunk, const char *snapshot, const char *filter)
{
    worker_begin(worker, table, false);
    worker->chunk = *chunk;
    worker->answer->shape = x_strdup(table->shape); /* it is compared with that of then */
    AUTO_BUFFER sql = TEXT_EMPTY;
    snapshot_add_chunk(table, chunk, snapshot, filter != NULL ? filter : "", &sql);
    pg_conn_send(worker->conn, &(PgQuery){.step = "read a chunk",
                                          .sql = text_string(&sql),
                                          .arg = worker,
                                          .arrived = on_worker_arrived,
                                          .row = on_worker_row,
                                          .result = on_worker_result,
                                          .done = on_worker_done});
}

const SnapshotChunk *snapshot_worker_chunk(const SnapshotWorker *worker)
{
    return &worker->chunk;
}

SnapshotAnswer *snapshot_worker_answer(SnapshotWorker *worker)
{
    return worker->answer;
}

bool snapshot_worker_is_free(const SnapshotWorker *worker)
{
    return worker->ready && pg_conn_is_open(worker->conn);
}

void snapshot_worker_hold(SnapshotWorker *worker, bool hold)
{
    if (hold) {
        pg_conn_hold(worker->conn);
    } else {
        pg_conn_go_on(worker->conn);
    }
}

/* Connecting. */

static void on_worker_session(void *arg, const Error *err)
{
    SnapshotWorker *worker = arg;
    if (wal_goes_on(worker->with.wal, err)) {
        worker_tell(worker, WORKER_READY);
    }
}

static void on_worker_opened(void *arg, const Error *err)
{
    SnapshotWorker *worker = arg;
    const WalContext *wal = worker->with.wal;
    if (!wal_goes_on(wal, err)) {
        return;
    }
    AUTO_BUFFER sql = TEXT_EMPTY;
    publisher_add_settings(wal->config, wal->pipeline, false, pg_conn_raw(worker->conn), &sql);
    snapshot_add_session(&sql);
    pg_conn_send(worker->conn, &(PgQuery){.step = "session of the snapshot",
                                          .sql = text_string(&sql),
                                          .arg = worker,
                                          .done = on_worker_session});
}

void snapshot_worker_open(SnapshotWorker *worker)
{
    worker->ready = false;
    pg_conn_close(worker->conn);
    pg_conn_open(worker->conn);
}

void snapshot_worker_close(SnapshotWorker *worker)
{
    worker->ready = false;
    pg_conn_close(worker->conn);
}

SnapshotWorker *snapshot_worker_new(const WorkerParts *parts)
{
    SnapshotWorker *worker = x_calloc(1, sizeof(*worker));
    worker->with = *parts;
    worker->answer = snapshot_answer_new();
    worker->conn =
        claim_new_conn(parts->wal->claim,
                       &(PgConnOptions){.tcp_user_timeout_ms = parts->wal->pipeline->claim.lease_ms,
                                        .arg = worker,
                                        .opened = on_worker_opened});
    return worker;
}

void snapshot_worker_free(SnapshotWorker **worker)
{
    if (*worker == NULL) {
        return;
    }
    pg_conn_free(&(*worker)->conn);
    snapshot_answer_free(&(*worker)->answer);
    free(*worker);
    *worker = NULL;
}
