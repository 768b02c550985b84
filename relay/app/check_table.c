/* The table of one pipeline: is it there, can it be published without loss, may the role do what it
 * must? An adopted table gets the DDL that it lacks. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/check.h"
#include "base/memory.h"
#include "config/nearest.h"
#include "config/options.h"
#include "pg/ident.h"
#include "pg/sqlstate.h"

typedef struct TableCheck {
    Check *check;
    PGconn *conn;
    const PipelineConfig *pipeline;
    char *quoted;      /* "schema"."table" */
    char *oid;         /* as text; NULL: there is no such table */
    PGresult *columns; /* name, type, not null, may SELECT, may UPDATE, attnum */
    bool grants;       /* outbox_relay holds rights on the table, and our role is no member */
    char *role;        /* as SQL writes it */
} TableCheck;

enum { COLUMN_NAME, COLUMN_TYPE, COLUMN_NOT_NULL, COLUMN_SELECT, COLUMN_UPDATE, COLUMN_NUMBER };

static void table_problem(const TableCheck *t, const char *remedy, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void table_problem(const TableCheck *t, const char *remedy, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *message = NULL;
    if (vasprintf(&message, format, args) >= 0) {
        check_problem(t->check, EXIT_POSTGRES, "database", remedy, "%s", message);
        free(message);
    }
    va_end(args);
}

/* GRANT of our role where that gives the right, else of the right itself. */
static char *table_grant(const TableCheck *t, const char *right)
{
    return t->grants ? x_format("GRANT outbox_relay TO %s;", t->role)
                     : x_format("GRANT %s ON %s TO %s;", right, t->pipeline->table, t->role);
}

/* Row of t->columns, or -1. */
static int table_column(const TableCheck *t, const char *name)
{
    for (int i = 0; i < PQntuples(t->columns); i++) {
        if (strcmp(PQgetvalue(t->columns, i, COLUMN_NAME), name) == 0) {
            return i;
        }
    }
    return -1;
}

static bool table_type_is(const TableCheck *t, int column, const char *const *types)
{
    const char *type = PQgetvalue(t->columns, column, COLUMN_TYPE);
    for (; *types != NULL; types++) {
        if (strcmp(type, *types) == 0) {
            return true;
        }
    }
    return false;
}

static const char *const INTEGERS[] = {"bigint", "integer", "smallint", NULL};
static const char *const TIMES[] = {"timestamp with time zone", "timestamp without time zone",
                                    NULL};
static const char *const BYTES[] = {"bytea", NULL};
static const char *const OBJECTS[] = {"jsonb", "json", NULL};
static const char *const VERSIONS[] = {"bigint", "integer",           "smallint", "numeric",
                                       "text",   "character varying", NULL};

/* Columns whose type matters; the others are read as text, whatever they are. */
static const struct {
    const char *path;
    const char *const *types;
    const char *wanted;
    const char *ddl; /* that adds it, or NULL */
} TYPED_COLUMNS[] = {
    {"columns.seq", INTEGERS, "an integer",
     "bigint GENERATED ALWAYS AS IDENTITY (CACHE 1) UNIQUE; -- rewrites the table while nobody can "
     "use it"},
    {"columns.occurred_at", TIMES, "a timestamp", NULL},
    {"columns.published_at", TIMES, "a timestamp", "timestamptz; -- at once, nothing is rewritten"},
    {"columns.payload_bytes", BYTES, "bytea", NULL},
    {"columns.headers", OBJECTS, "jsonb", NULL},
    {"columns.event_version", VERSIONS, "a number", NULL},
    {"columns.aggregate_version", VERSIONS, "a number", NULL},
};
enum { TYPED_COLUMN_COUNT = sizeof(TYPED_COLUMNS) / sizeof(TYPED_COLUMNS[0]) };

static int table_typed(const char *path)
{
    for (int i = 0; i < TYPED_COLUMN_COUNT; i++) {
        if (strcmp(TYPED_COLUMNS[i].path, path) == 0) {
            return i;
        }
    }
    return -1;
}

static void table_column_missing(const TableCheck *t, const char *path, const char *name)
{
    Nearest nearest = nearest_begin(name);
    const char *meant = NULL;
    for (int i = 0; i < PQntuples(t->columns); i++) {
        const char *column = PQgetvalue(t->columns, i, COLUMN_NAME);
        meant = nearest_offer(&nearest, column) ? column : meant;
    }
    int typed = path != NULL ? table_typed(path) : -1;
    const char *ddl = typed >= 0 ? TYPED_COLUMNS[typed].ddl : NULL;
    AUTO_TEXT column = ident_quote(name);
    AUTO_TEXT remedy = NULL;
    if (ddl != NULL) {
        remedy = x_format("ALTER TABLE %s ADD COLUMN %s %s", t->pipeline->table, column, ddl);
    } else if (path != NULL) {
        remedy =
            x_format("name the column of your table in %s, or say that it has none: \"\"", path);
    }
    table_problem(t, remedy, "%s has no column \"%s\"%s%s%s", t->pipeline->table, name,
                  meant ? "; did you mean \"" : "", meant ? meant : "", meant ? "\"?" : "");
}

static void table_check_column(const TableCheck *t, const char *path, const char *name,
                               Text *unreadable)
{
    int column = table_column(t, name);
    if (column < 0) {
        table_column_missing(t, path, name);
        return;
    }
    int typed = path != NULL ? table_typed(path) : -1;
    if (typed >= 0 && !table_type_is(t, column, TYPED_COLUMNS[typed].types)) {
        table_problem(t, NULL, "column \"%s\" of %s is %s, but %s must be %s", name,
                      t->pipeline->table, PQgetvalue(t->columns, column, COLUMN_TYPE), path,
                      TYPED_COLUMNS[typed].wanted);
    }
    if (path != NULL && strcmp(path, "columns.payload") == 0 && table_type_is(t, column, BYTES)) {
        table_problem(t, "name it in columns.payload_bytes, and set columns.payload = \"\"",
                      "column \"%s\" of %s is bytea: as columns.payload it would be sent in hex",
                      name, t->pipeline->table);
    }
    if (PQgetvalue(t->columns, column, COLUMN_SELECT)[0] != 't') {
        text_printf(unreadable, "%s%s", unreadable->length > 0 ? ", " : "", name);
    }
}

static void table_check_columns(const TableCheck *t)
{
    AUTO_BUFFER unreadable = TEXT_EMPTY;
    size_t count;
    const Option *options = options_all(&count);
    for (size_t i = 0; i < count; i++) {
        if (options[i].scope != SCOPE_PIPELINE || strncmp(options[i].path, "columns.", 8) != 0) {
            continue;
        }
        const char *name =
            *(char *const *)(const void *)((const char *)t->pipeline + options[i].offset);
        bool unused = strcmp(options[i].path, "columns.published_at") == 0 &&
                      t->pipeline->on_publish != ON_PUBLISH_MARK &&
                      load_origin(t->check->load, t->pipeline, &options[i]) == NULL &&
                      table_column(t, name) < 0;
        if (unused && *name != '\0') {
            AUTO_TEXT remedy = x_format("set %s = \"\"", options[i].path);
            table_problem(t, remedy, "%s has no column \"%s\"", t->pipeline->table, name);
        } else if (*name != '\0') {
            table_check_column(t, options[i].path, name, &unreadable);
        }
    }
    for (size_t i = 0; i < t->pipeline->header_columns.count; i++) {
        table_check_column(t, NULL, t->pipeline->header_columns.items[i], &unreadable);
    }
    if (unreadable.length > 0) {
        AUTO_TEXT remedy = table_grant(t, "SELECT");
        table_problem(t, remedy, "role %s may not SELECT %s (%s)", t->role, t->pipeline->table,
                      unreadable.data);
    }
}

static void table_check_mark(const TableCheck *t)
{
    int column = table_column(t, t->pipeline->columns.published_at);
    if (t->pipeline->on_publish != ON_PUBLISH_MARK || column < 0) {
        return;
    }
    const char *name = PQgetvalue(t->columns, column, COLUMN_NAME);
    if (PQgetvalue(t->columns, column, COLUMN_NOT_NULL)[0] == 't') {
        AUTO_TEXT quoted = ident_quote(name);
        AUTO_TEXT remedy = x_format("ALTER TABLE %s ALTER COLUMN %s DROP NOT NULL; and insert NULL",
                                    t->pipeline->table, quoted);
        table_problem(t, remedy,
                      "column \"%s\" of %s is NOT NULL: every row would count as published", name,
                      t->pipeline->table);
    }
    if (PQgetvalue(t->columns, column, COLUMN_UPDATE)[0] != 't') {
        AUTO_TEXT quoted = ident_quote(name);
        AUTO_TEXT right = x_format("UPDATE (%s)", quoted);
        AUTO_TEXT remedy = table_grant(t, right);
        table_problem(t, remedy, "role %s may not UPDATE %s, needed by on_publish = \"mark\"",
                      t->role, t->pipeline->table);
    }
}

/* r: see table_check_sequence. Polling publishes in the order of the numbers. */
static void table_check_order(const TableCheck *t, const PGresult *r)
{
    const char *seq = t->pipeline->columns.seq;
    const char *sequence = PQgetvalue(r, 0, 0);
    if (PQgetisnull(r, 0, 0)) {
        check_warning(t->check, "database",
                      "let one sequence with CACHE 1 number the rows in the order of insertion",
                      "no sequence is known to fill column \"%s\" of %s", seq, t->pipeline->table);
    } else if (strcmp(PQgetvalue(r, 0, 1), "1") != 0) {
        AUTO_TEXT remedy = x_format("ALTER SEQUENCE %s CACHE 1;", sequence);
        table_problem(t, remedy,
                      "sequence %s has CACHE %s: sessions would number events out of order",
                      sequence, PQgetvalue(r, 0, 1));
    } else if (PQgetvalue(r, 0, 2)[0] == '-' || PQgetvalue(r, 0, 3)[0] == 't') {
        AUTO_TEXT remedy = x_format("ALTER SEQUENCE %s INCREMENT 1 NO CYCLE;", sequence);
        table_problem(t, remedy, "sequence %s does not only ascend", sequence);
    }
}

/* Rows are marked and deleted by their number, and looked for by not being marked. */
static void table_check_indexes(const TableCheck *t, const PGresult *r)
{
    const char *seq = t->pipeline->columns.seq;
    bool wal = t->pipeline->capture == CAPTURE_WAL;
    if (t->pipeline->on_publish != ON_PUBLISH_KEEP && PQgetvalue(r, 0, 4)[0] != 't') {
        check_warning(
            t->check, "database", NULL,
            "no unique index on \"%s\" of %s: two rows of one number would be marked together", seq,
            t->pipeline->table);
    }
    if (t->pipeline->on_publish == ON_PUBLISH_MARK && PQgetvalue(r, 0, 5)[0] != 't') {
        AUTO_TEXT column = ident_quote(seq);
        AUTO_TEXT published = ident_quote(t->pipeline->columns.published_at);
        AUTO_TEXT remedy = x_format("CREATE INDEX CONCURRENTLY ON %s (%s) WHERE %s IS NULL;",
                                    t->pipeline->table, column, published);
        check_warning(t->check, "database", remedy,
                      "no index on the unpublished rows of %s: the published ones slow %s down",
                      t->pipeline->table, wal ? "the first start and each count" : "each poll");
    }
}

/* The sequence behind the column, and the indexes on it. */
static void table_check_sequence(const TableCheck *t)
{
    const char *seq = t->pipeline->columns.seq;
    if (table_column(t, seq) < 0) {
        return;
    }
    const char *values[] = {t->oid, seq, t->pipeline->columns.published_at};
    PGresult *r = check_query(
        t->check, t->conn,
        "WITH col AS (SELECT attnum FROM pg_attribute WHERE attrelid = $1::oid AND attname = $2"
        " AND NOT attisdropped), sequences AS (SELECT d.objid FROM pg_depend d, col"
        " WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = $1::oid"
        " AND d.refobjsubid = col.attnum AND d.classid = 'pg_class'::regclass"
        " AND d.deptype IN ('a', 'i') UNION SELECT d.refobjid FROM pg_attrdef f, pg_depend d, col"
        " WHERE f.adrelid = $1::oid AND f.adnum = col.attnum"
        " AND d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid"
        " AND d.refclassid = 'pg_class'::regclass)"
        " SELECT s.seqrelid::regclass::text, s.seqcache, s.seqincrement, s.seqcycle,"
        " EXISTS (SELECT FROM pg_index i, col WHERE i.indrelid = $1::oid AND i.indisvalid"
        "  AND i.indkey[0] = col.attnum AND i.indisunique AND i.indnkeyatts = 1"
        "  AND i.indpred IS NULL),"
        " EXISTS (SELECT FROM pg_index i, col WHERE i.indrelid = $1::oid AND i.indisvalid"
        "  AND i.indkey[0] = col.attnum AND (i.indpred IS NOT NULL OR $3 = ''))"
        " FROM (SELECT 1) one LEFT JOIN pg_sequence s ON s.seqrelid IN (SELECT objid FROM "
        "sequences)",
        3, values);
    if (r == NULL) {
        return;
    }
    if (t->pipeline->capture == CAPTURE_POLL) {
        table_check_order(t, r);
    }
    table_check_indexes(t, r);
    PQclear(r);
}

static void table_check_dead_letter(const TableCheck *t, const char *table, bool may_insert)
{
    bool needed = t->pipeline->on_poison == ON_POISON_DEAD_LETTER ||
                  t->pipeline->on_unrouted == ON_UNROUTED_DEAD_LETTER;
    const char *option =
        t->pipeline->on_poison == ON_POISON_DEAD_LETTER ? "on_poison" : "on_unrouted";
    if (needed && *table == '\0') {
        table_problem(t, "outboxd migrate",
                      "no table outbox.dead_letter, needed by %s = \"dead_letter\"", option);
    } else if (needed && !may_insert) {
        AUTO_TEXT remedy = t->grants ? x_format("GRANT outbox_relay TO %s;", t->role)
                                     : x_format("GRANT INSERT ON %s TO %s;", table, t->role);
        table_problem(t, remedy, "role %s may not INSERT into %s, needed by %s = \"dead_letter\"",
                      t->role, table, option);
    }
}

enum {
    TABLE_OID,
    TABLE_KIND,
    TABLE_PERSISTENCE,
    TABLE_ROW_SECURITY,
    TABLE_DELETE,
    TABLE_GRANTS,
    TABLE_DEAD_LETTER,
    TABLE_DEAD_LETTER_INSERT,
};

static const char TABLE_SQL[] =
    "SELECT c.oid, c.relkind, c.relpersistence, row_security_active(c.oid),"
    " has_table_privilege(c.oid, 'DELETE'), EXISTS (SELECT FROM pg_roles r WHERE rolname ="
    " 'outbox_relay' AND has_table_privilege(r.oid, c.oid, 'SELECT, DELETE')"
    " AND NOT pg_has_role(r.oid, 'MEMBER')),"
    " d.oid::regclass, has_table_privilege(d.oid, 'INSERT')"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " LEFT JOIN LATERAL (SELECT k.oid FROM pg_class k JOIN pg_namespace m ON m.oid = k.relnamespace"
    "  WHERE k.relname = 'dead_letter' AND k.relkind IN ('r', 'p')"
    "  AND m.nspname IN (n.nspname, 'outbox') ORDER BY m.nspname = n.nspname DESC LIMIT 1) d ON "
    "true"
    " WHERE c.oid = to_regclass($1)";

static void table_check_relation(TableCheck *t, const PGresult *r)
{
    const PipelineConfig *pipeline = t->pipeline;
    t->oid = x_strdup(PQgetvalue(r, 0, TABLE_OID));
    t->grants = PQgetvalue(r, 0, TABLE_GRANTS)[0] == 't';
    char kind = PQgetvalue(r, 0, TABLE_KIND)[0];
    if (kind != 'r' && kind != 'p') {
        table_problem(t, NULL, "%s is no table, but a %s", pipeline->table,
                      kind == 'v'   ? "view"
                      : kind == 'm' ? "materialized view"
                      : kind == 'f' ? "foreign table"
                                    : "relation of another kind");
    }
    char persistence = PQgetvalue(r, 0, TABLE_PERSISTENCE)[0];
    if (persistence != 'p') {
        AUTO_TEXT remedy = x_format("ALTER TABLE %s SET LOGGED;", pipeline->table);
        table_problem(t, persistence == 'u' ? remedy : NULL, "%s is %s: %s", pipeline->table,
                      persistence == 'u' ? "unlogged" : "temporary",
                      pipeline->capture == CAPTURE_WAL ? "the WAL does not hold its rows"
                                                       : "a crash of PostgreSQL empties it");
    }
    if (PQgetvalue(r, 0, TABLE_ROW_SECURITY)[0] == 't') {
        table_problem(t, "give the relay's role BYPASSRLS, or a policy that shows all rows",
                      "row security hides rows of %s from role %s: they would never be published",
                      pipeline->table, t->role);
    }
    bool prunes = pipeline->retain_ms != DURATION_FOREVER;
    if ((pipeline->on_publish == ON_PUBLISH_DELETE || prunes) &&
        PQgetvalue(r, 0, TABLE_DELETE)[0] != 't') {
        AUTO_TEXT remedy = table_grant(t, "DELETE");
        table_problem(t, remedy, "role %s may not DELETE from %s, needed by %s", t->role,
                      pipeline->table, prunes ? "retain" : "on_publish = \"delete\"");
    }
    table_check_dead_letter(t, PQgetvalue(r, 0, TABLE_DEAD_LETTER),
                            PQgetvalue(r, 0, TABLE_DEAD_LETTER_INSERT)[0] == 't');
}

/* to_regclass() refuses a schema that the role may not use. */
static PGresult *table_find(TableCheck *t)
{
    const char *values[] = {t->quoted};
    PGresult *r = PQexecParams(t->conn, TABLE_SQL, 1, NULL, values, NULL, NULL, 0);
    const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE);
    if (PQresultStatus(r) == PGRES_TUPLES_OK && PQntuples(r) == 1) {
        return r;
    }
    if (PQresultStatus(r) == PGRES_TUPLES_OK) {
        table_problem(t,
                      "make the outbox: outboxd migrate; or name your own table in pipelines.table",
                      "no table %s in database \"%s\"", t->pipeline->table, PQdb(t->conn));
    } else if (state != NULL && strcmp(state, "42501") == 0) {
        AUTO_TEXT remedy =
            x_format("GRANT outbox_relay TO %s; or GRANT USAGE on the schema", t->role);
        table_problem(t, remedy, "role %s may not use the schema of %s", t->role,
                      t->pipeline->table);
    } else {
        Error err;
        sqlstate_error(r, &err);
        table_problem(t, *err.hint != '\0' ? err.hint : NULL, "%s", err.message);
    }
    PQclear(r);
    return NULL;
}

static void table_look(TableCheck *t)
{
    Error err;
    if (ident_quote_table(t->pipeline->table, &t->quoted, &err) != OK) {
        check_problem(t->check, EXIT_CONFIG, "configuration", *err.hint != '\0' ? err.hint : NULL,
                      "%s", err.message);
        return;
    }
    PGresult *role = check_query(t->check, t->conn, "SELECT quote_ident(current_user)", 0, NULL);
    t->role = x_strdup(role != NULL ? PQgetvalue(role, 0, 0) : "?");
    PQclear(role);
    PGresult *r = table_find(t);
    if (r == NULL) {
        return;
    }
    table_check_relation(t, r);
    PQclear(r);
    const char *values[] = {t->oid};
    t->columns = check_query(
        t->check, t->conn,
        "SELECT a.attname, format_type(a.atttypid, NULL), a.attnotnull,"
        " has_column_privilege(a.attrelid, a.attnum, 'SELECT'),"
        " has_column_privilege(a.attrelid, a.attnum, 'UPDATE'), a.attnum FROM pg_attribute a"
        " WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
        1, values);
    if (t->columns != NULL) {
        table_check_columns(t);
        table_check_mark(t);
        table_check_sequence(t);
    }
}

bool check_table(Check *check, PGconn *conn, const PipelineConfig *pipeline)
{
    TableCheck t = {.check = check, .conn = conn, .pipeline = pipeline};
    size_t before = check->problems->errors;
    table_look(&t);
    bool sound = t.columns != NULL && check->problems->errors == before;
    PQclear(t.columns);
    free(t.quoted);
    free(t.oid);
    free(t.role);
    return sound;
}
