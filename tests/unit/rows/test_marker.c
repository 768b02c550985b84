#include <criterion/criterion.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "flow/batch.h"
#include "flow/refusal.h"
#include "flow/source.h"
#include "metrics/metrics.h"
#include "rows/mark_sql.h"
#include "rows/marker.h"
#include "stub/clock.h"
#include "stub/given.h"
#include "stub/given_schema.h"
#include "stub/libpq.h"

enum { ROWS = 100, NEVER_MS = 3600000 };

/* A server behind tests/stub/libpq.c that knows the statements of the marker. */
static struct {
    /* The table. seq is the index. */
    bool visible[ROWS];
    int marks_of[ROWS];
    bool replaced[ROWS]; /* the number has another event */
    const char *id_type; /* of the event id's column; NULL: unknown to us */
    const char *snapshot;
    char position[24]; /* committed: "" none */
    char tx_lsn[24];
    char tx_ordinal[24];
    /* The last mark. */
    size_t sent_rows;
    char sent_position[24]; /* "NULL" */
    size_t marks;
    size_t counts;
    size_t prunes;
    size_t letters;
    size_t feeds; /* of large ones */
    size_t fed_bytes;
    const char *feed_error;
    size_t row_looks;
    const char *row_ctid;
    size_t prepares;
    size_t asks; /* how many are replaced, who holds the lock, where the row is */
    bool hang;
    bool renamed; /* another table has the name */
    bool deaf;    /* a mark finds no row of ours, for no reason */
    bool eats;    /* a trigger returns NULL: rows stay as they are */
    /* The row that proves the history. */
    char owner[HISTORY_GENERATION];
    unsigned writes;
    char ctid[16];
    const char *error; /* SQLSTATE */
    const char *prune_error;
    bool swallows;       /* dead letters */
    int64_t bad_letter;  /* is refused; 0: none is */
    int64_t gone_letter; /* its row is */
    int64_t swallowed_letter;
    bool break_group;
    size_t groups;     /* of dead letters */
    bool poison[ROWS]; /* a trigger refuses to have it marked */
} server;

static PipelineConfig pipeline;
static OutboxTable *table;
static Metrics *metrics;
static Stats stats;
static struct event_base *base;
static Worker *worker;
static struct event *worker_io;
static PgConn *conn;
static Marker *marker;
static HistoryMemory history;
static bool proven;
static bool opened;
static size_t marked;
static size_t idle;
static size_t asides;
static size_t asides_refused;
static size_t looks;
static int64_t aside_seqs[1000];
static size_t stop_at_aside; /* 0: not */
static int64_t looked_seq;
static uint64_t looked;
static size_t lost;
static size_t blocked;
static size_t replaced;
static size_t refusals;
static size_t healed;
static bool wants_refusals;
static Error error;

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
    snprintf(server.position, sizeof(server.position), "%s",
             lsn != NULL ? lsn : server.position); /* greatest(lsn, NULL) */
    snprintf(server.tx_lsn, sizeof(server.tx_lsn), "%s", tx_lsn != NULL ? tx_lsn : "");
    snprintf(server.tx_ordinal, sizeof(server.tx_ordinal), "%s", ordinal != NULL ? ordinal : "");
}

static bool is_owner(const char *ctid)
{
    if (!proven) {
        return true;
    }
    cr_assert_not_null(ctid);
    return strcmp(server.owner, history.ours) == 0 && strcmp(ctid, server.ctid) == 0;
}

/* An UPDATE makes a new version. */
static void serve_write(void)
{
    server.writes++;
    snprintf(server.ctid, sizeof(server.ctid), "(0,%u)", server.writes);
}

/* Rows and position in one statement: the position moves when no row is missing. */
static void serve_mark(const StubQuery *query, StubReply *reply)
{
    bool wal = pipeline.capture == CAPTURE_WAL;
    server.marks++;
    cr_assert(wants_refusals || strcmp(query->statement, "outboxd_mark") == 0); /* few rows */
    cr_assert_eq(query->param_count, wal ? MARK_PARAMS_WAL : MARK_PARAMS_POLL);
    const char *array = query->values[MARK_PARAM_SEQS];
    server.sent_rows = (size_t)get_be(array + 12, 4);
    cr_assert_eq(query->lengths[MARK_PARAM_SEQS], 20 + 12 * (int)server.sent_rows);
    if (pipeline.outbox.on_publish != ON_PUBLISH_KEEP) {
        cr_assert_eq((size_t)get_be(query->values[MARK_PARAM_IDS] + 12, 4), server.sent_rows);
    }
    if (wal) {
        const char *lsn = query->values[MARK_PARAM_LSN];
        snprintf(server.sent_position, sizeof(server.sent_position), "%s",
                 lsn != NULL ? lsn : "NULL");
    }
    if (server.hang) {
        stub_reply_hang(reply);
    }
    if (server.error != NULL) {
        stub_reply_error(reply, server.error, "no");
        return;
    }
    if (wal && (!is_owner(query->values[MARK_PARAM_ROW]) || server.deaf || server.renamed)) {
        stub_reply_no_row(reply);
        return;
    }
    if (!is_owner(query->values[MARK_PARAM_ROW]) || server.deaf || server.renamed) {
        stub_reply_command(reply, 0);
        return;
    }
    for (size_t i = 0; i < server.sent_rows; i++) {
        if (server.poison[get_be(array + 20 + 12 * i + 4, 8)]) {
            stub_reply_error(reply, "P0001", "no");
            return;
        }
    }
    if (wal || !proven) {
        serve_write(); /* else the second statement does */
    }
    size_t missing = 0;
    int64_t before = INT64_MIN;
    for (size_t i = 0; i < server.sent_rows; i++) {
        int64_t seq = get_be(array + 20 + 12 * i + 4, 8);
        cr_assert(seq >= 0 && seq < ROWS);
        cr_assert_gt(seq, before, "in order of seq");
        before = seq;
        server.marks_of[seq] += server.visible[seq];
        if (!server.visible[seq] && wal) {
            char text[24];
            snprintf(text, sizeof(text), "%lld", (long long)seq);
            (missing == 0 ? stub_reply_row : stub_reply_more)(
                reply, "ctid", server.ctid, "moved", "f", "seq", text, "snapshot", server.snapshot,
                "replaced", server.replaced[seq] ? "t" : "f", "ignored", server.eats ? "t" : "f",
                NULL);
        }
        missing += !server.visible[seq];
    }
    if (wal && missing == 0) {
        serve_mark_position(query);
        stub_reply_row(reply, "ctid", server.ctid, "moved", "t", "seq", STUB_NULL, "snapshot",
                       server.snapshot, "replaced", "f", NULL);
    } else if (!wal) {
        stub_reply_command(reply, (int)(server.sent_rows - missing));
    }
}

/* Polling: behind the mark, in its transaction. */
static void serve_mark_row(const StubQuery *query, StubReply *reply)
{
    cr_assert(proven && pipeline.capture == CAPTURE_POLL);
    cr_assert_eq(query->param_count, 1);
    if (!is_owner(query->values[0]) || server.deaf || server.renamed) {
        stub_reply_no_row(reply);
        return;
    }
    serve_write();
    stub_reply_row(reply, "ctid", server.ctid, NULL);
}

/* Polling: how many of the rows are there with another event id? */
static void serve_replaced(const StubQuery *query, StubReply *reply)
{
    char text[24];
    size_t count = 0;
    const char *array = query->values[MARK_PARAM_SEQS];
    for (int64_t i = 0; i < get_be(array + 12, 4); i++) {
        count += server.replaced[get_be(array + 20 + 12 * i + 4, 8)];
    }
    snprintf(text, sizeof(text), "%zu", count);
    char eaten[24];
    snprintf(eaten, sizeof(eaten), "%lld", server.eats ? (long long)get_be(array + 12, 4) : 0);
    stub_reply_row(reply, "replaced", text, "ignored", eaten, "same", server.renamed ? "f" : "t",
                   NULL);
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
    const char *state = server.error;
    for (int at = 0; at < query->param_count; at += PARAMS) {
        int64_t seq = strtoll(query->values[at + SEQ], NULL, 10);
        cr_assert_eq(strtoll(query->values[at + ID] + 3, NULL, 10), seq);
        bool missing =
            server.swallows || seq == server.swallowed_letter || seq == server.gone_letter;
        state = seq == server.bad_letter ? "23514" : missing ? "22012" : state;
    }
    if (server.break_group) {
        stub_reply_break(reply, NULL);
    } else if (state != NULL) {
        stub_reply_error(reply, state, "no");
    } else {
        stub_reply_row(reply, "all_stored", "1", NULL);
    }
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
        stub_reply_row(reply, "id_type", server.id_type != NULL ? server.id_type : STUB_NULL, NULL);
    } else if (begins(sql, "DEALLOCATE ALL; PREPARE outboxd_mark")) {
        server.prepares++;
        if (server.error != NULL) {
            stub_reply_error(reply, server.error, "no");
        } else {
            stub_reply_command(reply, 0);
        }
    } else if (begins(sql, "WITH given_arrays")) {
        server.asks++;
        serve_replaced(query, reply);
    } else if (begins(sql, "SELECT p.ctid, p.generation")) {
        char writes[16];
        server.asks++;
        snprintf(writes, sizeof(writes), "%u", server.writes);
        stub_reply_row(reply, "ctid", server.ctid, "generation", server.owner, "writes", writes,
                       "same", server.renamed ? "f" : "t", NULL);
    } else if (begins(sql,
                      "SELECT \"seq\", CASE WHEN pg_catalog.octet_length(\"event_id\"::text)")) {
        server.row_looks++;
        if (server.error != NULL) {
            stub_reply_error(reply, server.error, "no");
        } else {
            cr_assert_not_null(strstr(sql, "IS NULL"));
            stub_reply_row(reply, "seq", "7", "id", "seven", "tableoid", "1", "ctid",
                           server.row_ctid != NULL ? server.row_ctid : "(0,1)", "xmin", "9", NULL);
        }
    } else if (begins(sql, "SELECT l.pid")) {
        server.asks++;
        stub_reply_row(reply, "pid", "77", "application", "psql", "mode", "ShareLock", "relation",
                       "outbox.event", NULL);
    } else if (begins(sql, "SELECT count(*)")) {
        server.counts++;
        stub_reply_row(reply, "count", "12", NULL);
    } else if (begins(sql, "WITH edge AS")) {
        server.prunes++;
        if (server.prune_error != NULL) {
            stub_reply_error(reply, server.prune_error, "no");
        } else {
            stub_reply_row(reply, "count", "3", "max", "9", NULL);
        }
    } else if (begins(sql, "COPY outbox.dead_letter")) {
        server.feeds++;
        if (server.feed_error != NULL) {
            stub_reply_error(reply, server.feed_error, "no");
        } else {
            stub_reply_copy_in(reply);
            stub_reply_command(reply, server.swallows ? 0 : 1);
        }
    } else if (begins(sql, "WITH stored AS (INSERT INTO outbox.dead_letter")) {
        server.groups++;
        serve_group(query, reply);
    } else {
        cr_assert_eq(strncmp(sql, "INSERT INTO outbox.dead_letter", 30), 0, "%s", sql);
        server.letters++;
        int64_t seq = query->values[1] != NULL ? strtoll(query->values[1], NULL, 10) : -1;
        bool copies = strstr(sql, ") SELECT ") != NULL;
        bool swallowed = server.swallows || seq == server.swallowed_letter ||
                         (copies && seq == server.gone_letter);
        if (server.error != NULL || seq == server.bad_letter) {
            stub_reply_error(reply, server.error != NULL ? server.error : "23514", "no");
        } else {
            stub_reply_command(reply, swallowed ? 0 : 1);
        }
    }
}

static void on_worker(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
    worker_dispatch(worker);
}

static void on_opened(void *arg, const Error *err)
{
    (void)arg;
    cr_assert_null(err);
    opened = true;
}

static void on_lost(void *arg, const Error *err)
{
    (void)arg;
    lost++;
    error_copy(&error, err);
}

static void on_aside(void *arg, Event *event)
{
    (void)arg;
    aside_seqs[asides++] = event->seq;
    if (asides == stop_at_aside) {
        marker_stop(marker);
    }
}

static void on_aside_refused(void *arg, Event *event, const Error *err)
{
    (void)arg;
    (void)event;
    asides_refused++;
    error_copy(&error, err);
}

static void on_row_looks(void *arg, EventRow row, uint64_t look)
{
    (void)arg;
    looked_seq = row.seq;
    looked = look;
    looks++;
}

static void on_marked(void *arg)
{
    (void)arg;
    marked++;
}

static void on_idle(void *arg)
{
    (void)arg;
    idle++;
}

#define WAIT(condition)                                                                            \
    do {                                                                                           \
        int64_t wait_until_us = clock_monotonic_us() + 10000000;                                   \
        while (!(condition)) {                                                                     \
            event_base_loop(base, EVLOOP_NONBLOCK);                                                \
            cr_assert_lt(clock_monotonic_us(), wait_until_us, "waited in vain for %s",             \
                         #condition);                                                              \
        }                                                                                          \
    } while (0)

/* Likewise, and time passes whenever nothing else happens: for a lease, a pause, a back-off. */
#define PASS(condition)                                                                            \
    do {                                                                                           \
        int64_t wait_until_us = clock_real_us() + 10000000;                                        \
        while (!(condition)) {                                                                     \
            clock_turn(base);                                                                      \
            cr_assert_lt(clock_real_us(), wait_until_us, "waited in vain for %s", #condition);     \
        }                                                                                          \
    } while (0)

static void turn(void)
{
    for (int i = 0; i < 50; i++) {
        event_base_loop(base, EVLOOP_NONBLOCK);
    }
}

static void connect_again(const MarkerPosition *position)
{
    opened = false;
    pg_conn_open(conn);
    WAIT(opened);
    marker_start(marker, &(MarkerSession){.table_oid = 4242,
                                          .row_table = pipeline.capture == CAPTURE_WAL || proven
                                                           ? "outbox.\"of ours\""
                                                           : NULL,
                                          .row_key = "pipeline = 'orders'",
                                          .row_ctid = proven ? server.ctid : NULL,
                                          .dead_letter = "outbox.dead_letter",
                                          .position = position});
    marker_next(marker);
}

static void prepare(void)
{
    pipeline = given_pipeline();
    pipeline.capture = CAPTURE_WAL;
    pipeline.outbox.mark_interval_ms = NEVER_MS;
    memset(&server, 0, sizeof(server));
    server.snapshot = "10:10:";
    memset(server.visible, true, sizeof(server.visible));
    proven = wants_refusals = false;
    refusals = healed = 0;
    snprintf(server.ctid, sizeof(server.ctid), "(0,0)");
    log_configure(LOG_FORMAT_LOGFMT, LOG_ERROR);
    stub_reset(serve, NULL);
}

/* The row that proves the history is there, and claimed. */
static void prove(void)
{
    proven = true;
    history_begin(&history);
    history_adopt(&history, &(History){.system_id = "7"});
    history_write_sent(&history);
    history_write_committed(&history);
    snprintf(server.owner, sizeof(server.owner), "%s", history.ours);
    serve_write();
}

static void on_replaced(void *arg)
{
    (void)arg;
    replaced++;
}

static void on_refused(void *arg, const Error *err)
{
    (void)arg;
    refusals += err != NULL;
    healed += err == NULL;
    error_copy(&error, err != NULL ? err : &error);
}

static void on_blocked(void *arg)
{
    (void)arg;
    blocked++;
}

static void begin(void)
{
    base = event_base_new();
    worker = worker_new();
    worker_io = event_new(base, worker_fd(worker), EV_READ | EV_PERSIST, on_worker, NULL);
    event_add(worker_io, NULL);
    metrics = metrics_new();
    stats_init(&stats, metrics, "orders");
    cr_assert_eq(table_new(&pipeline, &table, &error), OK);
    conn = pg_conn_new(&(PgConnOptions){.base = base,
                                        .worker = worker,
                                        .dsn = "host=db",
                                        .application_name = "outboxd",
                                        .connect_timeout_ms = 60000,
                                        .silence_timeout_ms = 60000,
                                        .opened = on_opened});
    marker = marker_new(&(MarkerOptions){.base = base,
                                         .pipeline = &pipeline,
                                         .table = table,
                                         .stats = &stats,
                                         .conn = conn,
                                         .history = proven ? &history : NULL,
                                         .lost = on_lost,
                                         .blocked = on_blocked,
                                         .refused = wants_refusals ? on_refused : NULL,
                                         .replaced = on_replaced,
                                         .aside = on_aside,
                                         .aside_refused = on_aside_refused,
                                         .row_looks = on_row_looks,
                                         .marked = on_marked,
                                         .idle = on_idle});
    marker_caught_up(marker, true); /* nothing to count */
    connect_again(NULL);
}

static void end(void)
{
    if (marker == NULL) {
        return;
    }
    worker_free(&worker);
    pg_conn_close(conn);
    marker_free(&marker);
    pg_conn_free(&conn);
    table_free(&table);
    event_free(worker_io);
    event_base_free(base);
    stats_release(&stats);
    metrics_free(&metrics);
    cr_assert_eq(stub_open_results(), 0);
}

TestSuite(marker, .init = prepare, .fini = end);

/* A batch of these rows, all settled; ends with -1. The marker copies what it needs. */
static void add(const int64_t *seqs, uint32_t xid, uint64_t lsn)
{
    Batch *batch = batch_new();
    for (; *seqs != -1; seqs++) {
        Event *event = batch_add(batch, given_schema(0));
        event->seq = *seqs;
        event->xid = xid;
        batch_settle(event, EVENT_PUBLISHED);
    }
    marker_add(marker, batch, lsn != 0 ? &(MarkerPosition){.lsn = lsn} : NULL);
    batch_free(&batch);
}

#define ROWS_OF(...) ((const int64_t[]){__VA_ARGS__, -1})

static void add_now(const int64_t *seqs, uint32_t xid, uint64_t lsn)
{
    add(seqs, xid, 0);
    marker_add_position(marker, &(MarkerPosition){.lsn = lsn}, true);
    marker_next(marker);
}

Test(marker, rows_and_position_are_committed_by_one_statement)
{
    begin();
    add(ROWS_OF(3, 1, EVENT_NO_SEQ, 2), 9, 0);
    marker_add_position(
        marker, &(MarkerPosition){.lsn = 0x2000000100, .tx_lsn = 0x2000000200, .tx_ordinal = 4},
        true);
    cr_assert(marker_pending(marker));
    cr_assert_eq(marker_unmarked(marker), 4);
    cr_assert(marker_has(marker, 3, SLICE_NULL));
    cr_assert_eq(marker_oldest(marker), EVENT_NO_SEQ);
    marker_next(marker);
    WAIT(marked == 1);
    cr_assert_eq(server.marks, 1);
    cr_assert_eq(server.sent_rows, 3, "a message has no row");
    cr_assert_str_eq(server.position, "20/100");
    cr_assert_str_eq(server.tx_lsn, "20/200");
    cr_assert_str_eq(server.tx_ordinal, "4");
    cr_assert_eq(marker_position(marker).lsn, 0x2000000100);
    cr_assert_eq(marker_position(marker).tx_ordinal, 4);
    cr_assert_eq(*stats.rows->marked, 3);
    cr_assert_not(marker_pending(marker));
    cr_assert_geq(idle, 1);
    add_now(ROWS_OF(4), 9, 0x3000000000);
    WAIT(marked == 2);
    cr_assert_str_eq(server.tx_lsn, "", "NULL: the transaction is complete");
    cr_assert_str_eq(server.tx_ordinal, "");
}

static void refuse_two_of_ten(void)
{
    wants_refusals = true;
    server.poison[3] = server.poison[7] = true;
    begin();
    add_now(ROWS_OF(0, 1, 2, 3, 4, 5, 6, 7, 8, 9), 0, 0x100);
    WAIT(refusals > 0);
}

Test(marker, a_row_that_may_not_be_marked_holds_up_no_other)
{
    refuse_two_of_ten();
    cr_assert_eq(marker_unmarked(marker), 2);
    cr_assert(marker_has(marker, 3, SLICE_NULL) && marker_has(marker, 7, SLICE_NULL));
    cr_assert_str_eq(server.position, "", "nor does the position pass it");
    cr_assert_eq(error.code, CODE_MARK_REJECTED);
    cr_assert_not_null(strstr(error_message(&error), "marking rows of"), "%s",
                       error_message(&error));
    cr_assert_not_null(strstr(error_message(&error), "number 3 is refused: no (SQLSTATE P0001)"));
    cr_assert_not(marker_in_order(marker));
    PASS(refusals > 1); /* tried again, in vain */
    cr_assert_eq(healed, 0);
    cr_assert_eq(lost, 0);
    memset(server.poison, 0, sizeof(server.poison));
    PASS(healed == 1);
    cr_assert_eq(marker_unmarked(marker), 0);
    cr_assert(marker_in_order(marker));
    WAIT(!marker_pending(marker));
    cr_assert_str_eq(server.position, "0/100");
    for (int i = 0; i < 10; i++) {
        cr_assert_eq(server.marks_of[i], 1);
    }
}

Test(marker, a_row_that_may_not_be_marked_ends_a_drain_behind_all_others)
{
    refuse_two_of_ten();
    add(ROWS_OF(10), 0, 0);
    marker_drain(marker);
    PASS(lost == 1);
    cr_assert_eq(marker_unmarked(marker), 2);
    cr_assert_eq(error.code, CODE_MARK_REJECTED);
    cr_assert_eq(error.class, ERROR_FATAL);
}

Test(marker, so_many_rows_that_may_not_be_marked_are_no_single_ones)
{
    wants_refusals = true;
    pipeline.capture = CAPTURE_POLL;
    memset(server.poison, true, sizeof(server.poison));
    begin();
    int64_t seqs[ROWS + 1];
    for (int i = 0; i < ROWS; i++) {
        seqs[i] = i;
    }
    seqs[ROWS] = -1;
    add(seqs, 0, 0);
    marker_next(marker);
    WAIT(refusals == 1);
    cr_assert_eq(marker_unmarked(marker), ROWS);
    memset(server.poison, 0, sizeof(server.poison));
    PASS(healed == 1);
    cr_assert_eq(marker_unmarked(marker), 0);
}

Test(marker, rows_wait_for_the_interval)
{
    begin();
    add(ROWS_OF(1), 9, 0x100);
    marker_next(marker);
    turn();
    cr_assert_eq(server.marks, 0);
    pipeline.outbox.mark_interval_ms = 1;
    marker_next(marker);
    WAIT(marked == 1);
    cr_assert_str_eq(server.position, "0/100");
}

Test(marker, many_rows_do_not_wait)
{
    pipeline.limits.in_flight_events = 12;
    begin();
    add(ROWS_OF(1, 2), 9, 0x100);
    marker_next(marker);
    turn();
    cr_assert_eq(server.marks, 0);
    add(ROWS_OF(3), 9, 0x200);
    marker_next(marker);
    WAIT(marked == 1);
    cr_assert_eq(server.sent_rows, 3);
    cr_assert_str_eq(server.position, "0/200");
}

Test(marker, a_statement_without_a_position_sends_null)
{
    begin();
    add(ROWS_OF(1), 9, 0);
    marker_drain(marker);
    WAIT(marked == 1);
    cr_assert_str_eq(server.sent_position, "NULL");
    cr_assert_str_eq(server.position, "");
    cr_assert_eq(marker_position(marker).lsn, 0);
}

Test(marker, rows_that_cannot_be_seen_yet_are_sent_again)
{
    begin();
    server.visible[2] = false;
    server.snapshot = "9:9:"; /* 9 is running */
    add_now(ROWS_OF(1, 2, 3), 9, 0x100);
    WAIT(server.marks >= 3); /* again and again */
    cr_assert_eq(server.sent_rows, 1);
    cr_assert_str_eq(server.position, "");
    cr_assert_eq(marker_position(marker).lsn, 0);
    cr_assert(marker_has(marker, 2, SLICE_NULL));
    cr_assert_not(marker_has(marker, 1, SLICE_NULL));
    server.visible[2] = true;
    WAIT(!marker_pending(marker));
    cr_assert_str_eq(server.position, "0/100");
    cr_assert_eq(marker_position(marker).lsn, 0x100);
    cr_assert_eq(*stats.rows->marked, 3);
    cr_assert_eq(server.marks_of[1], 1);
    cr_assert_eq(server.marks_of[2], 1);
}

/* Transactions commit in another order than they took their numbers. */
Test(marker, missing_rows_in_any_order_are_kept)
{
    static const int64_t SEQS[] = {50, 7, 90, 3, 60, 1, 8, 70, -1};
    begin();
    for (size_t i = 0; SEQS[i] != -1; i++) {
        server.visible[SEQS[i]] = false;
    }
    server.snapshot = "9:9:";
    server.visible[60] = true;
    add_now(SEQS, 9, 0x100);
    WAIT(marked >= 1);
    for (size_t i = 0; SEQS[i] != -1; i++) {
        cr_assert_eq(marker_has(marker, SEQS[i], SLICE_NULL), SEQS[i] != 60, "%d", (int)SEQS[i]);
    }
    memset(server.visible, true, sizeof(server.visible));
    WAIT(!marker_pending(marker));
    for (size_t i = 0; SEQS[i] != -1; i++) {
        cr_assert_eq(server.marks_of[SEQS[i]], 1, "%d", (int)SEQS[i]);
    }
    cr_assert_str_eq(server.position, "0/100");
}

Test(marker, rows_that_somebody_deleted_do_not_hold_the_position)
{
    begin();
    server.visible[2] = false;
    server.snapshot = "10:10:"; /* 9 is over */
    add_now(ROWS_OF(1, 2), 9, 0x100);
    WAIT(!marker_pending(marker));
    cr_assert_eq(server.marks, 2, "the second has the position alone");
    cr_assert_eq(server.sent_rows, 0);
    cr_assert_str_eq(server.position, "0/100");
    cr_assert_eq(*stats.rows->marked, 1);
}

Test(marker, while_a_statement_runs_the_next_one_grows)
{
    begin();
    server.hang = true;
    add_now(ROWS_OF(1), 9, 0x100);
    turn();
    add_now(ROWS_OF(2), 9, 0x200);
    add_now(ROWS_OF(3, 4), 9, 0x300);
    turn();
    cr_assert_eq(server.marks, 1);
    cr_assert_eq(marked, 0);
    server.hang = false;
    stub_continue();
    WAIT(!marker_pending(marker));
    cr_assert_eq(server.marks, 2);
    cr_assert_eq(server.sent_rows, 3);
    cr_assert_str_eq(server.position, "0/300");
}

Test(marker, keep_commits_positions_alone)
{
    pipeline.outbox.on_publish = ON_PUBLISH_KEEP;
    begin();
    memset(server.visible, false, sizeof(server.visible)); /* nobody looks */
    add_now(ROWS_OF(1, 2), 9, 0x100);
    WAIT(marked == 1);
    cr_assert_eq(server.sent_rows, 0);
    cr_assert_str_eq(server.position, "0/100");
    cr_assert_not(marker_pending(marker));
    cr_assert_eq(*stats.rows->marked, 0);
}

Test(marker, what_a_lost_connection_left_open_is_marked_by_the_next)
{
    begin();
    server.hang = true;
    add_now(ROWS_OF(1, 2), 9, 0x100);
    turn();
    cr_assert_eq(server.marks, 1);
    pg_conn_close(conn);
    marker_stop(marker);
    cr_assert_eq(marker_unmarked(marker), 2);
    cr_assert(marker_recovering(marker));
    add(ROWS_OF(3), 9, 0x200);
    server.hang = false;
    connect_again(&(MarkerPosition){.lsn = 0x80});
    cr_assert_eq(marker_position(marker).lsn, 0x80);
    WAIT(!marker_pending(marker));
    cr_assert_not(marker_recovering(marker));
    cr_assert_eq(server.marks, 2);
    cr_assert_eq(server.sent_rows, 3);
    cr_assert_str_eq(server.position, "0/200");
}

Test(marker, a_statement_that_fails_is_reported_and_changes_nothing)
{
    begin();
    server.error = "53100";
    add_now(ROWS_OF(1), 9, 0x100);
    WAIT(lost == 1);
    cr_assert_not_null(strstr(error_message(&error), "53100"), "%s", error_message(&error));
    cr_assert_eq(marker_position(marker).lsn, 0);
    cr_assert_eq(marker_unmarked(marker), 1);
}

Test(marker, draining_writes_everything_at_once_and_no_upkeep)
{
    begin();
    marker_caught_up(marker, false); /* it would count */
    add(ROWS_OF(1, 2), 9, 0x100);
    marker_add_position(marker, &(MarkerPosition){.lsn = 0x200}, false);
    marker_drain(marker);
    WAIT(!marker_pending(marker));
    turn();
    cr_assert_str_eq(server.position, "0/200");
    cr_assert_eq(server.counts, 0);
    cr_assert_eq(server.prunes, 0);
    add(ROWS_OF(3), 9, 0x300);
    marker_next(marker);
    WAIT(!marker_pending(marker));
    cr_assert_str_eq(server.position, "0/300");
}

Test(marker, dead_letters_go_before_marks)
{
    begin();
    Batch *batch = batch_new();
    Event *event = batch_add(batch, given_schema(0));
    event->seq = 5;
    marker_add_aside(marker, event, &(Record){0}, &(Error){.code = CODE_RECORD_TOO_LARGE});
    add(ROWS_OF(1), 9, 0);
    marker_add_position(marker, &(MarkerPosition){.lsn = 0x100}, true);
    marker_next(marker);
    cr_assert_eq(server.letters, 1);
    cr_assert_eq(server.marks, 0);
    WAIT(asides == 1);
    WAIT(!marker_pending(marker));
    cr_assert_eq(server.marks, 1);
    batch_free(&batch);
}

Test(marker, without_anything_better_to_do_it_counts_and_prunes)
{
    pipeline.outbox.retain_ms = 1000;
    begin();
    bool capped = true;
    cr_assert_eq(marker_backlog(marker, &capped), -1);
    marker_caught_up(marker, false);
    marker_next(marker);
    WAIT(server.prunes == 1);
    WAIT(server.counts == 1);
    WAIT(idle >= 1);
    cr_assert_eq(*stats.rows->pruned, 3);
    cr_assert_eq(marker_backlog(marker, &capped), 12);
    cr_assert_not(capped);
}

Test(marker, polling_marks_rows_without_a_position)
{
    pipeline.capture = CAPTURE_POLL;
    begin();
    server.visible[2] = false;
    add(ROWS_OF(1, 2, 3), 0, 0);
    marker_next(marker);
    WAIT(marked == 1);
    cr_assert_eq(server.sent_rows, 3);
    cr_assert_eq(*stats.rows->marked, 2);
    cr_assert_not(marker_pending(marker), "a row that is gone is not looked for again");
}

Test(marker, polling_tells_rows_that_are_gone_from_rows_that_another_event_replaced)
{
    pipeline.capture = CAPTURE_POLL;
    server.id_type = "uuid";
    begin();
    server.visible[2] = false;
    server.visible[3] = false;
    server.replaced[3] = true;
    add(ROWS_OF(1, 2, 3), 0, 0);
    marker_next(marker);
    WAIT(marked == 1);
    cr_assert_eq(server.asks, 1);
    cr_assert_eq(*stats.rows->marked, 1);
    cr_assert_not(marker_pending(marker));
}

/* A trigger that returns NULL. */
Test(marker, rows_that_are_as_they_were_are_kept_and_tried_again)
{
    for (int i = 0; i < 2; i++) {
        pipeline.capture = i == 0 ? CAPTURE_POLL : CAPTURE_WAL;
        wants_refusals = true;
        begin();
        marked = 0;
        server.eats = true;
        server.visible[1] = server.visible[2] = false;
        add_now(ROWS_OF(1, 2), 9, 0x100);
        PASS(refusals == 1);
        cr_assert_eq(error.code, CODE_MARKS_IGNORED);
        cr_assert_eq(error.class, ERROR_RETRY);
        cr_assert_eq(server.marks, 2, "once may be a row that was deleted just then");
        cr_assert_eq(marker_unmarked(marker), 2);
        cr_assert_eq(marked, 0);
        server.eats = false;
        server.visible[1] = server.visible[2] = true;
        PASS(marked == 1);
        cr_assert_eq(healed, 1);
        cr_assert_eq(*stats.rows->marked, 2);
        cr_assert_eq(lost, 0);
        end();
        prepare();
    }
}

Test(marker, a_mark_raises_the_count_and_follows_the_row)
{
    for (int capture = 0; capture < 2; capture++) {
        pipeline.capture = capture == 0 ? CAPTURE_POLL : CAPTURE_WAL;
        prove();
        begin();
        marked = 0;
        for (int64_t seq = 1; seq <= 3; seq++) {
            add_now(ROWS_OF(seq), 0, 0x100);
            WAIT(!marker_pending(marker));
        }
        cr_assert_eq(lost, 0);
        cr_assert_eq(history.last.writes, server.writes);
        cr_assert_not(history.writing);
        cr_assert_eq(server.asks, 0);
        end();
        prepare();
    }
}

Test(marker, a_row_that_was_moved_is_found_again)
{
    pipeline.capture = CAPTURE_POLL;
    prove();
    begin();
    snprintf(server.ctid, sizeof(server.ctid), "(7,1)"); /* VACUUM FULL */
    add(ROWS_OF(1), 0, 0);
    marker_next(marker);
    WAIT(marked == 1);
    cr_assert_eq(lost, 0);
    cr_assert_eq(server.asks, 1);
    cr_assert_eq(server.marks_of[1], 1);
}

Test(marker, nothing_is_marked_once_another_relay_owns_the_table)
{
    for (int capture = 0; capture < 2; capture++) {
        pipeline.capture = capture == 0 ? CAPTURE_POLL : CAPTURE_WAL;
        prove();
        begin();
        lost = 0;
        snprintf(server.owner, sizeof(server.owner), "somebody else");
        add_now(ROWS_OF(1), 0, 0x100);
        WAIT(lost == 1);
        cr_assert_eq(error.code, CODE_OWNER_REPLACED);
        cr_assert_eq(error.class, ERROR_RETRY);
        cr_assert_eq(server.marks_of[1], 0);
        cr_assert_eq(marker_unmarked(marker), 1);
        marker_stop(marker);
        marker_forget(marker);
        cr_assert_eq(marker_unmarked(marker), 0);
        end();
        prepare();
    }
}

Test(marker, a_count_that_somebody_else_raised_is_another_owner)
{
    prove();
    begin();
    serve_write();
    add_now(ROWS_OF(1), 0, 0x100);
    WAIT(lost == 1);
    cr_assert_eq(error.code, CODE_OWNER_REPLACED);
}

Test(marker, a_write_without_an_answer_is_remembered)
{
    prove();
    begin();
    server.hang = true;
    add_now(ROWS_OF(1), 0, 0x100);
    WAIT(server.marks == 1);
    pg_conn_close(conn);
    marker_stop(marker);
    cr_assert(history.writing);
    cr_assert_eq(history.last.writes + 1, server.writes);
    server.hang = false;
}

/* Somebody holds a lock on the table. */
Test(marker, a_mark_that_waits_for_a_lock_gives_up_and_is_tried_again)
{
    for (int capture = 0; capture < 2; capture++) {
        pipeline.capture = capture == 0 ? CAPTURE_POLL : CAPTURE_WAL;
        pipeline.claim.lease_ms = 30;
        prove();
        begin();
        server.error = "55P03";
        marked = blocked = 0;
        add_now(ROWS_OF(1, 2), 0, 0x100);
        WAIT(server.prepares >= 2);
        cr_assert_eq(server.marks, 0, "it waits to be prepared already");
        server.error = NULL;
        WAIT(marked == 1);
        server.error = "55P03";
        add_now(ROWS_OF(3), 0, 0x200);
        WAIT(server.marks >= 4);
        cr_assert_eq(lost, 0);
        cr_assert_geq(blocked, 4, "the lease is asked about in between");
        cr_assert_eq(server.asks, 2, "the holder is looked for once each time");
        cr_assert_eq(marker_unmarked(marker), 1);
        cr_assert_not(history.writing, "it changed nothing");
        server.error = NULL;
        WAIT(!marker_pending(marker));
        cr_assert_eq(server.marks_of[3], 1);
        cr_assert_eq(*stats.rows->marked, 3);
        end();
        prepare();
    }
}

/* RENAME and CREATE between two marks. */
Test(marker, nothing_is_marked_while_another_table_has_the_name)
{
    for (int i = 0; i < 3; i++) {
        pipeline.capture = i < 2 ? CAPTURE_POLL : CAPTURE_WAL;
        if (i != 1) {
            prove(); /* else an adopted table, without a row of ours */
        }
        begin();
        marked = replaced = 0;
        server.renamed = true;
        add_now(ROWS_OF(1, 2), 0, 0x100);
        WAIT(replaced == 1);
        marker_next(marker);
        turn();
        cr_assert_eq(server.marks, 1, "it waits");
        cr_assert_eq(marker_unmarked(marker), 2);
        cr_assert_eq(lost, 0);
        table_rename(table, "outbox.event_2025");
        server.renamed = false;
        marker_renamed(marker);
        WAIT(marked == 1);
        cr_assert_eq(server.prepares, 2);
        cr_assert_eq(server.marks_of[1] + server.marks_of[2], 2);
        end();
        prepare();
    }
}

/* While the statements are prepared: the answer is about a name that the table has no more. */
Test(marker, a_rename_while_it_prepares_prepares_again)
{
    for (int i = 0; i < 2; i++) {
        prove();
        begin();
        marked = 0;
        add_now(ROWS_OF(1, 2), 0, 0x100);
        cr_assert(pg_conn_is_busy(conn), "on the wire");
        if (i == 0) {
            table_rename(table, "outbox.event_2025");
            marker_renamed(marker);
        }
        WAIT(marked == 1);
        cr_assert_eq(server.prepares, i == 0 ? 2 : 1);
        cr_assert_eq(server.marks, 1);
        end();
        prepare();
    }
}

Test(marker, marks_that_write_nothing_for_no_reason_end_the_session)
{
    prove();
    begin();
    server.deaf = true;
    add_now(ROWS_OF(1, 2), 0, 0x100);
    WAIT(lost == 1);
    cr_assert_eq(error.code, CODE_MARKS_WITHOUT_EFFECT);
    cr_assert_eq(error.class, ERROR_RETRY);
    cr_assert_eq(marker_unmarked(marker), 2, "nothing is given up");
    cr_assert_leq(server.marks, 5);
}

Test(marker, a_dead_letter_waits_for_a_lock_like_a_mark)
{
    pipeline.claim.lease_ms = 30;
    begin();
    server.error = "55P03";
    Batch *batch = batch_new();
    Event *event = batch_add(batch, given_schema(0));
    event->seq = 5;
    marker_add_aside(marker, event, &(Record){0}, &(Error){.code = CODE_RECORD_TOO_LARGE});
    marker_next(marker);
    WAIT(server.letters >= 3);
    cr_assert_eq(asides, 0);
    cr_assert_eq(lost, 0);
    server.error = NULL;
    WAIT(asides == 1);
    batch_free(&batch);
}

static void add_letter(Batch *batch, int64_t seq)
{
    Event *event = batch_add(batch, given_schema(0));
    event->seq = seq;
    marker_add_aside(marker, event, &(Record){0}, &(Error){.code = CODE_RECORD_TOO_LARGE});
    marker_next(marker);
}

Test(marker, a_dead_letter_that_is_refused_is_given_back_and_marks_go_on)
{
    begin();
    server.error = "42501";
    Batch *batch = batch_new();
    add_letter(batch, 5);
    WAIT(asides_refused == 1);
    cr_assert_not_null(strstr(error_message(&error), "writing to outbox.dead_letter"));
    cr_assert_not(marker_pending(marker), "it is its owner's again");
    server.error = NULL;
    add_now(ROWS_OF(1), 9, 0x100);
    WAIT(marker_unmarked(marker) == 0);
    add_letter(batch, 6);
    WAIT(asides == 1);
    cr_assert_eq(lost, 0);
    cr_assert_eq(refusals, 0);
    batch_free(&batch);
}

Test(marker, a_dead_letter_that_somebody_swallows_is_given_back)
{
    begin();
    server.swallows = true;
    Batch *batch = batch_new();
    add_letter(batch, 5);
    WAIT(asides_refused == 1);
    cr_assert_not_null(strstr(error_message(&error), "stored no row"));
    cr_assert_eq(asides, 0, "nobody would have the event");
    server.swallows = false;
    add_letter(batch, 5);
    WAIT(asides == 1);
    batch_free(&batch);
}

/* Many dead letters. */

static void add_letters(Batch *batch, int64_t count)
{
    for (int64_t seq = 1; seq <= count; seq++) {
        char *id = arena_alloc(&batch->arena, 16);
        snprintf(id, 16, "id %lld", (long long)seq);
        Event *event = batch_add(batch, given_schema(0));
        event->seq = seq;
        event->row[FIELD_EVENT_ID] = slice_of(id);
        marker_add_aside(marker, event, &(Record){0}, &(Error){.code = CODE_RECORD_TOO_LARGE});
    }
    marker_next(marker);
}

/* Each once, in order, but not this one. */
static void assert_asides(int64_t count, int64_t except)
{
    int64_t seq = 0;
    for (size_t i = 0; i < asides; i++) {
        seq += 1 + (seq + 1 == except);
        cr_assert_eq(aside_seqs[i], seq, "%lld", (long long)aside_seqs[i]);
    }
    cr_assert_eq((int64_t)asides, count - (except != 0));
}

Test(marker, many_dead_letters_take_few_statements_and_keep_their_order)
{
    begin();
    Batch *batch = batch_new();
    add_letters(batch, 300);
    add(ROWS_OF(1), 9, 0);
    marker_add_position(marker, &(MarkerPosition){.lsn = 0x100}, true);
    while (asides < 300) {
        cr_assert_eq(server.marks, 0, "letters go before marks");
        turn();
    }
    assert_asides(300, 0);
    cr_assert_leq(server.letters + server.groups, 12);
    WAIT(!marker_pending(marker));
    cr_assert_eq(server.marks, 1);
    batch_free(&batch);
}

Test(marker, a_dead_letter_among_many_that_is_refused_is_the_only_one)
{
    begin();
    server.bad_letter = 100;
    Batch *batch = batch_new();
    add_letters(batch, 300);
    WAIT(asides + asides_refused == 300);
    cr_assert_eq(asides_refused, 1);
    assert_asides(300, 100);
    cr_assert_eq(lost, 0);
    cr_assert_gt(server.groups, 4, "the others go together again");
    batch_free(&batch);
}

Test(marker, a_dead_letter_among_many_whose_row_is_gone_goes_by_its_bytes)
{
    begin();
    server.gone_letter = 100;
    Batch *batch = batch_new();
    add_letters(batch, 300);
    WAIT(asides == 300);
    assert_asides(300, 0);
    cr_assert_eq(asides_refused, 0);
    batch_free(&batch);
}

Test(marker, a_dead_letter_among_many_that_somebody_swallows_is_the_only_one)
{
    begin();
    server.swallowed_letter = 2;
    Batch *batch = batch_new();
    add_letters(batch, 300);
    WAIT(asides + asides_refused == 300);
    cr_assert_eq(asides_refused, 1);
    cr_assert_not_null(strstr(error_message(&error), "stored no row"));
    assert_asides(300, 2);
    batch_free(&batch);
}

Test(marker, many_dead_letters_whose_connection_breaks_are_not_reported)
{
    begin();
    server.break_group = true;
    Batch *batch = batch_new();
    add_letters(batch, 300);
    WAIT(lost == 1);
    cr_assert_eq(asides, 1, "the first went alone");
    cr_assert_not_null(strstr(error_message(&error), "writing to outbox.dead_letter"));
    batch_free(&batch);
}

Test(marker, that_is_stopped_while_it_reports_many_dead_letters_reports_no_more)
{
    begin();
    Batch *batch = batch_new();
    stop_at_aside = 2;
    add_letters(batch, 300);
    WAIT(asides == 2);
    turn();
    cr_assert_eq(asides, 2);
    cr_assert_not(marker_pending(marker));
    batch_free(&batch);
}

enum { LARGE_BYTES = 5 * 1024 * 1024 };

static void count_fed(void *arg, int connection, const char *bytes, size_t length)
{
    (void)arg;
    (void)connection;
    (void)bytes;
    server.fed_bytes += length;
}

/* A message, whose value stands in memory. */
static void add_large_letter(Batch *batch)
{
    stub_stream_receive(count_fed);
    Event *event = batch_add(batch, given_schema(0));
    event->seq = EVENT_NO_SEQ;
    Refusal *refusal = refusal_new(event, 1);
    char *value = arena_alloc(&batch->arena, LARGE_BYTES);
    memset(value, 'x', LARGE_BYTES);
    refusal->values[refusal->count++] = (RefusedValue){
        .target = FIELD_CORRELATION_ID, .bytes = {.data = value, .length = LARGE_BYTES}};
    marker_add_aside(marker, event, &(Record){0}, &(Error){.code = CODE_EVENT_TOO_LARGE});
    marker_next(marker);
}

Test(marker, a_large_dead_letter_is_fed)
{
    begin();
    Batch *batch = batch_new();
    add_large_letter(batch);
    WAIT(asides == 1);
    cr_assert_eq(server.feeds, 1);
    cr_assert_eq(server.letters, 0);
    cr_assert_geq(server.fed_bytes, LARGE_BYTES);
    add_letter(batch, 6);
    WAIT(asides == 2);
    cr_assert_eq(server.letters, 1);
    batch_free(&batch);
}

Test(marker, a_large_dead_letter_is_inserted_where_the_table_takes_no_copy)
{
    /* policies, a view; other types of its columns: "insufficient data left in message", "incorrect
     * binary data format", another type of elements, "unsupported jsonb version" */
    const char *states[] = {"0A000", "42809", "08P01", "22P03", "22P02", "42804", "XX000"};
    begin();
    Batch *batch = batch_new();
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
        server.feed_error = states[i];
        add_large_letter(batch);
        WAIT(asides == i + 1);
        cr_assert_eq(server.letters, i + 1);
        cr_assert_eq(server.feeds, i + 1);
    }
    batch_free(&batch);
}

Test(marker, a_dead_letter_with_characters_that_the_database_lacks_is_told_otherwise)
{
    begin();
    Batch *batch = batch_new();
    server.feed_error = "22P05";
    add_large_letter(batch);
    WAIT(asides == 1);
    cr_assert_eq(server.feeds, 2);
    cr_assert_eq(server.letters, 1, "nor does it take a COPY of ours");
    batch_free(&batch);
}

Test(marker, a_large_dead_letter_that_is_refused_or_swallowed_is_given_back)
{
    begin();
    Batch *batch = batch_new();
    server.feed_error = "42501";
    add_large_letter(batch);
    WAIT(asides_refused == 1);
    server.feed_error = NULL;
    server.swallows = true;
    add_large_letter(batch);
    WAIT(asides_refused == 2);
    cr_assert_not_null(strstr(error_message(&error), "stored no row"));
    cr_assert_eq(server.letters, 0);
    cr_assert_eq(asides, 0);
    batch_free(&batch);
}

Test(marker, a_connection_that_ends_while_a_large_dead_letter_is_fed_leaves_nothing)
{
    begin();
    Batch *batch = batch_new();
    add_large_letter(batch);
    while (server.fed_bytes == 0) { /* a turn brings a part of it */
        event_base_loop(base, EVLOOP_ONCE);
    }
    cr_assert_lt(server.fed_bytes, LARGE_BYTES, "it is under way");
    pg_conn_close(conn);
    marker_stop(marker);
    batch_free(&batch);
    cr_assert_eq(asides, 0);
}

Test(marker, old_rows_that_may_not_be_deleted_stop_nothing)
{
    pipeline.outbox.retain_ms = 1000;
    begin();
    marker_caught_up(marker, true);
    server.prune_error = "23503";
    marker_next(marker);
    WAIT(server.prunes == 1);
    add_now(ROWS_OF(1), 9, 0x100);
    WAIT(marker_unmarked(marker) == 0);
    cr_assert_eq(lost, 0);
    cr_assert_eq(refusals, 0);
    cr_assert_eq(server.prunes, 1, "not again at once");
}

Test(marker, a_server_that_ends_or_is_no_primary_is_lost_not_the_letter)
{
    begin();
    server.error = "25006";
    Batch *batch = batch_new();
    add_letter(batch, 5);
    WAIT(lost == 1);
    cr_assert_eq(asides_refused, 0);
    batch_free(&batch);
}

Test(marker, rows_are_looked_at_and_those_that_are_gone_are_told)
{
    begin();
    EventRow seven = {.seq = 7, .id = event_id_hash(SLICE_LITERAL("seven"))};
    EventRow another = {.seq = 7, .id = event_id_hash(SLICE_LITERAL("another"))};
    cr_assert(marker_look_at(marker, (const EventRow[]){seven, {.seq = 8, .id = seven.id}}, 2));
    WAIT(looks == 2);
    cr_assert_eq(looked_seq, 8);
    cr_assert_eq(looked, SOURCE_ROW_GONE);
    marker_look_at(marker, &another, 1);
    WAIT(looks == 3);
    cr_assert_eq(looked, SOURCE_ROW_GONE, "its number was given out again");
    looks = 2;
    marker_look_at(marker, &seven, 1);
    WAIT(looks == 3);
    uint64_t before = looked;
    cr_assert_neq(before, SOURCE_ROW_GONE);
    marker_look_at(marker, &seven, 1);
    WAIT(looks == 4);
    cr_assert_eq(looked, before);
    server.row_ctid = "(0,9)";
    marker_look_at(marker, &seven, 1);
    WAIT(looks == 5);
    cr_assert_neq(looked, before, "an UPDATE moved it");
}

Test(marker, rows_that_may_not_be_looked_at_do_no_harm)
{
    begin();
    server.error = "42501";
    EventRow row = {.seq = 7};
    cr_assert(marker_look_at(marker, &row, 1));
    WAIT(server.row_looks == 1);
    turn();
    cr_assert_not(marker_look_at(marker, &row, 1));
    turn();
    cr_assert_eq(server.row_looks, 1, "not again in this session");
    cr_assert_eq(looks, 0);
    cr_assert_eq(lost, 0);
    cr_assert_eq(refusals, 0);
}

Test(marker, a_lock_that_is_never_freed_does_not_keep_it_from_stopping)
{
    pipeline.claim.lease_ms = 30;
    begin();
    server.error = "55P03";
    add_now(ROWS_OF(1), 9, 0x100);
    WAIT(server.prepares >= 2);
    pg_conn_close(conn);
    marker_stop(marker);
    cr_assert_eq(marker_unmarked(marker), 1);
    server.error = NULL;
    connect_again(NULL);
    WAIT(!marker_pending(marker));
    cr_assert_eq(server.marks_of[1], 1);
}
