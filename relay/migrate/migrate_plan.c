/* How it works: what is applied stands in the schema's table `migration`. Before anything is done,
 * each row of it must be a migration of this program with the same checksum, and the tables must
 * have the shape that the migrations gave them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "config/columns.h"
#include "migrate/migrate_internal.h"
#include "migrate/migrate_script.h"
#include "pg/ident.h"
#include "pg/result.h"

/* As "name type", a PostgreSQL array. More columns are fine: users add some for header_columns. So
 * are types that a relay reads as well: what `run` takes, `check` and `migrate` take. */
static const char MIGRATION_COLUMNS[] =
    "{version integer,name text,checksum text,applied_at timestamp with time zone,applied_by text,"
    "outboxd_version text,duration_ms integer,skipped boolean}";

/* The same, of the outbox. */
static char *event_columns(void)
{
    Text columns = TEXT_EMPTY;
    for (size_t i = 0; i < COLUMN_COUNT; i++) {
        const OutboxColumn *column = &OUTBOX_COLUMNS[i];
        if (column->made_as != NULL) {
            text_printf(&columns, "%s%s %s", columns.length > 0 ? "," : "{", column->name,
                        column->made_as);
        }
    }
    text_add_char(&columns, '}');
    return columns.data;
}

/* Whether a relay reads the column as it is: then it is as good as ours. */
static bool shape_is_taken(const char *table, const char *column, const char *type)
{
    size_t index = 0;
    while (index < COLUMN_COUNT && strcmp(OUTBOX_COLUMNS[index].name, column) != 0) {
        index++;
    }
    return strcmp(table, "event") == 0 && index < COLUMN_COUNT && column_takes(index, type);
}

enum { SHAPE_TABLE, SHAPE_COLUMN, SHAPE_WANTED, SHAPE_TYPE, SHAPE_BASE_TYPE, SHAPE_ALTER };

static const char SHAPE_SQL[] =
    "SELECT CASE WHEN c.oid IS NOT NULL THEN format('%I.%I', n.nspname, c.relname) END, w.column, "
    "w.type,"
    " format_type(a.atttypid, a.atttypmod), format_type(a.atttypid, NULL),"
    " CASE WHEN a.attnum IS NULL THEN format('ADD COLUMN %I %s', w.column, w.type)"
    " ELSE format('ALTER COLUMN %1$I TYPE %2$s USING %1$I::%2$s', w.column, w.type) END"
    " FROM (SELECT split_part(want, ' ', 1) AS column, substr(want, strpos(want, ' ') + 1) AS type,"
    "  i FROM unnest($3::text[]) WITH ORDINALITY u(want, i)) w"
    " LEFT JOIN (pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = $1)"
    "  ON c.relname = $2 AND c.relkind IN ('r', 'p')"
    " LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
    "  AND a.attname = w.column"
    " WHERE a.attnum IS NULL OR format_type(a.atttypid, NULL) <> w.type ORDER BY w.i";

/* Rows of the query as what differs, and what mends it. */
static void shape_compare(const PGresult *result, const char *table, Text *differs, Text *alter)
{
    for (int row = 0; row < PQntuples(result); row++) {
        const char *column = pg_value(result, row, SHAPE_COLUMN);
        const char *wanted = pg_value(result, row, SHAPE_WANTED);
        if (pg_is_null(result, row, SHAPE_TYPE)) {
            text_printf(differs, "%sit lacks column %s %s", differs->length > 0 ? ", " : "", column,
                        wanted);
        } else if (!shape_is_taken(table, column, pg_value(result, row, SHAPE_BASE_TYPE))) {
            text_printf(differs, "%scolumn %s is %s, expected %s", differs->length > 0 ? ", " : "",
                        column, pg_value(result, row, SHAPE_TYPE), wanted);
        } else {
            continue;
        }
        text_printf(alter, "%s%s", alter->length > 0 ? ", " : "",
                    pg_value(result, row, SHAPE_ALTER));
    }
}

static Status check_shape(Migrate *migrate, const char *table, const char *columns, Error *err)
{
    const char *values[] = {migrate->schema, table, columns};
    PGresult *result;
    if (migrate_query(migrate, SHAPE_SQL, 3, values, &result, err) != OK) {
        return FAILED;
    }
    AUTO_BUFFER differs = TEXT_EMPTY;
    AUTO_BUFFER alter = TEXT_EMPTY;
    bool there = PQntuples(result) == 0 || !pg_is_null(result, 0, SHAPE_TABLE);
    AUTO_TEXT name =
        there && PQntuples(result) > 0 ? x_strdup(pg_value(result, 0, SHAPE_TABLE)) : NULL;
    shape_compare(result, table, &differs, &alter);
    PQclear(result);
    if (differs.length == 0) {
        return OK;
    }
    if (!there) {
        error_set(err, CODE_MIGRATE_TABLE_FOREIGN, "%s: table '%s.%s' does not exist",
                  migrate->place, migrate->schema, table);
        return error_advise(err);
    }
    error_set(err, CODE_MIGRATE_TABLE_FOREIGN,
              "%s: table '%s.%s' differs from the one that outboxd creates: %s", migrate->place,
              migrate->schema, table, text_string(&differs));
    return error_hint(err,
                      "Nothing was changed. If outboxd created this table, run: ALTER TABLE %s %s; "
                      "Otherwise, choose another schema with --schema NAME.",
                      name, text_string(&alter));
}

static Status unknown_version(const Migrate *migrate, const PGresult *rows, int row, Error *err)
{
    error_set(err, CODE_MIGRATE_NEWER,
              "%s: schema '%s' has migration %s (%s), which outboxd " OUTBOXD_VERSION
              " does not know",
              migrate->place, migrate->schema, pg_value(rows, row, 0), pg_value(rows, row, 1));
    return error_hint(err,
                      "Nothing was changed. Use outboxd %s, which applied it, or a later version.",
                      pg_value(rows, row, 5));
}

static Status changed(const Migrate *migrate, const PGresult *rows, int row,
                      const Migration *migration, Error *err)
{
    error_set(err, CODE_MIGRATE_CHANGED,
              "%s: migration %s (%s) of schema '%s' differs from this program's: checksum "
              "%.12s..., here %.12s... (%s)",
              migrate->place, pg_value(rows, row, 0), pg_value(rows, row, 1), migrate->schema,
              pg_value(rows, row, 2), migration->checksum, migration->name);
    AUTO_BUFFER hint = TEXT_EMPTY;
    migrate_script_changed_hint(&hint, migrate->schema, pg_value(rows, row, 5));
    return error_hint(err, "%s", text_string(&hint));
}

static Status read_row(Migrate *migrate, const PGresult *rows, int row, Error *err)
{
    size_t version = strtoul(pg_value(rows, row, 0), NULL, 10);
    if (version < 1 || version > MIGRATION_COUNT) {
        return unknown_version(migrate, rows, row, err);
    }
    const Migration *migration = &MIGRATIONS[version - 1];
    if (strcmp(migration->checksum, pg_value(rows, row, 2)) != 0 ||
        strcmp(migration->name, pg_value(rows, row, 1)) != 0) {
        return changed(migrate, rows, row, migration, err);
    }
    MigrateRecord *record = &migrate->records[version - 1];
    record->skipped = pg_value(rows, row, 6)[0] == 't';
    record->applied = !record->skipped;
    snprintf(record->at, sizeof(record->at), "%s", pg_value(rows, row, 3));
    snprintf(record->by, sizeof(record->by), "%s", pg_value(rows, row, 4));
    snprintf(record->outboxd_version, sizeof(record->outboxd_version), "%s",
             pg_value(rows, row, 5));
    return OK;
}

static Status read_rows(Migrate *migrate, Error *err)
{
    AUTO_TEXT schema = ident_quote(migrate->schema);
    AUTO_TEXT sql =
        x_format("SELECT version, name, checksum, to_char(applied_at AT TIME ZONE 'UTC',"
                 " 'YYYY-MM-DD HH24:MI:SS\"Z\"'), applied_by, outboxd_version, skipped"
                 " FROM %s.migration ORDER BY version DESC",
                 schema);
    PGresult *rows;
    if (migrate_query(migrate, sql, 0, NULL, &rows, err) != OK) {
        return error_prefix(err, "%s", migrate->place);
    }
    Status status = OK;
    for (int row = 0; status == OK && row < PQntuples(rows); row++) {
        status = read_row(migrate, rows, row, err);
    }
    PQclear(rows);
    return status;
}

/* *ret_tracked: the schema has a table `migration`. */
static Status read_tracked(Migrate *migrate, bool *ret_tracked, Error *err)
{
    memset(migrate->records, 0, MIGRATION_COUNT * sizeof(*migrate->records));
    const char *values[] = {migrate->schema};
    PGresult *result;
    if (migrate_query(
            migrate,
            "SELECT c.oid IS NOT NULL, CASE WHEN NOT pg_has_role(n.nspowner, 'USAGE')"
            " THEN pg_get_userbyid(n.nspowner) END FROM pg_namespace n LEFT JOIN pg_class c"
            " ON c.relnamespace = n.oid AND c.relname = 'migration'"
            " WHERE n.nspname = $1",
            1, values, &result, err) != OK) {
        return error_prefix(err, "%s", migrate->place);
    }
    migrate->schema_exists = PQntuples(result) > 0;
    bool tracked = migrate->schema_exists && pg_value(result, 0, 0)[0] == 't';
    free(migrate->foreign_owner);
    migrate->foreign_owner = migrate->schema_exists && !pg_is_null(result, 0, 1)
                                 ? x_strdup(pg_value(result, 0, 1))
                                 : NULL;
    PQclear(result);
    *ret_tracked = tracked;
    if (!tracked) {
        return OK; /* whether a schema without that table may become ours, migration 1 decides */
    }
    return check_shape(migrate, "migration", MIGRATION_COLUMNS, err) == OK ? read_rows(migrate, err)
                                                                           : FAILED;
}

Status migrate_read_bare(Migrate *migrate, Error *err)
{
    bool tracked = false;
    return read_tracked(migrate, &tracked, err);
}

Status migrate_read(Migrate *migrate, Error *err)
{
    bool tracked = false;
    if (read_tracked(migrate, &tracked, err) != OK) {
        return FAILED;
    }
    if (!tracked) {
        return OK;
    }
    if (migrate->records[0].applied) {
        AUTO_TEXT columns = event_columns();
        return check_shape(migrate, "event", columns, err);
    }
    error_set(err, CODE_MIGRATE_TABLE_FOREIGN,
              "%s: table '%s.migration' does not list migration 1, which created it",
              migrate->place, migrate->schema);
    return error_hint(
        err,
        "Nothing was changed. If this is a copy without rows (pg_dump -s), run outboxd migrate "
        "--baseline. Otherwise restore that row, or choose another schema with --schema NAME.");
}

Status migrate_check_owner(Migrate *migrate, Error *err)
{
    AUTO_TEXT owner = NULL;
    if (migrate_value(migrate,
                      "SELECT pg_get_userbyid(nspowner) FROM pg_namespace n WHERE nspname = $1"
                      " AND NOT pg_has_role(nspowner, 'USAGE')"
                      /* prepared by its owner, filled by us */
                      " AND NOT (has_schema_privilege(n.oid, 'CREATE') AND EXISTS"
                      " (SELECT FROM pg_class c WHERE c.relnamespace = n.oid"
                      " AND c.relname = 'migration' AND pg_has_role(c.relowner, 'USAGE')))",
                      &owner, err) != OK) {
        return FAILED;
    }
    if (owner == NULL) {
        return OK;
    }
    error_set(err, CODE_MIGRATE_PRIVILEGE,
              "%s: schema '%s' belongs to '%s', and '%s' is not a member of that role",
              migrate->place, migrate->schema, owner, PQuser(pg_session_raw(migrate->session)));
    return error_hint(
        err,
        "Nothing was changed. Connect as '%s', or choose another schema with --schema "
        "NAME.",
        owner);
}

static Status check_create(Migrate *migrate, Error *err)
{
    AUTO_TEXT grant = NULL;
    if (migrate_value(migrate,
                      "SELECT format('GRANT CREATE ON DATABASE %I TO %I;', current_database(),"
                      " current_user) WHERE $1 <> ''"
                      " AND NOT has_database_privilege(current_database(), 'CREATE')",
                      &grant, err) != OK) {
        return FAILED;
    }
    if (grant == NULL) {
        return OK;
    }
    error_set(err, CODE_MIGRATE_PRIVILEGE, "%s: '%s' may not create schema '%s' in this database",
              migrate->place, PQuser(pg_session_raw(migrate->session)), migrate->schema);
    return error_hint(err,
                      "Nothing was changed. Ask an administrator to run: %s Or to run the output "
                      "of outboxd migrate --print.",
                      grant);
}

static Status check_roles(Migrate *migrate, Error *err)
{
    AUTO_TEXT create = NULL;
    if (migrate_value(migrate,
                      "SELECT string_agg(format('CREATE ROLE %I NOLOGIN;', name), ' ')"
                      " FROM unnest(ARRAY['outbox_writer', 'outbox_relay']) name WHERE $1 <> ''"
                      " AND NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)"
                      " AND NOT (SELECT rolsuper OR rolcreaterole FROM pg_roles"
                      " WHERE rolname = current_user)",
                      &create, err) != OK) {
        return FAILED;
    }
    if (create == NULL) {
        return OK;
    }
    error_set(err, CODE_MIGRATE_PRIVILEGE,
              "%s: '%s' may not create the roles of outboxd, because it lacks CREATEROLE",
              migrate->place, PQuser(pg_session_raw(migrate->session)));
    return error_hint(err,
                      "Nothing was changed. Leave the roles out with --no-roles, name your own "
                      "with --writer and --relay, or ask an administrator to run: %s",
                      create);
}

static Status check_primary(Migrate *migrate, Error *err)
{
    AUTO_TEXT standby = NULL;
    if (migrate_value(migrate, "SELECT 'standby' WHERE $1 <> '' AND pg_is_in_recovery()", &standby,
                      err) != OK) {
        return FAILED;
    }
    if (standby == NULL) {
        return OK;
    }
    error_set(err, CODE_MIGRATE_READ_ONLY, "%s: this server is a standby", migrate->place);
    return error_advise(err);
}

bool migrate_pending(const Migrate *migrate, size_t index, int last, bool roles)
{
    const Migration *migration = &MIGRATIONS[index];
    return !migrate->records[index].applied && !migrate->records[index].skipped &&
           migration->version <= last && (roles || !migration->roles);
}

bool migrate_due(const Migrate *migrate, size_t index, int last, MigrateRoles roles)
{
    const MigrateRecord *record = &migrate->records[index];
    return MIGRATIONS[index].version <= last && !record->applied &&
           (!record->skipped || roles == MIGRATE_ROLES_MAKE);
}

Status migrate_check_privileges(Migrate *migrate, int last, MigrateRoles roles, Error *err)
{
    bool any = false;
    bool making_roles = false;
    for (size_t i = 0; i < MIGRATION_COUNT; i++) {
        if (migrate_due(migrate, i, last, roles)) {
            any = true;
            making_roles = making_roles || (MIGRATIONS[i].roles && roles != MIGRATE_ROLES_SKIP);
        }
    }
    if (!any) {
        return OK;
    }
    if (check_primary(migrate, err) != OK) {
        return FAILED;
    }
    if (!migrate->schema_exists) {
        if (check_create(migrate, err) != OK) {
            return FAILED;
        }
    } else if (migrate->records[0].applied && migrate_check_owner(migrate, err) != OK) {
        return FAILED;
    }
    return making_roles ? check_roles(migrate, err) : OK;
}
