/* The watch over a libpq that the test plays: see tests/stub/libpq.h. */
#include <criterion/criterion.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "flow/event.h"
#include "stub/clock.h"
#include "stub/given.h"
#include "stub/libpq.h"
#include "watch/watch_internal.h"

enum { WAIT_US = 10000000 };

static struct {
    struct event_base *base;
    Worker *worker;
    struct event *worker_io;
    Metrics *metrics;
    Config config;
    PipelineConfig pipelines[2];
    Watch *watch;
    size_t known;  /* calls of pauses(known) */
    size_t failed; /* calls of pauses(!known) */
    bool server_asked_first;
    /* The server. */
    size_t sessions, names, pauses, servers, oldests, deads, preconditions, prepares;
    bool recovery, may_mark, cached, drawn_elsewhere;
    size_t verdicts, faults; /* of the first pipeline; the last verdict */
    char fault[48];
    uint64_t wal_end;
    char identity[PRECONDITION_IDENTITY_MAX]; /* of the second */
    const char *pause_table;
    const char *dead_letter;
    bool paused;
    const char *safe;
    const char *retained;
    const char *oldest_xid;
    const char *sees_all;
    const char *age;
    const char *oldest_seq; /* NULL: there is none */
    const char *occurred_age;
    const char *event_id;
    const char *insert_lsn;
    WatchRole role;
    SourceSight sight;
    size_t sights, asked_again, looks_told;
    SourceLook look;
    int64_t follow_low, follow_high;
    size_t complaints, over;
    Error unseen;
    const char *broken;  /* queries that hold this fail */
    const char *state;   /* of what is broken */
    const char *hanging; /* queries that hold this wait for stub_continue() */
    Text server_sql;
    Text oldest_sql;
} at;

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

static void serve(void *arg, const StubQuery *query, StubReply *reply)
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
    stub_reset(serve, NULL);
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

static WatchOptions options(void)
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

static void start(void)
{
    AUTO_ERROR err = {0};
    WatchOptions all = options();
    cr_assert_eq(watch_new(&all, &at.watch, &err), OK, "%s", error_message(&err));
}

static bool oldest(WatchOldest *ret)
{
    *ret = (WatchOldest){0};
    return watch_oldest(at.watch, 0, at.role.judges || at.role.waits, 0, ret);
}

static bool has_oldest(void)
{
    WatchOldest ignored;
    return oldest(&ignored);
}

/* Turns the loop until the condition holds. */
#define WAIT(condition)                                                                            \
    do {                                                                                           \
        int64_t deadline_us = clock_monotonic_us() + WAIT_US;                                      \
        while (!(condition)) {                                                                     \
            cr_assert(clock_monotonic_us() < deadline_us, "not in time: %s", #condition);          \
            event_base_loop(at.base, EVLOOP_NONBLOCK);                                             \
            sched_yield();                                                                         \
        }                                                                                          \
    } while (0)

/* Likewise, and time passes whenever nothing else happens. */
#define PASS(condition)                                                                            \
    do {                                                                                           \
        int64_t deadline_us = clock_real_us() + WAIT_US;                                           \
        while (!(condition)) {                                                                     \
            cr_assert(clock_real_us() < deadline_us, "not in time: %s", #condition);               \
            clock_turn(at.base);                                                                   \
        }                                                                                          \
    } while (0)

static void wait_looks(size_t count)
{
    size_t least = at.servers + count;
    WAIT(at.servers >= least && !at.watch->looking);
}

static void assert_exposed(const char *line, bool expected)
{
    AUTO_BUFFER text = TEXT_EMPTY;
    watch_collect(at.watch);
    metrics_expose(at.metrics, &text);
    cr_assert_eq(strstr(text_string(&text), line) != NULL, expected, "%s in\n%s", line,
                 text_string(&text));
}

/* What a look tells. */

Test(watch, a_look_tells_all_and_metrics_show_it)
{
    at.paused = true;
    at.safe = "500000";
    at.oldest_seq = "17";
    start();
    wait_looks(1);
    cr_assert_str_eq(stub_connect_value("fallback_application_name"), "shop/watch");
    cr_assert(watch_server(at.watch)->up);
    cr_assert_str_eq(watch_server(at.watch)->address, "db:5432/shop");
    cr_assert_str_eq(watch_server(at.watch)->version, "15.20");
    const WatchFacts *orders = watch_facts(at.watch, 0);
    cr_assert(orders->paused);
    cr_assert_eq(orders->paused_since_us, 1000000);
    cr_assert_str_eq(orders->paused_by, "root@db");
    cr_assert_str_eq(orders->pause_reason, "moving");
    WatchOldest row;
    cr_assert(oldest(&row));
    cr_assert_eq(row.seq, 17);
    cr_assert_str_eq(row.aggregate_id, "k-7");
    cr_assert_eq(orders->dead_letters, 3);
    cr_assert_not(orders->slot.present);
    const WatchFacts *audit = watch_facts(at.watch, 1);
    cr_assert_not(audit->paused);
    cr_assert_str_eq(audit->slot.status, "extended");
    assert_exposed("outboxd_watch_up 1\n", true);
    assert_exposed("outboxd_paused{pipeline=\"orders\"} 1\n", true);
    assert_exposed("outboxd_paused{pipeline=\"audit\"} 0\n", true);
    assert_exposed("outboxd_dead_letters{pipeline=\"orders\"} 3\n", true);
    assert_exposed("outboxd_slot_retained_wal_bytes{pipeline=\"audit\",slot=\"outboxd_audit\"} "
                   "1000\n",
                   true);
    assert_exposed("outboxd_slot_confirmed_lag_bytes{pipeline=\"audit\",slot=\"outboxd_audit\"} "
                   "77\n",
                   true);
    assert_exposed("outboxd_slot_safe_wal_bytes{pipeline=\"audit\",slot=\"outboxd_audit\"} "
                   "500000\n",
                   true);
    assert_exposed("outboxd_slot_spill_bytes_total{pipeline=\"audit\",slot=\"outboxd_audit\"} 12\n",
                   true);
    assert_exposed("slot=\"outboxd_audit\",status=\"extended\"} 1\n", true);
    assert_exposed("slot=\"outboxd_audit\",status=\"reserved\"} 0\n", true);
    assert_exposed("outboxd_watch_duration_seconds_count 1\n", at.servers == 1);
    assert_exposed("slot_active{pipeline=\"orders\"", false);
}

Test(watch, pauses_are_known_before_anything_else_is_asked)
{
    start();
    WAIT(at.known > 0);
    cr_assert_not(at.server_asked_first);
    cr_assert(watch_knows_pauses(at.watch));
    cr_assert_eq(at.failed, 0);
}

Test(watch, without_its_tables_nothing_is_paused_or_counted)
{
    at.pause_table = at.dead_letter = STUB_NULL;
    start();
    wait_looks(1);
    cr_assert_eq(at.pauses, 0);
    cr_assert_eq(at.deads, 0);
    cr_assert(watch_knows_pauses(at.watch));
    cr_assert(isnan(watch_facts(at.watch, 0)->dead_letters));
    cr_assert(watch_server(at.watch)->up);
    assert_exposed("outboxd_dead_letters{", false);
    assert_exposed("outboxd_slot_safe_wal_bytes{", false); /* no max_slot_wal_keep_size */
}

Test(watch, rows_that_are_kept_tell_nothing)
{
    at.pipelines[0].outbox.on_publish = at.pipelines[1].outbox.on_publish = ON_PUBLISH_KEEP;
    start();
    wait_looks(1);
    cr_assert_eq(at.oldests, 0);
}

Test(watch, an_adopted_table_is_asked_by_its_own_names)
{
    at.pipelines[0].outbox.columns[FIELD_SEQ] = GIVEN("Nr");
    at.pipelines[0].outbox.columns[FIELD_AGGREGATE_ID] = GIVEN("");
    at.pipelines[0].outbox.columns[FIELD_OCCURRED_AT] = GIVEN("");
    at.pipelines[1].outbox.on_publish = ON_PUBLISH_KEEP;
    start();
    wait_looks(1);
    cr_assert_not_null(strstr(text_string(&at.oldest_sql),
                              "\"Nr\"::bigint AS seq, \"event_id\"::text AS id, "
                              "NULL::timestamptz AS at"),
                       "%s", text_string(&at.oldest_sql));
    cr_assert_not_null(strstr(text_string(&at.oldest_sql), "left(NULL::text, 100) AS key"));
    cr_assert_not_null(strstr(text_string(&at.oldest_sql), "ORDER BY o.\"Nr\" LIMIT 100)"));
}

Test(watch, slot_statistics_are_asked_only_where_they_are)
{
    start();
    wait_looks(1);
    cr_assert_not_null(strstr(text_string(&at.server_sql), "pg_stat_replication_slots"));
    watch_free(&at.watch);
    stub_set_version(130015);
    start();
    wait_looks(1);
    cr_assert_null(strstr(text_string(&at.server_sql), "pg_stat_replication_slots"));
}

/* The oldest row. */

Test(watch, to_a_standby_a_row_that_passes_by_is_as_old_as_it_was_and_one_that_stays_grows_older)
{
    at.config.monitor.interval_ms = 3600000;
    at.role = (WatchRole){.stands_by = true};
    at.oldest_seq = "17";
    start();
    wait_looks(1);
    WatchOldest first, later;
    cr_assert(oldest(&first));
    cr_assert_float_eq(first.lag_seconds, 2.5, 1e-3);
    int64_t until_us = clock_monotonic_us() + 20000;
    WAIT(clock_monotonic_us() > until_us);
    cr_assert(oldest(&later));
    cr_assert_eq(first.lag_seconds, later.lag_seconds, "it may be published by now");
    WAIT((watch_hurry(at.watch), oldest(&first) && first.lag_seconds > 2.52));
    WAIT(oldest(&later) && later.lag_seconds > first.lag_seconds);
    at.oldest_seq = NULL;
    WAIT((watch_hurry(at.watch), !has_oldest()));
}

Test(watch, the_owner_counts_a_row_only_if_it_published_nothing_since_or_two_looks_saw_it)
{
    at.config.monitor.interval_ms = 3600000;
    at.role = (WatchRole){.judges = true};
    at.sight = SIGHT_KNOWN;
    at.oldest_seq = "17";
    start();
    wait_looks(1);
    WatchOldest row;
    int64_t published_us = clock_monotonic_us();
    cr_assert(watch_oldest(at.watch, 0, true, 0, &row));
    cr_assert_not(watch_oldest(at.watch, 0, true, published_us, &row), "it may be that one");
    WAIT((watch_hurry(at.watch), watch_oldest(at.watch, 0, true, INT64_MAX, &row)));
}

Test(watch, what_is_settled_is_not_waited_for_any_more)
{
    at.role = (WatchRole){.judges = true};
    at.oldest_seq = "17";
    start();
    wait_looks(3);
    cr_assert(has_oldest());
    cr_assert_eq(at.follow_low, 17);
    cr_assert_eq(at.follow_high, 17);
    watch_settled(at.watch, 0, 17, SLICE_LITERAL("another"));
    cr_assert(has_oldest(), "the number was given out again");
    watch_settled(at.watch, 0, 17, SLICE_LITERAL("id-17"));
    cr_assert_not(has_oldest());
    wait_looks(2);
    cr_assert_not(has_oldest(), "not although its mark is late");
}

Test(watch, a_row_whose_mark_is_under_way_is_not_old)
{
    at.config.monitor.interval_ms = 3600000;
    at.role = (WatchRole){.judges = true};
    at.sight = SIGHT_PUBLISHED;
    at.oldest_seq = "17";
    start();
    wait_looks(1);
    cr_assert_not(has_oldest());
    cr_assert_eq(at.sights, 1);
}

Test(watch, while_something_waits_rows_are_looked_at_more_often_than_the_rest)
{
    at.config.monitor.interval_ms = 3600000;
    at.pipelines[0].outbox.unseen_after_ms = 300;
    at.role = (WatchRole){.judges = true};
    at.oldest_seq = "17";
    start();
    wait_looks(1);
    size_t looks = at.oldests;
    WAIT(at.oldests >= looks + 2);
    cr_assert_eq(at.servers, 1);
    cr_assert_eq(at.looks_told, at.oldests - 1, "the rows of the other are not");
}

Test(watch, draining_it_looks_at_rows_alone_and_does_not_connect_again)
{
    at.role = (WatchRole){.waits = true};
    at.oldest_seq = "17";
    start();
    wait_looks(1);
    size_t servers = at.servers;
    size_t looks = at.oldests;
    watch_drain(at.watch);
    WAIT(at.oldests > looks);
    cr_assert(has_oldest());
    cr_assert_leq(at.servers, servers + 1);
    stub_break_idle(1);
    WAIT(!watch_server(at.watch)->up);
    int64_t until_us = clock_monotonic_us() + 300000;
    WAIT(clock_monotonic_us() > until_us);
    cr_assert_eq(stub_open_connections(), 0);
}

/* The net. */

static void start_net(Capture capture)
{
    at.pipelines[1].outbox.on_publish = ON_PUBLISH_KEEP;
    at.pipelines[0].capture = capture;
    at.pipelines[0].wal.slot = GIVEN("outboxd_orders");
    at.pipelines[0].outbox.unseen_after_ms = 40;
    at.pipelines[0].poll.sweep_interval_ms = 10;
    at.role = (WatchRole){.judges = true};
    at.sight = SIGHT_UNKNOWN;
    at.oldest_seq = "17";
    start();
}

Test(watch, a_row_that_stays_unknown_is_said_with_the_way_back_and_that_it_is_over)
{
    start_net(CAPTURE_WAL);
    WAIT(at.complaints > 0);
    cr_assert_eq(at.unseen.code, CODE_EVENT_UNSEEN);
    cr_assert_not_null(strstr(error_message(&at.unseen), "seq 17, id id-17, type 'order.placed'"),
                       "%s", error_message(&at.unseen));
    cr_assert_not_null(strstr(error_own_hint(&at.unseen), "outboxd run --new-slot"));
    cr_assert_eq(at.asked_again, 0, "nothing is published outside of the stream");
    cr_assert_not_null(strstr(text_string(&at.oldest_sql), "IN (17)"), "by number, too: %s",
                       text_string(&at.oldest_sql));
    assert_exposed("outboxd_unseen_events{pipeline=\"orders\"} 1\n", true);
    assert_exposed("outboxd_unseen_events_found_total{pipeline=\"orders\"} 1\n", true);
    cr_assert_eq(at.look.unknown, 1);
    cr_assert_eq(at.look.first_unknown, 17);
    cr_assert_eq(at.look.insert_lsn, 4096);
    cr_assert(at.look.complete);
    wait_looks(3);
    cr_assert_eq(at.complaints, 1);
    at.oldest_seq = NULL;
    WAIT(at.over == 1);
    assert_exposed("outboxd_unseen_events{pipeline=\"orders\"} 0\n", true);
    assert_exposed("outboxd_unseen_events_found_total{pipeline=\"orders\"} 1\n", true);
}

Test(watch, a_poll_is_asked_to_look_again_before_anything_is_said)
{
    start_net(CAPTURE_POLL);
    WAIT(at.asked_again == 1);
    cr_assert_eq(at.complaints, 0);
    WAIT(at.complaints == 1);
    cr_assert_not_null(strstr(error_own_hint(&at.unseen), "row-level security"));
    at.sight = SIGHT_KNOWN;
    WAIT(at.over == 1);
}

Test(watch, what_is_known_behind_or_being_marked_is_not_unseen)
{
    start_net(CAPTURE_WAL);
    SourceSight sights[] = {SIGHT_KNOWN, SIGHT_BEHIND, SIGHT_PUBLISHED};
    for (size_t i = 0; i < sizeof(sights) / sizeof(sights[0]); i++) {
        at.sight = sights[i];
        int64_t until_us = clock_monotonic_us() + 100000;
        WAIT(clock_monotonic_us() > until_us);
        cr_assert_eq(at.complaints, 0);
    }
    cr_assert_gt(at.sights, 10);
}

Test(watch, while_nothing_is_published_nobody_is_asked)
{
    start_net(CAPTURE_WAL);
    at.role = (WatchRole){.waits = true}; /* paused, say */
    int64_t until_us = clock_monotonic_us() + 100000;
    WAIT(clock_monotonic_us() > until_us);
    cr_assert_eq(at.sights, 0);
    at.role = (WatchRole){.judges = true};
    WAIT(at.complaints == 1);
    at.role = (WatchRole){.waits = true};
    wait_looks(3);
    cr_assert_eq(at.over, 0, "a pause mends nothing");
    at.role = (WatchRole){.stands_by = true};
    WAIT(at.over == 1);
}

/* The oldest transaction. */

Test(watch, a_role_that_sees_all_is_told_the_age)
{
    at.age = "12.5";
    start();
    wait_looks(1);
    cr_assert(watch_server(at.watch)->oldest_transaction_exact);
    cr_assert_eq(watch_server(at.watch)->oldest_transaction_seconds, 12.5);
    assert_exposed("outboxd_oldest_transaction_age_seconds{pipeline=\"orders\"} 12.5\n", true);
}

Test(watch, other_roles_see_since_when_the_oldest_xid_is_the_same)
{
    at.sees_all = "f";
    start();
    wait_looks(2);
    cr_assert_eq(watch_server(at.watch)->oldest_transaction_seconds, 0, "nobody writes");
    at.oldest_xid = "700";
    wait_looks(2);
    double age = watch_server(at.watch)->oldest_transaction_seconds;
    cr_assert_gt(age, 0);
    cr_assert_not(watch_server(at.watch)->oldest_transaction_exact);
    WAIT(watch_server(at.watch)->oldest_transaction_seconds > age + 0.05);
    at.oldest_xid = "800"; /* that one has ended, another runs */
    WAIT(watch_server(at.watch)->oldest_transaction_seconds < 0.04);
}

/* Slots. */

Test(watch, growth_is_that_of_the_last_minute)
{
    const int64_t second = 1000000;
    Growth growth = {0};
    cr_assert(isnan(growth_note(&growth, 5 * second, 1000)), "one sample is no rate");
    cr_assert_float_eq(growth_note(&growth, 15 * second, 3000), 200, 1e-9);
    for (int64_t at_s = 16; at_s <= 200; at_s++) {
        (void)growth_note(&growth, at_s * second, 3000 + (double)(at_s - 15) * 10);
    }
    cr_assert_float_eq(growth_note(&growth, 201 * second, 3000 + 186 * 10), 10, 1e-9,
                       "what was before is forgotten");
    cr_assert_lt(growth_note(&growth, 202 * second, 100), 0, "the slot moved");
    cr_assert(isnan(growth_note(&growth, 203 * second, NAN)), "the slot is gone");
    cr_assert(isnan(growth_note(&growth, 204 * second, 100)), "and what it was forgotten");
    cr_assert_float_eq(growth_note(&growth, 504 * second, 400), 1, 1e-9, "looks far apart");
}

Test(watch, a_slot_that_holds_more_and_more_has_seconds_left)
{
    at.safe = "1000000";
    start();
    wait_looks(1);
    cr_assert(isnan(watch_facts(at.watch, 1)->slot.seconds_left), "nothing grows");
    at.watch->pipelines[1].growth->samples[0].at_us -= 10000000; /* ten seconds ago, 1000 bytes */
    at.retained = "101000";
    wait_looks(1);
    cr_assert_float_eq(watch_facts(at.watch, 1)->slot.seconds_left, 100, 10);
    at.safe = "-5";
    wait_looks(1);
    cr_assert_eq(watch_facts(at.watch, 1)->slot.seconds_left, 0);
}

/* NOTIFY. */

Test(watch, a_notification_is_followed_at_once_by_a_look_at_pauses_and_rows)
{
    at.config.monitor.interval_ms = 3600000;
    start();
    wait_looks(1);
    WAIT(clock_monotonic_us() > rows_next_us(at.watch->pipelines[0].rows) &&
         clock_monotonic_us() > rows_next_us(at.watch->pipelines[1].rows));
    size_t oldests = at.oldests;
    at.paused = true;
    stub_notify(1, "outboxd_pause");
    WAIT(watch_facts(at.watch, 0)->paused && !at.watch->looking);
    cr_assert_eq(at.servers, 1);
    cr_assert_eq(at.oldests, oldests + 2);
    cr_assert(event_pending(at.watch->timer, EV_TIMEOUT, NULL), "the whole look comes in its time");
}

Test(watch, a_notification_during_a_look_is_not_missed)
{
    at.config.monitor.interval_ms = 3600000;
    at.hanging = "backend_xid IS NOT NULL";
    start();
    WAIT(at.known == 1 && at.servers == 1);
    at.paused = true;
    at.hanging = NULL;
    stub_notify(1, "outboxd_pause");
    WAIT(at.watch->turn->notified);
    stub_continue();
    WAIT(watch_facts(at.watch, 0)->paused && !at.watch->looking);
    cr_assert(watch_server(at.watch)->up);
}

/* Failures. */

Test(watch, a_server_that_refuses_is_tried_again_and_says_that_nothing_is_known)
{
    stub_refuse_poll("connection refused\n");
    start();
    WAIT(at.failed >= 2);
    cr_assert_not(watch_server(at.watch)->up);
    cr_assert_not(watch_knows_pauses(at.watch));
    assert_exposed("outboxd_watch_up 0\n", true);
    stub_refuse_poll(NULL);
    watch_hurry(at.watch);
    WAIT(watch_server(at.watch)->up);
    cr_assert_eq(at.known > 0, true);
}

Test(watch, a_query_that_fails_leaves_only_its_own_facts_unknown)
{
    at.broken = "ORDER BY id DESC";
    at.oldest_seq = "17";
    start();
    wait_looks(2);
    cr_assert_not(watch_server(at.watch)->up);
    cr_assert(isnan(watch_facts(at.watch, 0)->dead_letters));
    cr_assert(has_oldest());
    cr_assert(watch_facts(at.watch, 1)->slot.present);
    cr_assert_eq(at.sessions, 1, "the connection is kept");
    at.broken = NULL;
    WAIT(watch_server(at.watch)->up);
    cr_assert_eq(watch_facts(at.watch, 0)->dead_letters, 3);
}

Test(watch, a_row_whose_type_or_key_cannot_be_printed_hides_no_rows)
{
    at.broken = "left(\"event_type\"::text";
    at.state = "22P03";
    at.oldest_seq = "17";
    start();
    WAIT(has_oldest());
    cr_assert_not_null(strstr(text_string(&at.oldest_sql), "left(NULL::text, 100) AS type"));
    cr_assert(watch_server(at.watch)->up);
    at.broken = NULL;
    at.oldest_seq = NULL;
    WAIT(!has_oldest());
    WAIT(strstr(text_string(&at.oldest_sql), "left(\"event_type\"::text") != NULL);
    at.broken = "AS part"; /* nor the name */
    WAIT(!watch_server(at.watch)->up);
}

Test(watch, pauses_that_cannot_be_read_count_as_none_until_they_can)
{
    at.broken = "paused_by";
    at.paused = true;
    start();
    WAIT(at.failed > 0);
    cr_assert_not(watch_facts(at.watch, 0)->paused);
    at.broken = NULL;
    WAIT(at.known > 0);
    cr_assert(watch_facts(at.watch, 0)->paused);
}

Test(watch, a_pause_outlasts_a_broken_connection_and_slots_do_not)
{
    at.paused = true;
    at.oldest_seq = "17";
    start();
    wait_looks(1);
    stub_refuse_poll("connection refused\n");
    stub_break_idle(1);
    WAIT(!watch_server(at.watch)->up);
    cr_assert(watch_facts(at.watch, 0)->paused);
    cr_assert(has_oldest(), "it is still unpublished");
    cr_assert_not(watch_facts(at.watch, 1)->slot.present);
    cr_assert_eq(at.failed, 0, "they are known");
    assert_exposed("outboxd_slot_active{", false);
    stub_refuse_poll(NULL);
    WAIT(watch_server(at.watch)->up);
}

Test(watch, a_slow_query_is_asked_less_often)
{
    at.hanging = "ORDER BY id DESC";
    start();
    WAIT(at.deads == 1);
    int64_t asked_us = clock_monotonic_us();
    WAIT(clock_monotonic_us() - asked_us > 20000);
    at.hanging = NULL;
    stub_continue();
    size_t looks = at.servers + 5;
    WAIT(at.servers >= looks);
    cr_assert_gt(at.watch->pipelines[0].dead_next_us, clock_monotonic_us());
    cr_assert_eq(watch_facts(at.watch, 0)->dead_letters, 3, "it is still known");
}

Test(watch, every_call_may_fail_and_it_comes_back)
{
    for (size_t n = 1; n < 60; n++) {
        for (int hard = 0; hard < 2; hard++) {
            stub_reset(serve, NULL);
            at.known = at.failed = 0;
            stub_fail_at(n, hard);
            start();
            PASS(stub_failures() == 1);
            PASS(watch_server(at.watch)->up && at.known > 0);
            watch_free(&at.watch);
            cr_assert_eq(stub_open_connections(), 0);
        }
    }
}

Test(watch, stopped_it_asks_nothing_more_and_keeps_what_it_knows)
{
    at.paused = true;
    start();
    wait_looks(1);
    watch_stop(at.watch);
    watch_hurry(at.watch);
    size_t names = at.names;
    int64_t until_us = clock_monotonic_us() + 20000;
    WAIT(clock_monotonic_us() > until_us);
    cr_assert_eq(at.names, names);
    cr_assert_eq(stub_open_connections(), 0);
    cr_assert(watch_facts(at.watch, 0)->paused);
}

Test(watch, a_table_name_that_cannot_be_is_refused)
{
    at.pipelines[0].outbox.table = GIVEN("a.b.c.d");
    AUTO_ERROR err = {0};
    WatchOptions all = options();
    cr_assert_eq(watch_new(&all, &at.watch, &err), FAILED);
    cr_assert_eq(err.exit_code, EXIT_CONFIG);
}

/* What must hold. */

Test(watch, preconditions_are_read_in_one_round_trip_and_prepared_once)
{
    start();
    wait_looks(3);
    cr_assert_geq(at.preconditions, 3);
    cr_assert_eq(at.prepares, 1);
    cr_assert_geq(at.verdicts, 3);
    cr_assert_str_eq(at.fault, "");
    cr_assert_eq(at.wal_end, 0x7000);
    cr_assert_str_eq(at.identity, "publication 7:8 table 4343");
    assert_exposed("outboxd_precondition_broken{", false);
}

Test(watch, a_broken_precondition_is_told_and_counted_until_it_is_mended)
{
    start();
    wait_looks(1);
    at.may_mark = false;
    WAIT(strcmp(at.fault, "RIGHT_UPDATE") == 0);
    assert_exposed("outboxd_precondition_broken{code=\"RIGHT_UPDATE\",pipeline=\"orders\"} 1\n",
                   true);
    at.may_mark = true;
    WAIT(at.fault[0] == '\0');
    assert_exposed("outboxd_precondition_broken{code=\"RIGHT_UPDATE\",pipeline=\"orders\"} 0\n",
                   true);
}

Test(watch, a_warning_is_no_broken_precondition)
{
    at.drawn_elsewhere = true;
    start();
    WAIT(at.faults == 1);
    cr_assert_str_eq(at.fault, "");
    assert_exposed("outboxd_precondition_broken{", false);
}

Test(watch, preconditions_are_looked_at_although_the_names_cannot_be_read)
{
    at.broken = "AS i(i, name)"; /* the question for names */
    at.may_mark = false;
    start();
    WAIT(strcmp(at.fault, "RIGHT_UPDATE") == 0);
    cr_assert_eq(at.servers, 0);
}

Test(watch, what_a_standby_shows_is_no_verdict)
{
    at.recovery = true;
    at.may_mark = false;
    start();
    wait_looks(2);
    cr_assert_eq(at.verdicts, 0);
}

Test(watch, statements_that_failed_are_prepared_again)
{
    start();
    wait_looks(1);
    at.broken = "EXECUTE outboxd_look_";
    size_t before = at.preconditions;
    WAIT(!watch_server(at.watch)->up);
    cr_assert_eq(at.preconditions, before);
    at.broken = NULL;
    WAIT(at.prepares == 2 && watch_server(at.watch)->up);
}

Test(watch, a_hint_during_a_look_makes_another_at_once)
{
    at.config.monitor.interval_ms = 600000;
    start();
    wait_looks(1);
    size_t seen = at.preconditions;
    at.hanging = "backend_xid IS NOT NULL"; /* behind the preconditions */
    watch_hurry(at.watch);
    WAIT(at.preconditions == seen + 1);
    watch_hurry(at.watch);
    at.hanging = NULL;
    stub_continue();
    WAIT(at.preconditions == seen + 2);
}
