#include "watch_rig.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "flow/event.h"
#include "stub/given.h"

WatchRig at;

static void note_sql(Text *to, const char *sql)
{
    text_clear(to);
    text_add(to, sql);
}

static void serve_server(const char *sql, StubReply *reply)
{
    at.servers++;
    note_sql(&at.server_sql, sql);
    stub_reply_row(reply, "oldest_xid", at.oldest_xid, "sees_all", at.sees_all, "age", at.age,
                   "prepared_age", STUB_NULL, NULL);
    if (strstr(sql, "pg_replication_slots") != NULL) {
        stub_reply_row(reply, "i", "1", "active", "t", "wal_status", "extended", "safe_wal_size",
                       at.safe, "retained", at.retained, "confirmed_lag", "77", "spill", "12",
                       NULL);
    }
}

/* The first pipeline polls, the second reads the log. */
static void serve_preconditions(const char *sql, StubReply *reply)
{
    at.preconditions++;
    at.prepares += strstr(sql, "PREPARE outboxd_look_") != NULL;
    cr_assert(strstr(sql, "AS wal_end;") < strstr(sql, "EXECUTE outboxd_look_0"));
    stub_reply_row(reply, "wal_end", "0/7000", NULL);
    stub_reply_row(reply, "i", "0", "role", "relay", "version", "150000", "table_oid", "4242",
                   "kind", "r", "in_recovery", at.recovery ? "t" : "f", "updates",
                   at.may_mark ? "t" : "f", "cache", at.cached ? "20" : "1", "drawn",
                   at.drawn_elsewhere ? "f" : "t", "sequence", "event_seq", "seq_number", "1",
                   NULL);
    stub_reply_row(reply, "i", "1", "role", "relay", "version", "150000", "table_oid", "4343",
                   "kind", "r", "position", "outbox.position", "identity",
                   "publication 7:8 table 4343", NULL);
}

void rig_serve(void *arg, const StubQuery *query, StubReply *reply)
{
    (void)arg;
    const char *sql = query->sql;
    if (at.hanging != NULL && strstr(sql, at.hanging) != NULL) {
        stub_reply_hang(reply);
    }
    if (at.broken != NULL && strstr(sql, at.broken) != NULL) {
        stub_reply_error(reply, at.state != NULL ? at.state : "42501", "permission denied");
    } else if (strstr(sql, "EXECUTE outboxd_look_") != NULL) {
        serve_preconditions(sql, reply);
    } else if (strstr(sql, "LISTEN outboxd_pause") != NULL) {
        at.sessions++;
        stub_reply_command(reply, 0);
    } else if (strstr(sql, " AS pause") != NULL) {
        at.names++;
        stub_reply_row(reply, "i", "0", "table_oid", "4242", "pause", at.pause_table, "dead",
                       at.dead_letter, NULL);
        stub_reply_more(reply, "i", "1", "table_oid", "4343", "pause", at.pause_table, "dead",
                        at.dead_letter, NULL);
    } else if (strstr(sql, "paused_by") != NULL) {
        at.pauses++;
        if (at.paused) {
            stub_reply_row(reply, "i", "0", "since", "1000000", "paused_by", "root@db", "reason",
                           "moving", NULL);
        } else {
            stub_reply_no_row(reply);
        }
    } else if (strstr(sql, "pg_stat_activity") != NULL) {
        serve_server(sql, reply);
    } else if (strstr(sql, "ORDER BY id DESC") != NULL) {
        at.deads++;
        stub_reply_row(reply, "n", "3", "latest", "5000000", NULL);
    } else if (strstr(sql, "AS part") != NULL) {
        at.oldests++;
        note_sql(&at.oldest_sql, sql);
        bool any = at.oldest_seq != NULL;
        stub_reply_row(reply, "server", "1700000000000000", "insert_lsn", at.insert_lsn, "top",
                       any ? at.oldest_seq : STUB_NULL, "part", any ? "o" : STUB_NULL, "seq",
                       any ? at.oldest_seq : STUB_NULL, "id", at.event_id, "long", "f", "age",
                       at.occurred_age, "occurred_at", "1000000", "type", "order.placed", "key",
                       "k-7", NULL);
    } else {
        cr_assert_fail("what is '%s'?", sql);
    }
}

static void on_pauses(void *arg, bool known)
{
    cr_assert_eq(arg, &at);
    at.known += known;
    at.failed += !known;
    at.server_asked_first |= at.known == 1 && at.servers > 0;
}

static WatchRole on_role(void *arg, size_t index)
{
    (void)arg;
    return index == 0 ? at.role : (WatchRole){0};
}

static SourceSight on_sight(void *arg, size_t index, const Sighting *row)
{
    (void)arg;
    cr_assert_eq(index, 0);
    cr_assert_gt(row->first_us, 0);
    at.sights++;
    return at.sight;
}

static void on_look_again(void *arg, size_t index, int64_t seq)
{
    (void)arg;
    cr_assert_eq(index, 0);
    cr_assert_eq(seq, 17);
    at.complaints_asked += at.complaints;
    at.asked_again++;
}

static void on_looked(void *arg, size_t index, const SourceLook *look)
{
    (void)arg;
    cr_assert_eq(index, 0);
    at.looks_told++;
    at.look = *look;
}

static void on_follow(void *arg, size_t index, int64_t low, int64_t high)
{
    (void)arg;
    if (index == 0) {
        at.follow_low = low;
        at.follow_high = high;
    }
}

static void on_unseen(void *arg, size_t index, const Error *err)
{
    (void)arg;
    cr_assert_eq(index, 0);
    at.complaints += err != NULL;
    at.over += err == NULL;
    error_copy(&at.unseen, err != NULL ? err : &(Error){0});
}

static void on_preconditions(void *arg, size_t index, const PreconditionLook *look)
{
    cr_assert_eq(arg, &at);
    if (index == 1) {
        snprintf(at.identity, sizeof(at.identity), "%s", look->identity);
        return;
    }
    const Error *broken = precondition_broken(look);
    at.verdicts++;
    at.wal_end = look->wal_end;
    at.faults = look->fault_count;
    snprintf(at.fault, sizeof(at.fault), "%s", broken != NULL ? error_code_name(broken->code) : "");
}

static void on_worker(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
    worker_dispatch(at.worker);
}

static void begin(void)
{
    memset(&at, 0, sizeof(at));
    log_configure(LOG_FORMAT_LOGFMT, LOG_ERROR);
    at.base = event_base_new();
    at.worker = worker_new();
    at.worker_io = event_new(at.base, worker_fd(at.worker), EV_READ | EV_PERSIST, on_worker, NULL);
    event_add(at.worker_io, NULL);
    at.metrics = metrics_new();
    at.pipelines[0] = given_pipeline();
    at.pipelines[0].outbox.on_publish = ON_PUBLISH_MARK;
    at.pipelines[1] = given_pipeline();
    at.pipelines[1].name = GIVEN("audit");
    at.pipelines[1].capture = CAPTURE_WAL;
    at.pipelines[1].wal.slot = GIVEN("outboxd_audit");
    at.pipelines[0].wal.publication = GIVEN("outboxd_orders");
    at.pipelines[1].wal.publication = GIVEN("outboxd_audit");
    at.pipelines[1].outbox.table = GIVEN("audit.event");
    at.config = (Config){.name = GIVEN("shop"), .pipelines = at.pipelines, .pipeline_count = 2};
    at.config.database.dsn = GIVEN("dbname=shop");
    at.config.database.connect_timeout_ms = 5000;
    at.config.monitor.interval_ms = 3;
    at.pause_table = "outbox.pause";
    at.dead_letter = "outbox.dead_letter";
    at.safe = STUB_NULL;
    at.retained = "1000";
    at.oldest_xid = STUB_NULL;
    at.sees_all = "t";
    at.age = STUB_NULL;
    at.occurred_age = "2.5";
    at.event_id = "id-17";
    at.insert_lsn = "4096";
    at.may_mark = true;
    stub_reset(rig_serve, NULL);
}

static void end(void)
{
    watch_free(&at.watch);
    event_free(at.worker_io);
    worker_free(&at.worker);
    event_base_free(at.base);
    metrics_free(&at.metrics);
    text_free(&at.server_sql);
    text_free(&at.oldest_sql);
    cr_assert_eq(stub_open_results(), 0);
}

TestSuite(watch, .init = begin, .fini = end);

WatchOptions rig_options(void)
{
    return (WatchOptions){.base = at.base,
                          .worker = at.worker,
                          .config = &at.config,
                          .metrics = at.metrics,
                          .arg = &at,
                          .pauses = on_pauses,
                          .preconditions = on_preconditions,
                          .role = on_role,
                          .sight = on_sight,
                          .look_again = on_look_again,
                          .looked = on_looked,
                          .follow = on_follow,
                          .unseen = on_unseen};
}

void rig_start(void)
{
    AUTO_ERROR err = {0};
    WatchOptions all = rig_options();
    cr_assert_eq(watch_new(&all, &at.watch, &err), OK, "%s", error_message(&err));
}

bool rig_oldest(WatchOldest *ret)
{
    *ret = (WatchOldest){0};
    return watch_oldest(at.watch, 0, at.role.judges || at.role.waits, 0, ret);
}

bool rig_has_oldest(void)
{
    WatchOldest ignored;
    return rig_oldest(&ignored);
}

void rig_wait_looks(size_t count)
{
    size_t least = at.servers + count;
    WAIT(at.servers >= least && !at.watch->looking);
}

void rig_assert_exposed(const char *line, bool expected)
{
    AUTO_BUFFER text = TEXT_EMPTY;
    watch_collect(at.watch);
    metrics_expose(at.metrics, &text);
    cr_assert_eq(strstr(text_string(&text), line) != NULL, expected, "%s in\n%s", line,
                 text_string(&text));
}
