/* How it works: each migration of --print stands as a string in a DO block that reads the table
 * `migration` first. EXECUTE parses the string at once but analyses each statement just before it
 * runs, so one statement may use what another made. An error is raised again without its context,
 * because the server puts the whole string there. */
#include <string.h>

#include "base/memory.h"
#include "migrate/migrate_script.h"
#include "pg/ident.h"

typedef enum Direction { FORWARD, BACK } Direction;

static void add_heading(Text *out, const Migration *migration, const char *direction)
{
    text_printf(out, "\n-- %d: ", migration->version);
    migrate_script_title(out, migration);
    text_printf(out, "%s\n", direction);
}

static void add_preamble(Text *out, const char *schema, const char *what)
{
    text_add(out, "-- outboxd " OUTBOXD_VERSION ", schema ");
    migrate_script_identifier(out, schema);
    text_printf(out, ": %s.\n", what);
    text_add(out,
             "-- psql -v ON_ERROR_STOP=1 -f FILE. As one Flyway or sqitch script; for Liquibase"
             " with splitStatements:false.\n");
}

/* "migration 1 (outbox table) of schema outbox", as the inside of an SQL string. */
static void add_subject(Text *out, const char *schema, const Migration *migration)
{
    AUTO_BUFFER title = TEXT_EMPTY;
    migrate_script_title(&title, migration);
    AUTO_TEXT literal = ident_literal(schema);
    literal[strlen(literal) - 1] = '\0';
    text_printf(out, "migration %d (%s) of schema %s", migration->version, text_string(&title),
                literal + 1);
}

static void add_literal(Text *out, const char *text)
{
    AUTO_TEXT literal = ident_literal(text);
    text_add(out, literal);
}

/* Reads what is noted, and refuses another checksum as the program does. */
static void add_look(Text *out, const char *schema, const Migration *migration)
{
    text_add(out, "DO $once$\n"
                  "DECLARE\n"
                  "    noted text;\n"
                  "    noted_by text;\n"
                  "    left_out boolean;\n"
                  "    problem text;\n"
                  "    remark text;\n"
                  "    remedy text;\n"
                  "    place text;\n"
                  "BEGIN\n");
    migrate_script_template(
        out,
        "    IF to_regclass(format('%I.migration', @schema_literal@)) IS NOT NULL THEN\n"
        "        EXECUTE format('SELECT checksum, outboxd_version, skipped FROM %I.migration"
        " WHERE version = ",
        schema);
    text_printf(out, "%d',", migration->version);
    migrate_script_template(out, " @schema_literal@)\n           INTO noted, noted_by, left_out;\n",
                            schema);
    text_add(out, "    END IF;\n");
    text_printf(out,
                "    IF noted <> '%s' THEN\n"
                "        RAISE EXCEPTION USING\n"
                "            ERRCODE = 'object_not_in_prerequisite_state',\n"
                "            MESSAGE = '",
                migration->checksum);
    add_subject(out, schema, migration);
    AUTO_BUFFER released = TEXT_EMPTY;
    migrate_script_changed_hint(&released, schema, "%s");
    AUTO_BUFFER developed = TEXT_EMPTY;
    migrate_script_changed_hint(&developed, schema, OUTBOXD_VERSION);
    text_printf(
        out,
        " differs from this script''s: checksum ' || left(noted, 12) || '..., here %.12s...',\n"
        "            HINT = CASE WHEN noted_by <> '" OUTBOXD_VERSION "' THEN format(",
        migration->checksum);
    add_literal(out, text_string(&released));
    text_add(out, ", noted_by)\n                        ELSE ");
    add_literal(out, text_string(&developed));
    text_add(out, " END;\n    END IF;\n");
}

/* Runs the text, which may hold no other dollar quotes than $do$ and $function$. */
static void add_execution(Text *out, const Migration *migration, const char *text)
{
    AUTO_BUFFER title = TEXT_EMPTY;
    migrate_script_title(&title, migration);
    text_printf(
        out,
        "    BEGIN\n"
        "        EXECUTE $migration$\n"
        "%s$migration$;\n"
        "    EXCEPTION WHEN OTHERS THEN -- said again without its context, which is this whole "
        "text\n"
        "        GET STACKED DIAGNOSTICS problem = MESSAGE_TEXT, remark = PG_EXCEPTION_DETAIL,\n"
        "            remedy = PG_EXCEPTION_HINT, place = PG_EXCEPTION_CONTEXT;\n"
        "        SELECT string_agg(m[1], ', ') INTO place\n"
        "          FROM regexp_matches(place, '^PL/pgSQL function ((?!inline_code_block).*)$', "
        "'gn') m;\n"
        "        RAISE EXCEPTION USING\n"
        "            ERRCODE = SQLSTATE,\n"
        "            MESSAGE = problem,\n"
        "            DETAIL = concat_ws(' ', nullif(remark, ''),\n"
        "                               'Migration %d (%s) was rolled back.', 'It failed in "
        "function ' || place || '.'),\n"
        "            HINT = coalesce(nullif(remedy, ''), 'Fix this, then run the script again. "
        "What is already applied does not change.');\n"
        "    END;\n"
        "END\n"
        "$once$;\n",
        text, migration->version, text_string(&title));
}

static void add_up(Text *out, const MigratePrint *print, const Migration *migration)
{
    bool skip = migration->roles && print->roles == MIGRATE_ROLES_SKIP;
    bool always = migration->roles && print->roles == MIGRATE_ROLES_MAKE;
    AUTO_BUFFER text = TEXT_EMPTY;
    if (skip) {
        migrate_script_note(&text, print->schema, migration, true);
    } else {
        migrate_script_up(&text, print->schema, migration);
    }
    add_look(out, print->schema, migration);
    text_printf(out, "    IF %s THEN\n        RAISE NOTICE '%%', '",
                always ? "NOT left_out" : "noted IS NOT NULL");
    add_subject(out, print->schema, migration);
    text_add(out, "' ||\n"
                  "            CASE WHEN left_out THEN ' is left out because of --no-roles; "
                  "outboxd migrate --roles applies it'\n"
                  "                 ELSE ' is already applied' END;\n"
                  "        RETURN;\n"
                  "    END IF;\n");
    add_execution(out, migration, text_string(&text));
}

void migrate_print_up(Text *out, const MigratePrint *print)
{
    add_preamble(
        out, print->schema,
        "each migration runs in its own transaction; one that is already applied is not changed");
    for (size_t i = 0; i < MIGRATION_COUNT && MIGRATIONS[i].version <= print->last; i++) {
        const Migration *migration = &MIGRATIONS[i];
        if (migration->version < print->from) {
            continue;
        }
        bool skip = migration->roles && print->roles == MIGRATE_ROLES_SKIP;
        add_heading(out, migration, skip ? ", left out" : "");
        migrate_script_begin(out, print->schema);
        add_up(out, print, migration);
        if (migration->roles && !skip) {
            migrate_script_check_usage(out, print->schema, NULL);
        }
        migrate_script_end(out);
    }
    if (print->grantees->writer_count + print->grantees->relay_count > 0) {
        text_add(out, "\n"
                      "-- privileges for your own roles, in this database only\n");
        migrate_script_begin(out, print->schema);
        migrate_script_grants(out, print->schema, print->last, print->grantees);
        migrate_script_check_usage(out, print->schema, print->grantees);
        migrate_script_end(out);
    }
    if (print->wal) {
        text_add(out, "\n-- capture = \"wal\": the publication\n");
        migrate_script_begin(out, print->schema);
        migrate_script_publication(out, print->schema);
        text_add_char(out, '\n');
        migrate_script_end(out);
        text_add(out, "\n"
                      "-- In addition, an administrator runs:\n");
        migrate_script_wal_advice(out, print->schema, "-- ", NULL);
    }
}

static void add_down(Text *out, const char *schema, const Migration *migration)
{
    AUTO_BUFFER text = TEXT_EMPTY;
    migrate_script_down(&text, schema, migration);
    add_look(out, schema, migration);
    text_add(out, "    IF noted IS NULL THEN\n        RAISE NOTICE '%', '");
    add_subject(out, schema, migration);
    text_add(out, " is not applied';\n"
                  "        RETURN;\n"
                  "    ELSIF left_out THEN\n"
                  "        ");
    migrate_script_forget(out, schema, migration);
    text_add(out, "        RETURN;\n"
                  "    END IF;\n");
    add_execution(out, migration, text_string(&text));
}

void migrate_print_down(Text *out, const char *schema, int to)
{
    add_preamble(out, schema, "reverts all of these migrations or none");
    migrate_script_begin(out, schema);
    for (size_t i = MIGRATION_COUNT; i > 0 && MIGRATIONS[i - 1].version > to; i--) {
        add_heading(out, &MIGRATIONS[i - 1], ", reverted");
        add_down(out, schema, &MIGRATIONS[i - 1]);
    }
    text_add_char(out, '\n');
    migrate_script_end(out);
}

void migrate_print_guard(Text *out, const char *schema)
{
    text_add(out, "-- outboxd " OUTBOXD_VERSION ", schema ");
    migrate_script_identifier(out, schema);
    text_add(out, ": closes pg_logical_emit_message to PUBLIC in this database; a superuser runs "
                  "it.\n");
    migrate_script_begin(out, schema);
    migrate_script_guard(out, schema);
    migrate_script_end(out);
}
