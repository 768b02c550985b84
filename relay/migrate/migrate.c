/* How it works: connect, take the session's migration lock, read and verify the table `migration`,
 * check privileges, then run the texts of migrate_script.h. The lock inside each transaction is the
 * same key, so that a printed script run by hand keeps out of our way as well. */
#include "migrate/migrate.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "config/dsn.h"
#include "migrate/migrate_internal.h"
#include "migrate/migrate_script.h"
#include "pg/message.h"
#include "pg/result.h"
#include "pg/sqlstate.h"

enum { SERVER_VERSION_MIN = 130000, CONNECT_TIMEOUT_MS = 10000 };

static void on_notice(void *context, const PGresult *result)
{
    Migrate *migrate = context;
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    if (message != NULL && (severity == NULL || strcmp(severity, "DEBUG") != 0)) {
        text_add(&migrate->notices, message);
        text_add_char(&migrate->notices, '\n');
    }
}

static Status connect_failed(PGconn *conn, Error *err)
{
    if (sqlstate_is(err, "53")) { /* nothing is wrong with the connection string */
        return error_prefix(err, "cannot connect");
    }
    AUTO_TEXT message = pg_message(conn);
    error_set(err, CODE_MIGRATE_CONNECT, "cannot connect to PostgreSQL: %s", message);
    if (PQconnectionNeedsPassword(conn) != 0) {
        return error_hint(err, "Put the password into ~/.pgpass or PGPASSWORD. "
                               "OUTBOXD_DATABASE_PASSWORD and OUTBOXD_DATABASE_PASSWORD_FILE go "
                               "with OUTBOXD_DATABASE_DSN, not with --dsn.");
    }
    return error_advise(err);
}

/* What libpq is given; the caller frees it. */
static Status read_dsn(const char *text, char **ret_dsn, Error *err)
{
    Dsn dsn = {0};
    DsnProblem problem = {0};
    if (dsn_read(NULL, text, &dsn, &problem) != OK || dsn_check(&dsn, &problem) != OK) {
        error_set(err, CODE_MIGRATE_DSN, "the connection string is malformed: %s", problem.message);
        error_hint(err, "%s", problem.remedy != NULL ? problem.remedy : DSN_REMEDY);
        dsn_problem_free(&problem);
        dsn_free(&dsn);
        return FAILED;
    }
    *ret_dsn = dsn_text(&dsn);
    dsn_free(&dsn);
    return OK;
}

static void describe_place(Migrate *migrate)
{
    const PGconn *raw = pg_session_raw(migrate->session);
    const char *host = PQhost(raw);
    const char *version = PQparameterStatus(raw, "server_version");
    version = version ? version : "?";
    migrate->place =
        x_format("%s at %s:%s (%.*s)", PQdb(raw), host && host[0] != '\0' ? host : "local",
                 PQport(raw), (int)strcspn(version, " "), version);
}

static Status check_server(Migrate *migrate, Error *err)
{
    const PGconn *raw = pg_session_raw(migrate->session);
    if (PQserverVersion(raw) < SERVER_VERSION_MIN) {
        error_set(err, CODE_MIGRATE_SERVER_VERSION, "%s is older than PostgreSQL 13",
                  migrate->place);
        return error_advise(err);
    }
    PGresult *result;
    if (migrate_query(migrate, "SELECT pg_backend_pid()", 0, NULL, &result, err) != OK) {
        return FAILED;
    }
    /* A pooler answers with its own number. If it is not in session mode, as it is told to be, a
     * session lock would stay behind; the lock of each transaction has to do then. */
    migrate->pooled = strtol(pg_value(result, 0, 0), NULL, 10) != PQbackendPID(raw);
    PQclear(result);
    return OK;
}

static Status connect_to(Migrate *migrate, const char *dsn, bool pooled, Error *err)
{
    // NOLINTNEXTLINE(concurrency-mt-unsafe): one thread
    const bool own_timeout = getenv("PGCONNECT_TIMEOUT") != NULL;
    const PgSessionOptions options = {
        .dsn = dsn,
        .pooled = pooled,
        .application_name = "outboxd migrate",
        .connect_timeout_ms = own_timeout ? 0 : CONNECT_TIMEOUT_MS,
        .statement_timeout_ms =
            0, /* must not cut an index build; lock_timeout bounds the waiting */
        .settings = "SET client_min_messages = notice; SET row_security = DEFAULT; SET "
                    "default_transaction_read_only = off",
        .arg = migrate,
        .noticed = on_notice,
        .failed = migrate_failed,
    };
    if (pg_session_open(&options, &migrate->session, err) == OK) {
        return OK;
    }
    PGconn *raw = pg_session_raw(migrate->session);
    /* Without a connection there was no password for it, which is said. */
    return raw != NULL && PQstatus(raw) != CONNECTION_OK ? connect_failed(raw, err) : FAILED;
}

Status migrate_open(const char *text, bool pooled, const char *schema, Migrate **ret_migrate,
                    Error *err)
{
    AUTO_TEXT dsn = NULL;
    if (text != NULL && read_dsn(text, &dsn, err) != OK) {
        return FAILED;
    }
    Migrate *migrate = x_calloc(1, sizeof(*migrate));
    migrate->schema = x_strdup(schema);
    migrate->records = x_calloc(MIGRATION_COUNT, sizeof(*migrate->records));
    if (connect_to(migrate, dsn, pooled, err) == OK) {
        describe_place(migrate);
        if (check_server(migrate, err) == OK) {
            *ret_migrate = migrate;
            return OK;
        }
    }
    migrate_close(&migrate);
    return FAILED;
}

void migrate_close(Migrate **migrate)
{
    if (*migrate == NULL) {
        return;
    }
    pg_session_close(&(*migrate)->session); /* the session's lock goes with it */
    text_free(&(*migrate)->notices);
    text_free(&(*migrate)->place_of_error);
    free((*migrate)->place);
    free((*migrate)->schema);
    free((*migrate)->foreign_owner);
    free((*migrate)->records);
    free(*migrate);
    *migrate = NULL;
}

const char *migrate_place(const Migrate *migrate)
{
    return migrate->place;
}

const char *migrate_notices(const Migrate *migrate)
{
    return text_string(&migrate->notices);
}

const char *migrate_foreign_owner(const Migrate *migrate)
{
    return migrate->foreign_owner;
}

const char *migrate_user(const Migrate *migrate)
{
    return PQuser(pg_session_raw(migrate->session));
}

const MigrateRecord *migrate_record(const Migrate *migrate, size_t index)
{
    return &migrate->records[index];
}

Status migrate_lock(Migrate *migrate, Error *err)
{
    if (migrate->pooled) {
        return OK;
    }
    AUTO_BUFFER sql = TEXT_EMPTY;
    text_add(&sql, "SET lock_timeout = '30s'; SELECT pg_advisory_lock(");
    migrate_script_lock_key(&sql, migrate->schema);
    text_add(&sql, ")");
    PGresult *result;
    if (migrate_query(migrate, text_string(&sql), 0, NULL, &result, err) != OK) {
        if (err != NULL && err->code == CODE_MIGRATE_LOCKED) {
            error_set(err, CODE_MIGRATE_RUNNING,
                      "%s: another migration of schema '%s' has been running for 30 s",
                      migrate->place, migrate->schema);
            error_advise(err);
        }
        return FAILED;
    }
    PQclear(result);
    return OK;
}

/* Runs text; on error rolls back and names the migration. */
static Status run_step(Migrate *migrate, const Migration *migration, const char *text, Error *err)
{
    AUTO_BUFFER what = TEXT_EMPTY;
    text_printf(&what, "migration %d (", migration->version);
    migrate_script_title(&what, migration);
    text_add_char(&what, ')');
    return migrate_run_script(migrate, text, text_string(&what), err);
}

static long since_ms(int64_t start_us)
{
    return (long)((clock_monotonic_us() - start_us + 999) / 1000);
}

Status migrate_up(Migrate *migrate, int last, MigrateRoles roles, MigrateStep *step, void *context,
                  Error *err)
{
    if (migrate_check_privileges(migrate, last, roles, err) != OK) {
        return FAILED;
    }
    for (size_t i = 0; i < MIGRATION_COUNT; i++) {
        if (!migrate_due(migrate, i, last, roles)) {
            continue;
        }
        bool skip = MIGRATIONS[i].roles && roles == MIGRATE_ROLES_SKIP;
        AUTO_BUFFER sql = TEXT_EMPTY;
        migrate_script_begin(&sql, migrate->schema);
        if (skip) {
            migrate_script_note(&sql, migrate->schema, &MIGRATIONS[i], true);
        } else {
            migrate_script_up(&sql, migrate->schema, &MIGRATIONS[i]);
        }
        migrate_script_end(&sql);
        int64_t start_us = clock_monotonic_us();
        if (run_step(migrate, &MIGRATIONS[i], text_string(&sql), err) != OK) {
            return FAILED;
        }
        migrate->records[i].applied = !skip;
        migrate->records[i].skipped = skip;
        step(context, &MIGRATIONS[i], skip ? "skipped" : "applied", since_ms(start_us),
             text_string(&migrate->notices));
    }
    return OK;
}

Status migrate_down(Migrate *migrate, int to, MigrateStep *step, void *context, Error *err)
{
    AUTO_BUFFER sql = TEXT_EMPTY;
    char **notices = x_calloc(MIGRATION_COUNT, sizeof(*notices));
    long *durations_ms = x_calloc(MIGRATION_COUNT, sizeof(*durations_ms));
    Status status = migrate_check_owner(migrate, err);

    migrate_script_begin(&sql, migrate->schema);
    for (size_t i = MIGRATION_COUNT; status == OK && i > 0 && MIGRATIONS[i - 1].version > to; i--) {
        if (migrate->records[i - 1].skipped) {
            migrate_script_forget(&sql, migrate->schema, &MIGRATIONS[i - 1]);
        } else if (migrate->records[i - 1].applied) {
            migrate_script_down(&sql, migrate->schema, &MIGRATIONS[i - 1]);
        } else {
            continue;
        }
        int64_t start_us = clock_monotonic_us();
        status = run_step(migrate, &MIGRATIONS[i - 1], text_string(&sql), err);
        durations_ms[i - 1] = since_ms(start_us);
        notices[i - 1] = x_strdup(text_string(&migrate->notices));
        text_clear(&sql);
    }
    if (status == OK) {
        migrate_script_end(&sql);
        status = migrate_run(migrate, text_string(&sql), err);
    }
    for (size_t i = MIGRATION_COUNT; i > 0; i--) {
        if (status == OK && notices[i - 1] != NULL) {
            migrate->records[i - 1].applied = migrate->records[i - 1].skipped = false;
            step(context, &MIGRATIONS[i - 1], "removed", durations_ms[i - 1], notices[i - 1]);
        }
        free(notices[i - 1]);
    }
    free(notices);
    free(durations_ms);
    return status;
}
