/* The server and the role: reachable, new enough, writable, no pooler that breaks the lock. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "check/check.h"
#include "migrate/migrate.h"
#include "pg/ident.h"
#include "pg/result.h"
#include "rows/companion.h"
#include "rows/unread.h"

enum { SERVER_VERSION_MIN = 130000 };

/* The first minor release of each major without the known bugs of logical decoding and of libpq's
 * and the server's quoting (release notes of 2024-08 to 2025-11). */
static const int SOUND_MINORS[] = {130022, 140019, 150014, 160010, 170006};

static void check_version(Check *check)
{
    int version = PQserverVersion(pg_session_raw(check->session));
    if (version < SERVER_VERSION_MIN) {
        check_problem(check, EXIT_POSTGRES, "database", "upgrade to PostgreSQL 13 or later",
                      "PostgreSQL %d is not supported", version / 10000);
    }
    for (size_t i = 0; i < sizeof(SOUND_MINORS) / sizeof(SOUND_MINORS[0]); i++) {
        int sound = SOUND_MINORS[i];
        if (version / 10000 == sound / 10000 && version < sound) {
            AUTO_TEXT remedy = x_format("upgrade to %d.%d or later", sound / 10000, sound % 10000);
            check_warning(check, "database", remedy,
                          "PostgreSQL %d.%d has bugs that lose or duplicate data in logical "
                          "decoding, and a security hole in quoting",
                          version / 10000, version % 10000);
        }
    }
}

/* Of a pooler that is told to pool sessions: while this one is open, nobody else may be given its
 * server connection. The pooler chooses, so this finds most mistakes; the running relay finds the
 * others (rows/publisher.h). */
static void check_pooler(Check *check, int backend_pid)
{
    if (backend_pid == PQbackendPID(pg_session_raw(check->session))) {
        return;
    }
    check->pooled = true;
    AUTO(PgSession, pg_session_close) second = check_connect(check, false);
    AUTO(PGresult, pg_session_free_result) r = NULL;
    if (second == NULL ||
        pg_session_query(second,
                         &(PgAsk){.step = "second session", .sql = "SELECT pg_backend_pid()"}, &r,
                         NULL) != OK) {
        return; /* said already, or about to be */
    }
    if ((int)strtol(pg_value(r, 0, 0), NULL, 10) == backend_pid) {
        check_problem(
            check, EXIT_POSTGRES, "database",
            "connect to PostgreSQL directly, or set pool_mode = session in the pooler for "
            "this database and this user",
            "database.pooler is \"session\", but the pooler gave one server connection to "
            "two sessions: it is not in session mode");
    }
}

/* Settings of the server that are not about one table. False when nothing more can be asked. */
static bool check_server(Check *check)
{
    PGresult *r =
        check_query(check, "server",
                    "SELECT pg_backend_pid(), pg_is_in_recovery(), current_setting('fsync'),"
                    " current_setting('full_page_writes'), current_setting('server_encoding'),"
                    " (SELECT rolsuper FROM pg_roles WHERE rolname = current_user), current_user",
                    0, NULL);
    if (r == NULL) {
        return false;
    }
    check_pooler(check, (int)strtol(pg_value(r, 0, 0), NULL, 10));
    if (pg_value(r, 0, 1)[0] == 't') {
        check_problem(check, EXIT_POSTGRES, "database",
                      "give the primary, or several hosts with target_session_attrs=read-write",
                      "the server is a standby: rows cannot be marked there");
    }
    if (strcmp(pg_value(r, 0, 2), "on") != 0 || strcmp(pg_value(r, 0, 3), "on") != 0) {
        check_warning(check, "database", "set fsync and full_page_writes to on",
                      "fsync = %s, full_page_writes = %s: a crash of the server may lose committed "
                      "events",
                      pg_value(r, 0, 2), pg_value(r, 0, 3));
    }
    if (strcmp(pg_value(r, 0, 4), "UTF8") != 0) {
        check_warning(
            check, "database", NULL,
            "the encoding of the database is %s: text that has no UTF-8 form cannot be published",
            pg_value(r, 0, 4));
    }
    if (pg_value(r, 0, 5)[0] == 't') {
        check_warning(check, "database", "use a separate role: GRANT outbox_relay TO your_relay;",
                      "role \"%s\" is a superuser; the relay needs only outbox_relay",
                      pg_value(r, 0, 6));
    }
    PQclear(r);
    return true;
}

/* The schema of our own tables, if a pipeline polls one of them: is it up to date? */
static void check_migrations(Check *check, const char *schema)
{
    Migrate *migrate = NULL;
    AUTO_ERROR err = {0};
    bool pooled = check->config->database.pooler == POOLER_SESSION;
    if (migrate_open(check->config->database.dsn, pooled, schema, &migrate, &err) != OK ||
        migrate_read(migrate, &err) != OK) {
        check_problem(check, EXIT_POSTGRES, "database",
                      *error_own_hint(&err) != '\0' ? error_own_hint(&err) : NULL, "%s",
                      error_message(&err));
        migrate_close(&migrate);
        return;
    }
    AUTO_BUFFER pending = TEXT_EMPTY;
    for (size_t i = 0; i < MIGRATION_COUNT; i++) {
        if (migrate_pending(migrate, i, (int)MIGRATION_COUNT, false)) {
            text_printf(&pending, "%s%d %s", pending.length > 0 ? ", " : "", MIGRATIONS[i].version,
                        MIGRATIONS[i].name);
        }
    }
    if (pending.length > 0) {
        bool ours = strcmp(schema, "outbox") == 0;
        AUTO_TEXT remedy =
            x_format("outboxd migrate%s%s", ours ? "" : " --schema ", ours ? "" : schema);
        check_problem(check, EXIT_POSTGRES, "database", remedy,
                      "schema \"%s\" is not up to date: pending %s", schema, pending.data);
    }
    migrate_close(&migrate);
}

/* The name of a table as the catalog knows it; what has none is said where the table is looked at.
 */
static void check_add_name(const PipelineConfig *pipeline, Text *sql)
{
    AUTO_ERROR err = {0};
    AUTO_TEXT quoted = NULL;
    if (pipeline->outbox.table == NULL ||
        ident_quote_table(pipeline->outbox.table, &quoted, &err) != OK) {
        return;
    }
    AUTO_TEXT name = ident_literal(quoted);
    text_printf(sql, ", (%s)", name);
}

/* Of the schemas that the configured tables are in, and of schema outbox: another that looks like
 * ours may be anybody's. */
static void check_all_migrations(Check *check)
{
    AUTO_BUFFER sql = TEXT_EMPTY;
    text_add(&sql, "SELECT DISTINCT n.nspname FROM (VALUES ('outbox.event')");
    for (size_t i = 0; i < check->config->pipeline_count; i++) {
        check_add_name(&check->config->pipelines[i], &sql);
    }
    text_add(&sql, ") AS t(name)");
    companion_add_table("t.name", &sql);
    text_add(&sql,
             " JOIN pg_class k ON k.relnamespace IN (c.relnamespace, to_regnamespace('outbox'))"
             " JOIN pg_namespace n ON n.oid = k.relnamespace"
             " WHERE has_table_privilege(k.oid, 'SELECT')"
             " AND " COMPANION_IS_OUR_MIGRATION("k") " ORDER BY 1");
    PGresult *r = check_query(check, "schemas of ours", text_string(&sql), 0, NULL);
    for (int i = 0; r != NULL && i < PQntuples(r); i++) {
        check_migrations(check, pg_value(r, i, 0));
    }
    PQclear(r);
}

/* The largest record that outbox.emit accepts, where it stands beside the pipeline's table. It is
 * called, so it must be a function of theirs who own the table or the schema. */
static PGresult *check_emit_limit(Check *check, const PreconditionLook *look)
{
    AUTO_TEXT oid = x_format("%u", look->table_oid);
    const char *const values[] = {look->schema, oid};
    PGresult *r = check_query(
        check, "limit of emit",
        "SELECT format('%I.%I()', n.nspname, p.proname) FROM pg_catalog.pg_proc p JOIN"
        " pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = $1 AND p.proname ="
        " 'record_bytes_max' AND p.pronargs = 0 AND p.prorettype = 23"
        " AND starts_with(obj_description(p.oid, 'pg_proc'), 'outboxd: ')"
        " AND has_schema_privilege(n.oid, 'USAGE') AND has_function_privilege(p.oid, 'EXECUTE')"
        " AND (pg_has_role(p.proowner, n.nspowner, 'MEMBER') OR pg_has_role(p.proowner,"
        " (SELECT c.relowner FROM pg_class c WHERE c.oid = $2::oid), 'MEMBER'))",
        2, values);
    if (r != NULL && PQntuples(r) == 1) {
        AUTO_TEXT sql = x_format("SELECT %s", pg_value(r, 0, 0));
        PGresult *limit = check_query(check, "limit of emit", sql, 0, NULL);
        check->emit_bytes = limit != NULL ? strtoll(pg_value(limit, 0, 0), NULL, 10) : 0;
        check->emit_limit = pg_value(r, 0, 0);
        PQclear(limit);
    }
    return r;
}

/* Slots of pipelines that are not in the configuration any more, or have another one. */
static void check_unread_slots(Check *check, const char *position_table)
{
    AUTO_BUFFER sql = TEXT_EMPTY;
    unread_add_query(check->config, position_table, &sql);
    PGresult *r = check_query(check, "unread slots", sql.data, 0, NULL);
    for (int i = 0; r != NULL && i < PQntuples(r); i++) {
        const char *slot = pg_field(r, i, "slot");
        AUTO_TEXT remedy = x_format(
            "if no other relay is to read it: SELECT pg_drop_replication_slot('%s');", slot);
        check_warning(check, "database", remedy,
                      "SLOT_UNREAD: slot \"%s\" of pipeline \"%s\" is read by no pipeline of this "
                      "configuration and by no client; it retains %s of WAL",
                      slot, pg_field(r, i, "unread_by"), pg_field(r, i, "shown"));
    }
    PQclear(r);
}

static bool check_reads_position(const PreconditionLook *look)
{
    bool reads = look->position[0] != '\0';
    for (size_t i = 0; i < look->fault_count; i++) {
        ErrorCode code = look->faults[i].error.code;
        reads = reads && code != CODE_RIGHT_POSITION && code != CODE_RIGHT_USAGE &&
                code != CODE_ROW_SECURITY;
    }
    return reads;
}

static void check_pipelines(Check *check)
{
    char position_table[PRECONDITION_NAME_MAX] = "";
    bool backlog = check->problems->errors == 0 || check->code != EXIT_POSTGRES;
    for (size_t i = 0; i < check->config->pipeline_count; i++) {
        const PipelineConfig *pipeline = &check->config->pipelines[i];
        if (pipeline->outbox.table == NULL) {
            continue;
        }
        PreconditionLook look = {0};
        bool sound = check_table(check, pipeline, &look);
        if (pipeline->capture != CAPTURE_POLL && look.table_oid != 0) {
            check_wal(check, pipeline, &look);
        }
        if (pipeline->capture == CAPTURE_TABLES) {
            check_mapped(check, pipeline);
        }
        PGresult *limit = check_emit_limit(check, &look);
        check_static_topics(check, pipeline); /* with the limit */
        if (sound && backlog && pipeline->capture != CAPTURE_TABLES) {
            check_backlog(check, pipeline, &look);
        }
        check->emit_bytes = 0;
        if (check_reads_position(&look)) {
            memcpy(position_table, look.position, sizeof(position_table));
        }
        PQclear(limit);
        precondition_release(&look);
    }
    if (position_table[0] != '\0') {
        check_unread_slots(check, position_table);
    }
}

void check_database(Check *check)
{
    AUTO(PgSession, pg_session_close) session = check_connect(check, false);
    if (session == NULL) {
        return;
    }
    check->session = session;
    size_t before = check->problems->errors;
    check_version(check);
    if (check_server(check)) {
        check_connections(check);
        check_all_migrations(check);
        check_pipelines(check);
    }
    if (check->problems->errors == before) {
        const PGconn *raw = pg_session_raw(session);
        const char *version = PQparameterStatus(raw, "server_version");
        const char *host = PQhost(raw);
        text_printf(&check->facts, "database       %s:%s/%s (%.*s), role %s\n",
                    host != NULL && *host != '\0' ? host : "local", PQport(raw), PQdb(raw),
                    version != NULL ? (int)strcspn(version, " ") : 1,
                    version != NULL ? version : "?", PQuser(raw));
    }
    check->session = NULL;
}
