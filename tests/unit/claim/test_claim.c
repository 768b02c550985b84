#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "claim/claim.h"
#include "rows/publisher.h"
#include "sql/migrations.h"
#include "stub/given.h"
#include "stub/libpq.h"
#include "stub/settle.h"

/* A reader that notes what it is told, and a server that notes what it is asked. */
static struct {
    struct event_base *base;
    Worker *worker;
    struct event *worker_io;
    Config config;
    PipelineConfig pipeline;
    Metrics *metrics;
    Stats stats;
    SourceOptions options;
    OutboxTable *table;
    ClaimReader reader;
    Source source;
    Claim *claim;
    Text asked;       /* the first word that tells of each question, in order */
    const char *hang; /* questions that begin so get no answer before stub_continue() */
    bool lock_taken;
    const char *table_oid;
    const char *migrations; /* that table, or NULL */
    const char *newest;     /* what it says ... */
    const char *there;      /* ... the versions between commas */
    bool publishes;
    bool asks_on; /* the answer of job "a" asks another question */
    size_t held, taken, pulses, pinged, closed, lost, drained, standby;
    char holder[PUBLISHER_HOLDER_MAX];
    Error error;
    ClaimJob jobs[3];
} rig;

#define RIG_WAIT(condition)                                                                        \
    do {                                                                                           \
        int64_t until_us = clock_monotonic_us() + 10000000;                                        \
        while (!(condition)) {                                                                     \
            event_base_loop(rig.base, EVLOOP_NONBLOCK);                                            \
            cr_assert_lt(clock_monotonic_us(), until_us, "waited in vain for %s (asked: %s; %s)",  \
                         #condition, text_string(&rig.asked), error_message(&rig.error));          \
        }                                                                                          \
    } while (0)

static const char *name_of(const char *sql)
{
    static const char *const NAMES[][2] = {
        {"AS backend_pid;", "look"},      {"pg_try_advisory_lock_shared", "share"},
        {"pg_try_advisory_lock", "lock"}, {"SELECT a.pid", "holder"},
        {"PREPARE outboxd_mark", "mark"}, {"SET TimeZone", "marker"},
        {"AS newest", "schema"}};
    for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++) {
        if (strstr(sql, NAMES[i][0]) != NULL) {
            return NAMES[i][1];
        }
    }
    return sql;
}

static void serve(void *arg, const StubQuery *query, StubReply *reply)
{
    (void)arg;
    const char *name = name_of(query->sql != NULL ? query->sql : query->statement);
    text_printf(&rig.asked, "%s ", name);
    char pid[16];
    snprintf(pid, sizeof(pid), "%d", 1000 + query->connection);
    if (rig.hang != NULL && strcmp(name, rig.hang) == 0) {
        stub_reply_hang(reply);
    }
    if (strcmp(name, "look") == 0) {
        stub_reply_row(reply, "backend_pid", pid, NULL);
        stub_reply_row(reply, "role", "relay", "version", "150000", "in_recovery", "f", "table_oid",
                       rig.table_oid, "cache", "1", "dead_letter", "outbox.dead_letter", "updates",
                       "t", "publisher", "outbox.publisher", "migrations",
                       rig.migrations != NULL ? rig.migrations : STUB_NULL, NULL);
    } else if (strcmp(name, "schema") == 0) {
        stub_reply_row(reply, "newest", rig.newest, "made_by", "9.1.0", "there", rig.there, NULL);
    } else if (strcmp(name, "holder") == 0) {
        stub_reply_row(reply, "pid", "77", "name", "shop/orders web-1:4242", "addr", "10.0.0.9",
                       "ended", STUB_NULL, "port", "41000", NULL);
    } else {
        stub_reply_row(reply, "value", rig.lock_taken ? "f" : "t", NULL);
    }
}

static void on_looked(void *arg, const PreconditionLook *look)
{
    (void)arg;
    cr_assert_str_eq(look->dead_letter, "outbox.dead_letter");
}

static void on_held(void *arg)
{
    (void)arg;
    rig.held++;
}

static void on_taken(void *arg, const ClaimLock *lock)
{
    (void)arg;
    rig.taken++;
    cr_assert_eq(claim_lock_holder_pid(lock), 77);
    claim_stand_by(rig.claim, claim_lock_holder(lock));
}

static void on_pulse(void *arg)
{
    (void)arg;
    rig.pulses++;
    claim_ping(rig.claim);
}

static void add_ping(void *arg, Text *sql)
{
    (void)arg;
    text_add(sql, "ping");
}

static void on_ping_result(void *arg, const PGresult *result)
{
    (void)arg;
    cr_assert_eq(PQntuples(result), 1);
}

static void on_pinged(void *arg)
{
    (void)arg;
    rig.pinged++;
}

static bool on_publishes(const void *arg)
{
    (void)arg;
    return rig.publishes;
}

static char *on_place(void *arg, const Error *err)
{
    (void)arg;
    return strdup(error_message(err));
}

static void on_close(void *arg, bool lost)
{
    (void)arg;
    (void)lost;
    rig.closed++;
}

static void nothing(void *arg)
{
    (void)arg;
}

static void on_lost(void *arg, const Error *err)
{
    (void)arg;
    rig.lost++;
    error_copy(&rig.error, err);
}

static void on_standby(void *arg, const char *holder)
{
    (void)arg;
    rig.standby++;
    snprintf(rig.holder, sizeof(rig.holder), "%s", holder);
}

static void on_drained(void *arg)
{
    (void)arg;
    rig.drained++;
}

static void on_worker(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
    worker_dispatch(rig.worker);
}

static void on_answer(void *arg, const Error *err)
{
    const ClaimJob *job = arg;
    if (err == NULL && rig.asks_on && job == &rig.jobs[0]) {
        rig.asks_on = false;
        claim_ask(rig.claim, &(PgQuery){.step = "on", .sql = "on", .arg = arg, .done = on_answer});
    }
}

static void run_job(void *arg)
{
    static const char *const NAMES[] = {"a", "b", "c"};
    const char *name = NAMES[(const ClaimJob *)arg - rig.jobs];
    claim_ask(rig.claim, &(PgQuery){.step = name, .sql = name, .arg = arg, .done = on_answer});
}

static void run_nothing(void *arg)
{
    (void)arg;
}

static void prepare(void)
{
    rig.config.name = GIVEN("shop");
    rig.config.database.dsn = GIVEN("host=db");
    rig.config.database.replication_dsn = GIVEN("");
    rig.config.database.connect_timeout_ms = 60000;
    rig.config.database.statement_timeout_ms = 60000;
    rig.pipeline = given_pipeline();
    given_columns_needed(rig.pipeline.outbox.columns);
    rig.table_oid = "4242";
    rig.reader = (ClaimReader){.looked = on_looked,
                               .held = on_held,
                               .taken = on_taken,
                               .pulse = on_pulse,
                               .add_ping = add_ping,
                               .ping_result = on_ping_result,
                               .pinged = on_pinged,
                               .publishes = on_publishes,
                               .place = on_place,
                               .close = on_close,
                               .marker_opened = nothing,
                               .marked = nothing,
                               .idle = nothing};
    log_configure(LOG_FORMAT_LOGFMT, LOG_ERROR);
    stub_reset(serve, NULL);
}

static void begin(bool shared)
{
    rig.base = event_base_new();
    rig.worker = worker_new();
    rig.worker_io =
        event_new(rig.base, worker_fd(rig.worker), EV_READ | EV_PERSIST, on_worker, NULL);
    event_add(rig.worker_io, NULL);
    rig.metrics = metrics_new();
    stats_init(&rig.stats, rig.metrics, "orders");
    AUTO_ERROR err = {0};
    cr_assert_eq(table_new(&rig.pipeline, &rig.table, &err), OK);
    rig.options = (SourceOptions){.base = rig.base,
                                  .worker = rig.worker,
                                  .config = &rig.config,
                                  .pipeline = &rig.pipeline,
                                  .stats = &rig.stats};
    rig.source.events =
        (SourceEvents){.standby = on_standby, .lost = on_lost, .drained = on_drained};
    rig.claim = claim_new(&(ClaimOptions){.source = &rig.options,
                                          .table = rig.table,
                                          .events = &rig.source,
                                          .reader = &rig.reader,
                                          .shared = shared});
    for (int i = 0; i < 3; i++) {
        rig.jobs[i] = (ClaimJob){.run = run_job, .arg = &rig.jobs[i]};
    }
    claim_start(rig.claim, 0);
}

static void end(void)
{
    worker_settle(rig.worker);
    worker_free(&rig.worker);
    claim_free(&rig.claim);
    table_free(&rig.table);
    event_free(rig.worker_io);
    event_base_free(rig.base);
    stats_release(&rig.stats);
    metrics_free(&rig.metrics);
    text_free(&rig.asked);
    error_clear(&rig.error);
    cr_assert_eq(stub_open_connections(), 0);
    cr_assert_eq(stub_open_results(), 0);
}

TestSuite(claim, .init = prepare, .fini = end);

Test(claim, connects_looks_and_takes_the_lock)
{
    begin(false);
    RIG_WAIT(rig.held == 1);
    cr_assert_str_eq(text_string(&rig.asked), "look lock ");
    cr_assert_eq(claim_table(rig.claim), 4242);
    cr_assert(claim_lease_holds(rig.claim));
    cr_assert_eq(stub_connections(), 1);
}

Test(claim, a_schema_of_a_later_version_is_refused_before_the_lock)
{
    AUTO_TEXT newest = x_format("%zu", MIGRATION_COUNT + 1);
    AUTO_TEXT there = x_format(",%s,", newest);
    AUTO_TEXT told = x_format("migration %s of outboxd 9.1.0", newest);
    AUTO_TEXT back = x_format("outboxd migrate --down %zu", MIGRATION_COUNT);
    AUTO_TEXT back_there = x_format("%s --schema \"Out Box\"", back);
    const char *const tables[][2] = {{"outbox.migration", back},
                                     {"\"Out Box\".migration", back_there}};
    for (size_t i = 0; i < 2; i++) {
        rig.migrations = tables[i][0];
        rig.newest = newest;
        rig.there = there;
        begin(false);
        RIG_WAIT(rig.lost == 1);
        cr_expect_str_eq(text_string(&rig.asked), "look schema ");
        cr_expect_eq(rig.error.code, CODE_SCHEMA_NEWER);
        cr_expect_eq(rig.error.class, ERROR_FATAL);
        cr_expect_not_null(strstr(error_message(&rig.error), told));
        cr_expect_not_null(strstr(error_own_hint(&rig.error), tables[i][1]), "%s",
                           error_own_hint(&rig.error));
        if (i == 0) {
            rig.lost = 0;
            end();
        }
    }
}

Test(claim, the_schema_is_asked_about_once_whoever_publishes_goes_on)
{
    rig.migrations = "outbox.migration";
    AUTO_TEXT newest = x_format("%zu", MIGRATION_COUNT);
    AUTO_TEXT later = x_format("%zu", MIGRATION_COUNT + 1);
    rig.newest = newest;
    rig.there = ",1,";
    begin(false);
    RIG_WAIT(rig.held == 1);
    cr_assert_str_eq(text_string(&rig.asked), "look schema lock ");
    rig.newest = later;
    AUTO_ERROR err = {0};
    error_set(&err, CODE_POSTGRES_CONNECTION_LOST, "broken");
    claim_lose(rig.claim, &err);
    RIG_WAIT(rig.lost == 1);
    text_clear(&rig.asked);
    claim_start(rig.claim, 0);
    RIG_WAIT(rig.held == 2);
    cr_assert_str_eq(text_string(&rig.asked), "look lock ");
}

Test(claim, a_schema_that_lacks_migrations_or_their_rows_is_published)
{
    static const char *const THERE[][2] = {{"2", ",1,2,"}, {"", ",,"}};
    for (size_t i = 0; i < 2; i++) {
        rig.migrations = "outbox.migration";
        rig.newest = THERE[i][0];
        rig.there = THERE[i][1];
        begin(false);
        RIG_WAIT(rig.held == i + 1);
        cr_expect_eq(rig.lost, 0);
        if (i == 0) {
            end();
        }
    }
}

Test(claim, a_shared_lock_is_tried_as_such)
{
    begin(true);
    RIG_WAIT(rig.held == 1);
    cr_assert_str_eq(text_string(&rig.asked), "look share ");
}

Test(claim, stands_by_with_the_name_of_the_holder_looks_again_and_takes_over)
{
    rig.lock_taken = true;
    begin(false);
    RIG_WAIT(rig.standby >= 2); /* tried again on the timer */
    cr_assert_str_eq(rig.holder, "shop/orders, pid 4242 on web-1 (from 10.0.0.9 port 41000, "
                                 "PostgreSQL backend 77)");
    text_clear(&rig.asked);
    rig.lock_taken = false;
    RIG_WAIT(rig.held == 1);
    cr_assert_not_null(strstr(text_string(&rig.asked), "lock look "));
}

Test(claim, a_reader_that_looks_itself_is_asked_for_no_second_look)
{
    rig.reader.looks_itself = true;
    rig.lock_taken = true;
    begin(false);
    RIG_WAIT(rig.standby >= 1);
    text_clear(&rig.asked);
    rig.lock_taken = false;
    RIG_WAIT(rig.held == 1);
    cr_assert_null(strstr(text_string(&rig.asked), "look"));
}

Test(claim, another_table_under_the_name_is_found_before_the_lock_counts)
{
    rig.lock_taken = true;
    begin(false);
    RIG_WAIT(rig.standby >= 1);
    rig.table_oid = "4243";
    rig.lock_taken = false;
    RIG_WAIT(rig.lost == 1);
    cr_assert_eq(rig.error.code, CODE_TABLE_REPLACED);
    cr_assert_eq(rig.held, 0);
}

static void begin_with_a_question_under_way(void)
{
    begin(false);
    RIG_WAIT(rig.held == 1);
    rig.hang = "a";
    claim_want(rig.claim, &rig.jobs[0]);
    RIG_WAIT(strstr(text_string(&rig.asked), "a ") != NULL);
    rig.hang = NULL;
    text_clear(&rig.asked);
}

Test(claim, questions_wait_for_their_turn_the_lease_first_the_marker_last)
{
    begin_with_a_question_under_way();
    claim_start_marker(rig.claim, (MarkerSession){.table_oid = 4242});
    marker_drain(claim_marker(rig.claim)); /* no upkeep */
    marker_add_position(claim_marker(rig.claim), &(MarkerPosition){.lsn = 1}, true);
    claim_want(rig.claim, &rig.jobs[1]);
    claim_want(rig.claim, &rig.jobs[2]);
    claim_want(rig.claim, &rig.jobs[1]); /* keeps its place */
    claim_ping(rig.claim);
    marker_next(claim_marker(rig.claim));
    cr_assert_str_eq(text_string(&rig.asked), "");
    stub_continue();
    RIG_WAIT(strstr(text_string(&rig.asked), "mark") != NULL);
    cr_assert_eq(strncmp(text_string(&rig.asked), "ping b c ", 9), 0, "%s",
                 text_string(&rig.asked));
}

Test(claim, an_answer_asks_on_before_whoever_waits)
{
    rig.asks_on = true;
    begin_with_a_question_under_way();
    claim_want(rig.claim, &rig.jobs[1]);
    claim_ping(rig.claim);
    stub_continue();
    RIG_WAIT(strstr(text_string(&rig.asked), "b ") != NULL);
    cr_assert_str_eq(text_string(&rig.asked), "on ping b ");
}

Test(claim, a_job_that_asks_nothing_lets_the_next_one_go)
{
    begin_with_a_question_under_way();
    rig.jobs[1].run = run_nothing;
    claim_want(rig.claim, &rig.jobs[1]);
    claim_want(rig.claim, &rig.jobs[2]);
    stub_continue();
    RIG_WAIT(strstr(text_string(&rig.asked), "c ") != NULL);
    cr_assert_not(rig.jobs[1].waits);
}

Test(claim, what_waits_is_forgotten_with_the_connection)
{
    begin_with_a_question_under_way();
    claim_want(rig.claim, &rig.jobs[1]);
    AUTO_ERROR err = {0};
    error_set(&err, CODE_POSTGRES_CONNECTION_LOST, "broken");
    claim_lose(rig.claim, &err);
    claim_lose(rig.claim, &err);
    cr_assert_eq(rig.lost, 0, "it is said from the loop");
    cr_assert_eq(rig.closed, 1);
    claim_want(rig.claim, &rig.jobs[2]); /* nobody will answer */
    RIG_WAIT(rig.lost == 1);
    claim_start(rig.claim, 0);
    RIG_WAIT(rig.held == 2);
    claim_ping(rig.claim);
    RIG_WAIT(rig.pinged >= 1);
    cr_assert_str_eq(text_string(&rig.asked), "look lock ping ");
    cr_assert_not(rig.jobs[1].waits || rig.jobs[2].waits);
}

Test(claim, a_server_that_is_silent_for_a_lease_ends_it)
{
    rig.pipeline.claim.lease_ms = 60;
    begin(false);
    RIG_WAIT(rig.pinged >= 2); /* by the pulse */
    cr_assert(claim_lease_holds(rig.claim));
    rig.publishes = true;
    rig.hang = "ping";
    RIG_WAIT(!claim_lease_holds(rig.claim));
    AUTO_ERROR err = {0};
    error_set(&err, CODE_LEASE_EXPIRED, "silent");
    claim_lose(rig.claim, &err);
    cr_assert(rig.source.lease_over);
}

Test(claim, ends_when_its_reader_says_so)
{
    begin(false);
    RIG_WAIT(rig.held == 1);
    claim_end(rig.claim);
    cr_assert_not(claim_is_live(rig.claim));
    RIG_WAIT(rig.drained == 1);
    cr_assert_eq(rig.closed, 1);
    cr_assert_eq(rig.lost, 0);
}

Test(claim, a_marker_that_is_apart_has_a_connection_of_its_own)
{
    rig.reader.marks_apart = true;
    begin(false);
    RIG_WAIT(rig.held == 1);
    claim_open_marker(rig.claim);
    RIG_WAIT(strstr(text_string(&rig.asked), "marker ") != NULL);
    cr_assert_eq(stub_connections(), 2);
}
