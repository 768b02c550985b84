/* How it works: what a migration makes is not listed anywhere a second time. All of them are
 * applied to a schema of another name, in a transaction that is rolled back; after each one an
 * inventory of that schema is taken, and one of the real schema before. An inventory is a sorted
 * list of lines such as "column event.payload jsonb". The real schema stands at the last migration
 * whose inventory it holds entirely; of the next one it must hold nothing. Rights are apart: a copy
 * may have been made without any, and then the migrations that give them are still to be applied.
 */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "migrate/migrate_internal.h"
#include "migrate/migrate_script.h"
#include "pg/ident.h"
#include "pg/result.h"

enum { LACKS_SHOWN_MAX = 5, OPEN_FUNCTIONS_BYTES_MAX = 320 };

/* $1 the schema; $2 the name in it that stands for $3, the real schema: as the templates write it
 * ($4), and as a literal ($5). What its owner may replace, and what people tune, is left out; so
 * are the rights to functions that are open to everybody (unless default privileges say otherwise).
 */
static const char INVENTORY[] =
    "WITH s AS (SELECT oid, nspacl FROM pg_namespace WHERE nspname = $1),"
    " r AS (SELECT c.* FROM pg_class c JOIN s ON c.relnamespace = s.oid),"
    " g(name) AS (VALUES ('outbox_writer'), ('outbox_relay')),"
    " lines(line) AS ("
    "SELECT CASE relkind WHEN 'v' THEN 'view ' WHEN 'S' THEN 'sequence ' ELSE 'table ' END ||"
    " relname FROM r WHERE relkind IN ('r', 'p', 'v', 'S')"
    " UNION ALL SELECT format('column %s.%s %s%s%s%s', r.relname, a.attname,"
    " format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN ' NOT NULL' END,"
    " CASE WHEN a.attidentity <> '' THEN ' IDENTITY' END,"
    " ' DEFAULT ' || replace(pg_get_expr(d.adbin, d.adrelid), $2, quote_ident($3)))"
    " FROM r JOIN pg_attribute a ON a.attrelid = r.oid LEFT JOIN pg_attrdef d"
    " ON d.adrelid = r.oid AND d.adnum = a.attnum"
    " WHERE r.relkind IN ('r', 'p', 'v') AND a.attnum > 0 AND NOT a.attisdropped"
    " UNION ALL SELECT format('sequence %s CACHE %s', r.relname, q.seqcache)"
    " FROM r JOIN pg_sequence q ON q.seqrelid = r.oid"
    " UNION ALL SELECT 'index ' || replace(pg_get_indexdef(r.oid), $2, quote_ident($3))"
    " FROM r WHERE r.relkind IN ('i', 'I')"
    " UNION ALL SELECT format('constraint %s of %s %s', o.conname, r.relname,"
    " pg_get_constraintdef(o.oid)) FROM r JOIN pg_constraint o ON o.conrelid = r.oid"
    " WHERE o.contype <> 'n'"
    " UNION ALL SELECT format('view %s as it is here (%s)', r.relname,"
    " to_hex(hashtext(replace(pg_get_viewdef(r.oid), $2, quote_ident($3))))) FROM r WHERE relkind "
    "= 'v'"
    " UNION ALL SELECT format('function %s(%s) returning %s%s', p.proname,"
    " pg_get_function_identity_arguments(p.oid), format_type(p.prorettype, NULL),"
    " CASE WHEN p.prosecdef THEN ' SECURITY DEFINER ' || coalesce(p.proconfig::text, '') END)"
    " FROM pg_proc p JOIN s ON s.oid = p.pronamespace"
    " UNION ALL SELECT format('function %s as it is here (%s)', p.proname,"
    " to_hex(hashtext(replace(replace(p.prosrc, '''' || $2 || '''', $5), $2, $4))))"
    " FROM pg_proc p JOIN s ON s.oid = p.pronamespace"
    " WHERE p.proname NOT IN ('record_bytes_max', 'type_pattern')"
    " UNION ALL SELECT format('function %s closed to PUBLIC', p.proname)"
    " FROM pg_proc p JOIN s ON s.oid = p.pronamespace"
    " WHERE NOT has_function_privilege('public', p.oid, 'EXECUTE')"
    " AND p.proname NOT IN ('new_event_id', 'record_bytes_max', 'type_pattern')"
    " UNION ALL SELECT format('right of %s: USAGE on the schema', g.name) FROM g, s,"
    " aclexplode(s.nspacl) x WHERE x.grantee = to_regrole(g.name)::oid"
    " AND x.privilege_type = 'USAGE'"
    " UNION ALL SELECT format('right of %s: %s on %s', g.name, x.privilege_type, r.relname)"
    " FROM g, r, aclexplode(r.relacl) x WHERE x.grantee = to_regrole(g.name)::oid"
    " UNION ALL SELECT format('right of %s: %s on %s.%s', g.name, x.privilege_type, r.relname,"
    " a.attname) FROM g, r JOIN pg_attribute a ON a.attrelid = r.oid, aclexplode(a.attacl) x"
    " WHERE x.grantee = to_regrole(g.name)::oid"
    " UNION ALL SELECT format('right of %s: EXECUTE on %s', g.name, p.proname) FROM g, pg_proc p"
    " JOIN s ON s.oid = p.pronamespace, aclexplode(p.proacl) x"
    " WHERE x.grantee = to_regrole(g.name)::oid)"
    " SELECT line FROM lines ORDER BY line COLLATE \"C\"";

/* What a migration makes, by its rank among all migrations; 0 is nothing. */
typedef struct Baseline {
    Migrate *migrate;
    char *scratch;    /* name of the schema that is rolled back */
    PGresult *real;   /* inventory of the real schema */
    PGresult **after; /* of the scratch schema, after so many migrations */
    size_t whole;     /* so many migrations are there entirely, but for rights ... */
    bool *bare;       /* ... of which this one's are not there at all */
} Baseline;

static Status take_inventory(Migrate *migrate, const char *schema, const char *scratch,
                             PGresult **ret_lines, Error *err)
{
    AUTO_BUFFER identifier = TEXT_EMPTY;
    migrate_script_identifier(&identifier, migrate->schema);
    AUTO_TEXT literal = ident_literal(migrate->schema);
    const char *values[] = {schema, scratch, migrate->schema, text_string(&identifier), literal};
    return migrate_query(migrate, INVENTORY, 5, values, ret_lines, err);
}

/* Which lines are meant. */
typedef enum Lines { ALL_LINES, OBJECTS, RIGHTS } Lines;

static bool line_is_meant(const char *line, Lines which)
{
    bool right = strncmp(line, "right of ", strlen("right of ")) == 0;
    return which == ALL_LINES || right == (which == RIGHTS);
}

/* Lines of `want`, without those of `before` (NULL: none), that `have` holds, or does not hold: how
 * many. All are sorted. They are put into lines (NULL: not needed), which has room for all of want.
 */
static size_t pick_lines(const PGresult *want, const PGresult *before, const PGresult *have,
                         Lines which, bool held, const char **lines)
{
    size_t count = 0;
    int b = 0;
    int h = 0;
    for (int w = 0; w < PQntuples(want); w++) {
        const char *line = pg_value(want, w, 0);
        while (before != NULL && b < PQntuples(before) &&
               strcmp(pg_value(before, b, 0), line) < 0) {
            b++;
        }
        while (h < PQntuples(have) && strcmp(pg_value(have, h, 0), line) < 0) {
            h++;
        }
        bool known =
            before != NULL && b < PQntuples(before) && strcmp(pg_value(before, b, 0), line) == 0;
        bool there = h < PQntuples(have) && strcmp(pg_value(have, h, 0), line) == 0;
        if (known || there != held || !line_is_meant(line, which)) {
            continue;
        }
        if (lines != NULL) {
            lines[count] = line;
        }
        count++;
    }
    return count;
}

/* The migration without what belongs to the whole cluster: of those that make roles, the rights. */
static void add_migration(Text *sql, const char *scratch, const Migration *migration, bool roles)
{
    static const MigrateGrantees groups = {.writers = {"outbox_writer"},
                                           .writer_count = 1,
                                           .relays = {"outbox_relay"},
                                           .relay_count = 1};
    if (!migration->roles) {
        migrate_script_up(sql, scratch, migration);
    } else if (roles) {
        migrate_script_grants_of(sql, scratch, migration, &groups);
    }
}

static Status build_scratch(Baseline *baseline, bool roles, Error *err)
{
    Migrate *migrate = baseline->migrate;
    AUTO_BUFFER begin = TEXT_EMPTY;
    migrate_script_begin(&begin, migrate->schema);
    if (migrate_run(migrate, text_string(&begin), err) != OK ||
        take_inventory(migrate, migrate->schema, baseline->scratch, &baseline->real, err) != OK) {
        return FAILED;
    }
    for (size_t i = 0; i < MIGRATION_COUNT; i++) {
        AUTO_BUFFER sql = TEXT_EMPTY;
        add_migration(&sql, baseline->scratch, &MIGRATIONS[i], roles);
        text_add(&sql, "SELECT 1;");
        if (migrate_run(migrate, text_string(&sql), err) != OK ||
            take_inventory(migrate, baseline->scratch, baseline->scratch, &baseline->after[i + 1],
                           err) != OK) {
            return FAILED;
        }
    }
    return OK;
}

static Status compare(Baseline *baseline, Error *err)
{
    Migrate *migrate = baseline->migrate;
    AUTO_TEXT roles = NULL;
    if (migrate_value(migrate,
                      "SELECT 'yes' WHERE $1 <> '' AND to_regrole('outbox_writer') IS NOT NULL AND"
                      " to_regrole('outbox_relay') IS NOT NULL",
                      &roles, err) != OK) {
        return FAILED;
    }
    Status status = build_scratch(baseline, roles != NULL, err);
    if (migrate_rollback(migrate) != OK && status == OK) {
        return error_set(err, CODE_MIGRATE_CONNECTION, "%s: the connection was lost",
                         migrate->place);
    }
    if (status != OK) {
        if (err != NULL) {
            migrate_name_event_trigger(migrate, err);
        }
        return error_prefix(err, "%s: schema '%s', created for comparison", migrate->place,
                            baseline->scratch);
    }
    for (size_t i = MIGRATION_COUNT; i > 0; i--) {
        bool makes_nothing = MIGRATIONS[i - 1].roles && roles == NULL;
        if (!makes_nothing &&
            pick_lines(baseline->after[i], NULL, baseline->real, OBJECTS, false, NULL) == 0) {
            baseline->whole = i;
            break;
        }
    }
    for (size_t i = 0; i < baseline->whole; i++) {
        baseline->bare[i] =
            MIGRATIONS[i].roles && pick_lines(baseline->after[i + 1], baseline->after[i],
                                              baseline->real, RIGHTS, true, NULL) == 0;
    }
    return OK;
}

static bool line_is_object(const char *line)
{
    return strncmp(line, "table ", 6) == 0 || strncmp(line, "view ", 5) == 0;
}

/* The first few of these lines, those of whole tables and views before the others. */
static void add_lacks(Text *out, const char *const *lines, size_t count)
{
    size_t shown = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < count && shown < LACKS_SHOWN_MAX; i++) {
            if (line_is_object(lines[i]) == (pass == 0)) {
                text_printf(out, "%s%s", shown++ > 0 ? "; " : "", lines[i]);
            }
        }
    }
    if (count > shown) {
        text_printf(out, "; and %zu more", count - shown);
    }
}

/* Appends the functions that are open to everybody; false when these lines are about more than
 * that. */
static bool add_open_functions(Text *out, const char *schema, const char *const *lines,
                               size_t count)
{
    static const char begin[] = "function ";
    for (size_t i = 0; i < count; i++) {
        const char *end = strstr(lines[i], " closed to PUBLIC");
        if (end == NULL || strncmp(lines[i], begin, sizeof(begin) - 1) != 0) {
            return false;
        }
        const char *name = lines[i] + sizeof(begin) - 1;
        text_add(out, i > 0 ? ", " : "");
        migrate_script_identifier(out, schema);
        text_printf(out, ".%.*s", (int)(end - name), name);
    }
    return true;
}

/* FAILED when migration `next` (from 0) is there in part; the first one must be there. */
static Status judge(const Baseline *baseline, size_t next, const char **lines, Error *err)
{
    const Migrate *migrate = baseline->migrate;
    const PGresult *want = baseline->after[next + 1];
    const PGresult *before = next > 0 ? baseline->after[next] : NULL;
    size_t count = pick_lines(want, before, baseline->real, ALL_LINES, false, lines);
    if (count == 0 ||
        (next > 0 && pick_lines(want, before, baseline->real, ALL_LINES, true, NULL) == 0)) {
        return OK; /* nothing of it is there: a plain migrate makes it */
    }
    AUTO_BUFFER lacks = TEXT_EMPTY;
    add_lacks(&lacks, lines, count);
    AUTO_BUFFER title = TEXT_EMPTY;
    migrate_script_title(&title, &MIGRATIONS[next]);
    error_set(err, CODE_MIGRATE_BASELINE,
              "%s: schema '%s' does not contain all of migration %d (%s): it lacks %s",
              migrate->place, migrate->schema, MIGRATIONS[next].version, text_string(&title),
              text_string(&lacks));
    AUTO_BUFFER open = TEXT_EMPTY;
    /* cut short, the statement would close some of them only */
    if (add_open_functions(&open, migrate->schema, lines, count) &&
        open.length <= OPEN_FUNCTIONS_BYTES_MAX) {
        return error_hint(
            err,
            "Nothing was recorded. The copy was made without privileges (pg_dump -x), so everyone "
            "may run these functions. Run: REVOKE ALL ON FUNCTION %s FROM PUBLIC;",
            text_string(&open));
    }
    return error_advise(err);
}

static Status check_whole(const Baseline *baseline, Error *err)
{
    const Migrate *migrate = baseline->migrate;
    if (PQntuples(baseline->real) == 0) {
        error_set(err, CODE_MIGRATE_BASELINE, "%s: schema '%s' contains nothing to record",
                  migrate->place, migrate->schema);
        return error_hint(err, "Run outboxd migrate, which creates it.");
    }
    const char **lines =
        x_calloc((size_t)PQntuples(baseline->after[MIGRATION_COUNT]) + 1, sizeof(*lines));
    Status status = OK;
    for (size_t i = 0; status == OK && i <= baseline->whole && i < MIGRATION_COUNT; i++) {
        if (i == baseline->whole || MIGRATIONS[i].roles) {
            status = judge(baseline, i, lines, err);
        }
    }
    free(lines);
    return status;
}

static Status record(Baseline *baseline, MigrateStep *step, void *context, Error *err)
{
    Migrate *migrate = baseline->migrate;
    AUTO_BUFFER sql = TEXT_EMPTY;
    migrate_script_begin(&sql, migrate->schema);
    for (size_t i = 0; i < baseline->whole; i++) {
        if (!migrate->records[i].applied && !migrate->records[i].skipped && !baseline->bare[i]) {
            migrate_script_note(&sql, migrate->schema, &MIGRATIONS[i], false);
        }
    }
    migrate_script_end(&sql);
    if (migrate_run_script(migrate, text_string(&sql), "baseline", err) != OK) {
        return FAILED;
    }
    for (size_t i = 0; i < baseline->whole; i++) {
        if (!migrate->records[i].applied && !migrate->records[i].skipped && !baseline->bare[i]) {
            migrate->records[i].applied = true;
            step(context, &MIGRATIONS[i], "recorded", -1, "");
        }
    }
    return OK;
}

Status migrate_baseline(Migrate *migrate, MigrateStep *step, void *context, Error *err)
{
    Baseline baseline = {
        .migrate = migrate,
        .scratch = x_format("outbox_baseline_%d", PQbackendPID(pg_session_raw(migrate->session))),
        .after = x_calloc(MIGRATION_COUNT + 1, sizeof(PGresult *)),
        .bare = x_calloc(MIGRATION_COUNT, sizeof(bool)),
    };
    Status status = compare(&baseline, err);
    if (status == OK) {
        status = check_whole(&baseline, err);
    }
    if (status == OK) {
        status = record(&baseline, step, context, err);
    }
    for (size_t i = 0; i <= MIGRATION_COUNT; i++) {
        PQclear(baseline.after[i]);
    }
    PQclear(baseline.real);
    free(baseline.after);
    free(baseline.bare);
    free(baseline.scratch);
    return status;
}
