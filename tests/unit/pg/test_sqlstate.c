#include <criterion/criterion.h>
#include <string.h>

#include "base/text.h"
#include "pg/conn.h"
#include "pg/sqlstate.h"
#include "stub/libpq.h"

static char dsn_text[] = "";
static char *const DSN = dsn_text;

/* Appendix A of PostgreSQL's documentation, as far as a relay can meet it. */
static const struct {
    const char *state;
    ErrorClass class;
    ErrorCode code;
} STATES[] = {
    {"08000", ERROR_RETRY, CODE_POSTGRES_CONNECTION},
    {"08006", ERROR_RETRY, CODE_POSTGRES_CONNECTION},
    {"08P01", ERROR_RETRY, CODE_POSTGRES_CONNECTION},
    {"57P01", ERROR_RETRY, CODE_POSTGRES_SHUTDOWN},
    {"57P02", ERROR_RETRY, CODE_POSTGRES_CRASH},
    {"57P03", ERROR_RETRY, CODE_POSTGRES_STARTING},
    {"57P05", ERROR_RETRY, CODE_POSTGRES_IDLE_TIMEOUT},
    {"57014", ERROR_RETRY, CODE_POSTGRES_QUERY_CANCELED},
    {"53000", ERROR_RETRY, CODE_POSTGRES_RESOURCES},
    {"53100", ERROR_RETRY, CODE_POSTGRES_RESOURCES},
    {"53200", ERROR_RETRY, CODE_POSTGRES_RESOURCES},
    {"53300", ERROR_RETRY, CODE_POSTGRES_TOO_MANY_CONNECTIONS},
    {"58030", ERROR_RETRY, CODE_POSTGRES_SYSTEM},
    {"40001", ERROR_RETRY, CODE_POSTGRES_SERIALIZATION},
    {"40P01", ERROR_RETRY, CODE_POSTGRES_SERIALIZATION},
    {"55P03", ERROR_RETRY, CODE_POSTGRES_LOCK_TIMEOUT},
    {"55006", ERROR_RETRY, CODE_POSTGRES_OBJECT_IN_USE},
    {"25006", ERROR_RETRY, CODE_POSTGRES_READ_ONLY},
    {"XX001", ERROR_FATAL, CODE_POSTGRES_DATA_CORRUPTED},
    {"28000", ERROR_FATAL, CODE_POSTGRES_AUTHENTICATION},
    {"28P01", ERROR_FATAL, CODE_POSTGRES_AUTHENTICATION},
    {"3D000", ERROR_FATAL, CODE_POSTGRES_NO_DATABASE},
    {"42501", ERROR_FATAL, CODE_POSTGRES_PRIVILEGE},
    {"42P01", ERROR_FATAL, CODE_POSTGRES_NO_TABLE},
    {"42703", ERROR_FATAL, CODE_POSTGRES_NO_COLUMN},
    {"3F000", ERROR_FATAL, CODE_POSTGRES_NO_SCHEMA},
    {"42601", ERROR_FATAL, CODE_POSTGRES_ERROR}, /* not listed: never retried in silence */
    {"XX000", ERROR_FATAL, CODE_POSTGRES_ERROR},
    {"22P02", ERROR_FATAL, CODE_POSTGRES_ERROR},
};

static struct {
    struct event_base *base;
    Worker *worker;
    size_t told;
    size_t next;
    PgConn *conn;
} at;

static void serve(void *arg, const StubQuery *query, StubReply *reply)
{
    (void)arg;
    (void)query;
    stub_reply_error(reply, STATES[at.next].state, "what the server says");
}

static void on_done(void *arg, const Error *err)
{
    (void)arg;
    cr_assert_not_null(err);
    cr_assert_eq(err->class, STATES[at.next].class, "%s", STATES[at.next].state);
    cr_assert_eq(err->code, STATES[at.next].code, "%s", STATES[at.next].state);
    cr_assert_eq(err->exit_code, EXIT_POSTGRES);
    cr_assert_str_eq(err->sqlstate, STATES[at.next].state);
    cr_assert_str_eq(err->step, "the question");
    cr_assert_not_null(strstr(error_message(err), "what the server says (SQLSTATE "));
    cr_assert_not_null(strstr(error_message(err), STATES[at.next].state));
    at.told++;
}

static void on_opened(void *arg, const Error *err)
{
    (void)arg;
    cr_assert_null(err);
    at.told++;
}

static void on_worker(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
    worker_dispatch(at.worker);
}

static void wait_for(size_t told)
{
    while (at.told < told) {
        event_base_loop(at.base, EVLOOP_ONCE);
    }
}

Test(sqlstate, each_code_says_what_to_do, .timeout = 20)
{
    stub_reset(serve, NULL);
    at.base = event_base_new();
    at.worker = worker_new();
    struct event *io =
        event_new(at.base, worker_fd(at.worker), EV_READ | EV_PERSIST, on_worker, NULL);
    event_add(io, NULL);
    at.conn = pg_conn_new(&(PgConnOptions){.base = at.base,
                                           .worker = at.worker,
                                           .dsn = &DSN,
                                           .application_name = "x",
                                           .connect_timeout_ms = 10000,
                                           .silence_timeout_ms = 10000,
                                           .opened = on_opened});
    pg_conn_open(at.conn);
    wait_for(1);
    for (at.next = 0; at.next < sizeof(STATES) / sizeof(STATES[0]); at.next++) {
        pg_conn_send(at.conn, &(PgQuery){.step = "the question", .sql = "x", .done = on_done});
        wait_for(at.next + 2);
        cr_assert(pg_conn_is_open(at.conn));
    }
    pg_conn_free(&at.conn);
    event_free(io);
    worker_free(&at.worker);
    event_base_free(at.base);
}

Test(sqlstate, what_is_said_of_data_is_told_from_rights_and_trouble)
{
    static const struct {
        const char *state;
        const char *message;
        bool data;
        bool refusal;
    } SAID[] = {
        {"XX000", "missing chunk number 0 for toast value 1", true, false},
        {"XX001", "damaged", true, false},
        {"22P05", "no equivalent in encoding", true, false},
        {"54000", "Cannot enlarge string buffer", true, false},
        {"42501", "permission denied", false, true},
        {"55000", "not in prerequisite state", false, true},
        {"55006", "in use", false, false},
        {"53200", "out of memory", false, false},
        {"57014", "the text (SQLSTATE XX000) is a user's", false, false},
    };
    for (size_t i = 0; i < sizeof(SAID) / sizeof(SAID[0]); i++) {
        AUTO_ERROR err = {0};
        (void)sqlstate_fill(SAID[i].state, SAID[i].message, &err);
        cr_assert_eq(sqlstate_is_of_data(&err), SAID[i].data, "%s", SAID[i].message);
        cr_assert_eq(sqlstate_is_refusal(&err), SAID[i].refusal, "%s", SAID[i].message);
    }
    AUTO_ERROR err = {0};
    error_set_as(&err, ERROR_RETRY, EXIT_POSTGRES, CODE_POSTGRES_UNREACHABLE,
                 "our own words (SQLSTATE 42501)");
    cr_assert_not(sqlstate_is_refusal(&err));
    cr_assert_not(sqlstate_is(&err, "42"));
}

/* A decision must not hang on where a buffer ends. */
Test(sqlstate, a_message_of_any_length_leaves_the_state_what_it_is)
{
    AUTO_BUFFER long_message = TEXT_EMPTY;
    for (int i = 0; i < 200; i++) {
        text_add(&long_message, "relation with a long name ");
    }
    AUTO_ERROR err = {0};
    (void)sqlstate_fill("42P01", long_message.data, &err);
    error_prefix(&err, "reading the table");
    cr_assert(sqlstate_is(&err, "42P01"));
    cr_assert(sqlstate_is_refusal(&err));
    cr_assert_eq(err.code, CODE_POSTGRES_NO_TABLE);
    AUTO_ERROR derived = {0};
    error_set(&derived, CODE_MARK_REJECTED, "refused: %s", error_message(&err));
    cr_assert_not(sqlstate_is_refusal(&derived));
    error_caused(&derived, &err);
    cr_assert(sqlstate_is_refusal(&derived));
}

Test(sqlstate, a_refused_walsender_is_told_from_one_without_a_place)
{
    static const struct {
        const char *said;
        ErrorCode code;
        ErrorClass class;
    } CASES[] = {
        {"FATAL:  must be superuser or replication role to start walsender", CODE_NO_REPLICATION,
         ERROR_FATAL},
        {"FATAL:  permission denied to start WAL sender\nDETAIL:  Only roles with the REPLICATION "
         "attribute may start a WAL sender process.",
         CODE_NO_REPLICATION, ERROR_FATAL},
        {"FATAL:  number of requested standby connections exceeds max_wal_senders (currently 2)",
         CODE_NO_WAL_SENDER, ERROR_RETRY},
        {"connection refused", CODE_POSTGRES_UNREACHABLE, ERROR_RETRY},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        AUTO_ERROR err = {0};
        (void)sqlstate_connection_said("shop_relay", CASES[i].said, &err);
        cr_expect_eq(err.code, CASES[i].code);
        cr_expect_eq((int)err.class, (int)CASES[i].class);
        bool told = err.code != CODE_NO_REPLICATION;
        cr_expect(told || strstr(error_message(&err), "(server: FATAL: ") != NULL,
                  "the server's own words: %s", error_message(&err));
        bool ours = CASES[i].class == ERROR_FATAL;
        cr_expect_eq(strstr(error_own_hint(&err), "ALTER ROLE shop_relay REPLICATION;") != NULL,
                     ours);
    }
}
