#include "unit/rows/marker_rig.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/memory.h"
#include "rows/mark_sql.h"

static char dsn_text[] = "host=db";
static char *const DSN = dsn_text;

enum { NEVER_MS = 3600000 };

MarkerRig rig;

static int64_t get_be(const char *bytes, int length)
{
    uint64_t value = 0;
    for (int i = 0; i < length; i++) {
        value = value << 8 | (unsigned char)bytes[i];
    }
    return (int64_t)value;
}

static void serve_mark_position(const StubQuery *query)
{
    const char *const *values = query->values;
    const char *lsn = values[MARK_PARAM_LSN];
    const char *tx_lsn = values[MARK_PARAM_TX_LSN];
    const char *ordinal = values[MARK_PARAM_TX_ORDINAL];
    snprintf(rig.server.position, sizeof(rig.server.position), "%s",
             lsn != NULL ? lsn : rig.server.position); /* greatest(lsn, NULL) */
    snprintf(rig.server.tx_lsn, sizeof(rig.server.tx_lsn), "%s", tx_lsn != NULL ? tx_lsn : "");
    snprintf(rig.server.tx_ordinal, sizeof(rig.server.tx_ordinal), "%s",
             ordinal != NULL ? ordinal : "");
}

static bool is_owner(const char *ctid)
{
    if (!rig.proven) {
        return true;
    }
    cr_assert_not_null(ctid);
    return strcmp(rig.server.owner, rig.history.ours) == 0 && strcmp(ctid, rig.server.ctid) == 0;
}

/* An UPDATE makes a new version. */
void marker_rig_write(void)
{
    rig.server.writes++;
    snprintf(rig.server.ctid, sizeof(rig.server.ctid), "(0,%u)", rig.server.writes);
}

/* Rows and position in one statement: the position moves when no row is missing. */
static void serve_mark(const StubQuery *query, StubReply *reply)
{
    bool wal = rig.pipeline.capture == CAPTURE_WAL;
    rig.server.marks++;
    cr_assert(rig.wants_refusals || strcmp(query->statement, "outboxd_mark") == 0); /* few rows */
    cr_assert_eq(query->param_count, wal ? MARK_PARAMS_WAL : MARK_PARAMS_POLL);
    const char *array = query->values[MARK_PARAM_SEQS];
    rig.server.sent_rows = (size_t)get_be(array + 12, 4);
    cr_assert_eq(query->lengths[MARK_PARAM_SEQS], 20 + 12 * (int)rig.server.sent_rows);
    if (rig.pipeline.outbox.on_publish != ON_PUBLISH_KEEP) {
        cr_assert_eq((size_t)get_be(query->values[MARK_PARAM_IDS] + 12, 4), rig.server.sent_rows);
    }
    if (wal) {
        const char *lsn = query->values[MARK_PARAM_LSN];
        snprintf(rig.server.sent_position, sizeof(rig.server.sent_position), "%s",
                 lsn != NULL ? lsn : "NULL");
    }
    if (rig.server.hang) {
        stub_reply_hang(reply);
    }
    if (rig.server.error != NULL) {
        stub_reply_error(reply, rig.server.error, "no");
        return;
    }
    if (wal &&
        (!is_owner(query->values[MARK_PARAM_ROW]) || rig.server.deaf || rig.server.renamed)) {
        stub_reply_no_row(reply);
        return;
    }
    if (!is_owner(query->values[MARK_PARAM_ROW]) || rig.server.deaf || rig.server.renamed) {
        stub_reply_command(reply, 0);
        return;
    }
    for (size_t i = 0; i < rig.server.sent_rows; i++) {
        if (rig.server.poison[get_be(array + 20 + 12 * i + 4, 8)]) {
            stub_reply_error(reply, "P0001", "no");
            return;
        }
    }
    if (wal || !rig.proven) {
        marker_rig_write(); /* else the second statement does */
    }
    size_t missing = 0;
    int64_t before = INT64_MIN;
    for (size_t i = 0; i < rig.server.sent_rows; i++) {
        int64_t seq = get_be(array + 20 + 12 * i + 4, 8);
        cr_assert(seq >= 0 && seq < ROWS);
        cr_assert_gt(seq, before, "in order of seq");
        before = seq;
        rig.server.marks_of[seq] += rig.server.visible[seq];
        if (!rig.server.visible[seq] && wal) {
            char text[24];
            snprintf(text, sizeof(text), "%lld", (long long)seq);
            (missing == 0 ? stub_reply_row : stub_reply_more)(
                reply, "ctid", rig.server.ctid, "moved", "f", "seq", text, "snapshot",
                rig.server.snapshot, "replaced", rig.server.replaced[seq] ? "t" : "f", "ignored",
                rig.server.eats ? "t" : "f", NULL);
        }
        missing += !rig.server.visible[seq];
    }
    if (wal && missing == 0) {
        serve_mark_position(query);
        stub_reply_row(reply, "ctid", rig.server.ctid, "moved", "t", "seq", STUB_NULL, "snapshot",
                       rig.server.snapshot, "replaced", "f", NULL);
    } else if (!wal) {
        stub_reply_command(reply, (int)(rig.server.sent_rows - missing));
    }
}

/* Polling: behind the mark, in its transaction. */
static void serve_mark_row(const StubQuery *query, StubReply *reply)
{
    cr_assert(rig.proven && rig.pipeline.capture == CAPTURE_POLL);
    cr_assert_eq(query->param_count, 1);
    if (!is_owner(query->values[0]) || rig.server.deaf || rig.server.renamed) {
        stub_reply_no_row(reply);
        return;
    }
    marker_rig_write();
    stub_reply_row(reply, "ctid", rig.server.ctid, NULL);
}

/* Polling: how many of the rows are there with another event id? */
static void serve_replaced(const StubQuery *query, StubReply *reply)
{
    char text[24];
    size_t count = 0;
    const char *array = query->values[MARK_PARAM_SEQS];
    for (int64_t i = 0; i < get_be(array + 12, 4); i++) {
        count += rig.server.replaced[get_be(array + 20 + 12 * i + 4, 8)];
    }
    snprintf(text, sizeof(text), "%zu", count);
    char eaten[24];
    snprintf(eaten, sizeof(eaten), "%lld", rig.server.eats ? (long long)get_be(array + 12, 4) : 0);
    stub_reply_row(reply, "replaced", text, "ignored", eaten, "same",
                   rig.server.renamed ? "f" : "t", NULL);
}

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* All of them or none: that something is missing is a division by zero. */
static void serve_group(const StubQuery *query, StubReply *reply)
{
    enum { PARAMS = 14, SEQ = 1, ID = 13 };
    cr_assert_eq(query->param_count % PARAMS, 0);
    cr_assert_gt(query->param_count, PARAMS);
    const char *state = rig.server.error;
    for (int at = 0; at < query->param_count; at += PARAMS) {
        int64_t seq = strtoll(query->values[at + SEQ], NULL, 10);
        cr_assert_eq(strtoll(query->values[at + ID] + 3, NULL, 10), seq);
        bool missing = rig.server.swallows || seq == rig.server.swallowed_letter ||
                       seq == rig.server.gone_letter;
        state = seq == rig.server.bad_letter ? "23514" : missing ? "22012" : state;
    }
    if (rig.server.break_group) {
        stub_reply_break(reply, NULL);
    } else if (state != NULL) {
        stub_reply_error(reply, state, "no");
    } else {
        stub_reply_row(reply, "all_stored", "1", NULL);
    }
}

static void serve_letter(const StubQuery *query, StubReply *reply)
{
    rig.server.letters++;
    int64_t seq = query->values[1] != NULL ? strtoll(query->values[1], NULL, 10) : -1;
    bool copies = strstr(query->sql, ") SELECT ") != NULL;
    bool swallowed = rig.server.swallows || seq == rig.server.swallowed_letter ||
                     (copies && seq == rig.server.gone_letter);
    if (rig.server.error != NULL || seq == rig.server.bad_letter) {
        stub_reply_error(reply, rig.server.error != NULL ? rig.server.error : "23514", "no");
    } else {
        stub_reply_command(reply, swallowed ? 0 : 1);
    }
}

static void serve_prune(StubReply *reply)
{
    static const char *const FEW[] = {"3", "3", "0", "1"};
    const char *const *found =
        rig.server.prune_finds != NULL ? rig.server.prune_finds[rig.server.prunes] : FEW;
    rig.server.prunes++;
    if (rig.server.prune_error != NULL) {
        stub_reply_error(reply, rig.server.prune_error, "no");
        return;
    }
    stub_reply_row(reply, "count", found[0], "looked", found[1], "young", found[2], "max", "9",
                   NULL);
    stub_reply_row(reply, "took", found[3], NULL);
}

static void serve(void *arg, const StubQuery *query, StubReply *reply)
{
    (void)arg;
    const char *sql = query->sql;
    if (query->statement != NULL && strcmp(query->statement, "outboxd_mark_row") == 0) {
        serve_mark_row(query, reply);
    } else if (query->statement != NULL) {
        serve_mark(query, reply);
    } else if (begins(sql, "SELECT CASE WHEN b.oid = 2950")) {
        stub_reply_row(reply, "id_type",
                       rig.server.id_type != NULL ? rig.server.id_type : STUB_NULL, NULL);
    } else if (begins(sql, "DEALLOCATE ALL; PREPARE outboxd_mark")) {
        rig.server.prepares++;
        if (rig.server.error != NULL) {
            stub_reply_error(reply, rig.server.error, "no");
        } else {
            stub_reply_command(reply, 0);
        }
    } else if (begins(sql, "WITH given_arrays")) {
        rig.server.asks++;
        serve_replaced(query, reply);
    } else if (begins(sql, "SELECT p.ctid, p.generation")) {
        char writes[16];
        rig.server.asks++;
        snprintf(writes, sizeof(writes), "%u", rig.server.writes);
        stub_reply_row(reply, "ctid", rig.server.ctid, "generation", rig.server.owner, "writes",
                       writes, "same", rig.server.renamed ? "f" : "t", NULL);
    } else if (begins(sql,
                      "SELECT \"seq\", CASE WHEN pg_catalog.octet_length(\"event_id\"::text)")) {
        rig.server.row_looks++;
        if (rig.server.error != NULL) {
            stub_reply_error(reply, rig.server.error, "no");
        } else {
            cr_assert_not_null(strstr(sql, "IS NULL"));
            stub_reply_row(reply, "seq", "7", "id", "seven", "tableoid", "1", "ctid",
                           rig.server.row_ctid != NULL ? rig.server.row_ctid : "(0,1)", "xmin", "9",
                           NULL);
        }
    } else if (begins(sql, "SELECT l.pid")) {
        rig.server.asks++;
        stub_reply_row(reply, "pid", "77", "application", "psql", "mode", "ShareLock", "relation",
                       "outbox.event", NULL);
    } else if (begins(sql, "SELECT count(*)")) {
        rig.server.counts++;
        rig.server.prunes_before_count = rig.server.prunes;
        stub_reply_row(reply, "count", "12", NULL);
    } else if (begins(sql, "SET LOCAL lock_timeout")) {
        serve_prune(reply);
    } else if (begins(sql, "COPY outbox.dead_letter")) {
        rig.server.feeds++;
        if (rig.server.feed_error != NULL) {
            stub_reply_error(reply, rig.server.feed_error, "no");
        } else {
            stub_reply_copy_in(reply);
            stub_reply_command(reply, rig.server.swallows ? 0 : 1);
        }
    } else if (begins(sql, "WITH stored AS (INSERT INTO outbox.dead_letter")) {
        rig.server.groups++;
        serve_group(query, reply);
    } else {
        cr_assert_eq(strncmp(sql, "INSERT INTO outbox.dead_letter", 30), 0, "%s", sql);
        serve_letter(query, reply);
    }
}

static void on_worker(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
    worker_dispatch(rig.worker);
}

static void on_opened(void *arg, const Error *err)
{
    (void)arg;
    cr_assert_null(err);
    rig.opened = true;
}

static void on_lost(void *arg, const Error *err)
{
    (void)arg;
    rig.lost++;
    error_copy(&rig.error, err);
}

static void on_aside(void *arg, Event *event, ErrorCode reason)
{
    (void)arg;
    rig.aside_reason = reason;
    rig.aside_seqs[rig.asides++] = event->seq;
    if (rig.asides == rig.stop_at_aside) {
        marker_stop(rig.marker);
    }
}

static void on_aside_refused(void *arg, Event *event, ErrorCode reason, const Error *err)
{
    (void)arg;
    rig.aside_reason = reason;
    (void)event;
    rig.asides_refused++;
    error_copy(&rig.error, err);
}

static void on_row_looks(void *arg, EventRow row, uint64_t look)
{
    (void)arg;
    rig.looked_seq = row.seq;
    rig.looked = look;
    rig.looks++;
}

static void on_marked(void *arg)
{
    (void)arg;
    rig.marked++;
}

static void on_idle(void *arg)
{
    (void)arg;
    rig.idle++;
}

void marker_rig_turn(void)
{
    for (int i = 0; i < 50; i++) {
        event_base_loop(rig.base, EVLOOP_NONBLOCK);
    }
}

void marker_rig_connect(const MarkerPosition *position)
{
    rig.opened = false;
    pg_conn_open(rig.conn);
    WAIT(rig.opened);
    marker_start(rig.marker,
                 &(MarkerSession){.table_oid = 4242,
                                  .row_table = rig.pipeline.capture == CAPTURE_WAL || rig.proven
                                                   ? "outbox.\"of ours\""
                                                   : NULL,
                                  .row_key = "pipeline = 'orders'",
                                  .row_ctid = rig.proven ? rig.server.ctid : NULL,
                                  .dead_letter = "outbox.dead_letter",
                                  .position = position});
    marker_next(rig.marker);
}

void marker_rig_prepare(void)
{
    rig.pipeline = given_pipeline();
    rig.pipeline.capture = CAPTURE_WAL;
    rig.pipeline.outbox.mark_interval_ms = NEVER_MS;
    memset(&rig.server, 0, sizeof(rig.server));
    rig.server.snapshot = "10:10:";
    memset(rig.server.visible, true, sizeof(rig.server.visible));
    rig.proven = rig.wants_refusals = false;
    rig.refusals = rig.healed = 0;
    snprintf(rig.server.ctid, sizeof(rig.server.ctid), "(0,0)");
    log_configure(LOG_FORMAT_LOGFMT, LOG_ERROR);
    stub_reset(serve, NULL);
}

/* The row that proves the history is there, and claimed. */
void marker_rig_prove(void)
{
    rig.proven = true;
    history_begin(&rig.history);
    history_adopt(&rig.history, &(History){.system_id = "7"});
    history_write_sent(&rig.history);
    history_write_committed(&rig.history);
    snprintf(rig.server.owner, sizeof(rig.server.owner), "%s", rig.history.ours);
    marker_rig_write();
}

static void on_replaced(void *arg)
{
    (void)arg;
    rig.replaced++;
}

static void on_refused(void *arg, const Error *err)
{
    (void)arg;
    rig.refusals += err != NULL;
    rig.healed += err == NULL;
    error_copy(&rig.error, err != NULL ? err : &rig.error);
}

static void on_blocked(void *arg)
{
    (void)arg;
    rig.blocked++;
}

static bool on_yields(const void *arg)
{
    (void)arg;
    return false;
}

void marker_rig_begin(void)
{
    rig.base = event_base_new();
    rig.worker = worker_new();
    rig.worker_io =
        event_new(rig.base, worker_fd(rig.worker), EV_READ | EV_PERSIST, on_worker, NULL);
    event_add(rig.worker_io, NULL);
    rig.metrics = metrics_new();
    stats_init(&rig.stats, rig.metrics, "orders");
    cr_assert_eq(table_new(&rig.pipeline, &rig.table, &rig.error), OK);
    rig.conn = pg_conn_new(&(PgConnOptions){.base = rig.base,
                                            .worker = rig.worker,
                                            .dsn = &DSN,
                                            .application_name = "outboxd",
                                            .connect_timeout_ms = 60000,
                                            .silence_timeout_ms = 60000,
                                            .opened = on_opened});
    rig.owner = (MarkerOwner){.lost = on_lost,
                              .blocked = on_blocked,
                              .refused = rig.wants_refusals ? on_refused : NULL,
                              .replaced = on_replaced,
                              .aside = on_aside,
                              .aside_refused = on_aside_refused,
                              .row_looks = on_row_looks,
                              .marked = on_marked,
                              .idle = on_idle,
                              .yields = on_yields};
    rig.marker = marker_new(&(MarkerOptions){.base = rig.base,
                                             .pipeline = &rig.pipeline,
                                             .table = rig.table,
                                             .stats = &rig.stats,
                                             .conn = rig.conn,
                                             .history = rig.proven ? &rig.history : NULL,
                                             .owner = &rig.owner});
    marker_caught_up(rig.marker, true); /* nothing to count */
    marker_rig_connect(NULL);
}

void marker_rig_end(void)
{
    if (rig.marker == NULL) {
        return;
    }
    worker_free(&rig.worker);
    pg_conn_close(rig.conn);
    marker_free(&rig.marker);
    pg_conn_free(&rig.conn);
    table_free(&rig.table);
    event_free(rig.worker_io);
    event_base_free(rig.base);
    stats_release(&rig.stats);
    metrics_free(&rig.metrics);
    cr_assert_eq(stub_open_results(), 0);
}

void marker_rig_add(const int64_t *seqs, uint32_t xid, uint64_t lsn)
{
    Batch *batch = batch_new();
    for (; *seqs != -1; seqs++) {
        Event *event = batch_add(batch, given_schema(0));
        event->seq = *seqs;
        event->xid = xid;
        batch_settle(event, EVENT_PUBLISHED);
    }
    marker_add(rig.marker, batch, lsn != 0 ? &(MarkerPosition){.lsn = lsn} : NULL);
    batch_free(&batch);
}

void marker_rig_add_now(const int64_t *seqs, uint32_t xid, uint64_t lsn)
{
    marker_rig_add(seqs, xid, 0);
    marker_add_position(rig.marker, &(MarkerPosition){.lsn = lsn}, true);
    marker_next(rig.marker);
}

void marker_rig_add_letter(Batch *batch, int64_t seq)
{
    Event *event = batch_add(batch, given_schema(0));
    event->seq = seq;
    marker_add_aside(rig.marker, event, &(Record){0}, &(Error){.code = CODE_RECORD_TOO_LARGE});
    marker_next(rig.marker);
}
