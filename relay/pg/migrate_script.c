/* How it works: the templates of sql/ are copied once from left to right, each placeholder replaced
 * by the quoted schema, so a schema's name is never read as a template itself. */
#include "pg/migrate_script.h"

#include <string.h>

#include "base/memory.h"
#include "base/utf8.h"
#include "pg/ident.h"

enum { SCHEMA_BYTES_MAX = 63 }; /* NAMEDATALEN - 1: PostgreSQL cuts longer names in silence */

static const char IDENTIFIER_MARK[] = "@schema@";
static const char LITERAL_MARK[] = "@schema_literal@";

Status migrate_script_check_schema(const char *schema, Error *err)
{
    size_t length = strlen(schema);
    const char *fault = NULL;
    if (length == 0 || length > SCHEMA_BYTES_MAX) {
        fault = "must have 1 to 63 bytes";
    } else if (strncmp(schema, "pg_", 3) == 0 || strcmp(schema, "information_schema") == 0) {
        fault = "is one of PostgreSQL's own names";
    } else if (!utf8_valid(schema, length)) {
        fault = "is not UTF-8";
    } else if (strpbrk(schema, "$\\") != NULL) {
        fault = "must not hold '$' or '\\'";
    }
    for (size_t i = 0; fault == NULL && i < length; i++) {
        if ((unsigned char)schema[i] < 0x20 || schema[i] == 0x7f) {
            fault = "must not hold control characters";
        }
    }
    if (fault == NULL) {
        return OK;
    }
    error_set(err, ERROR_FATAL, EXIT_CONFIG, "MIGRATE_SCHEMA_NAME", "schema name '%.80s' %s",
              schema, fault);
    return error_hint(err, "Choose another name with --schema NAME.");
}

/* Bare where that is certainly no keyword, so that the usual script reads well. */
static void add_identifier(Text *out, const char *name)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyz0123456789_";
    if (strncmp(name, "outbox", 6) == 0 && strspn(name, plain) == strlen(name)) {
        text_add(out, name);
    } else {
        AUTO_TEXT quoted = ident_quote(name);
        text_add(out, quoted);
    }
}

static void add_template(Text *out, const char *template, const char *schema)
{
    const char *mark;
    while ((mark = strchr(template, '@')) != NULL) {
        text_append(out, template, (size_t)(mark - template));
        if (strncmp(mark, LITERAL_MARK, sizeof(LITERAL_MARK) - 1) == 0) {
            AUTO_TEXT literal = ident_literal(schema);
            text_add(out, literal);
            template = mark + sizeof(LITERAL_MARK) - 1;
        } else if (strncmp(mark, IDENTIFIER_MARK, sizeof(IDENTIFIER_MARK) - 1) == 0) {
            add_identifier(out, schema);
            template = mark + sizeof(IDENTIFIER_MARK) - 1;
        } else {
            text_add_char(out, '@');
            template = mark + 1;
        }
    }
    text_add(out, template);
}

void migrate_script_lock_key(Text *out, const char *schema)
{
    add_template(out, "hashtextextended('outboxd.migrate.' || @schema_literal@, 0)", schema);
}

void migrate_script_begin(Text *out, const char *schema)
{
    text_add(out, "BEGIN;\n"
                  "SET LOCAL lock_timeout = '2s';\n"
                  "SET LOCAL search_path = pg_catalog, pg_temp;\n"
                  "SELECT pg_advisory_xact_lock(");
    migrate_script_lock_key(out, schema);
    text_add(out, ");\n\n");
}

void migrate_script_up(Text *out, const char *schema, const Migration *migration)
{
    add_template(out, migration->up, schema);
    add_template(out,
                 "\nINSERT INTO @schema@.migration (version, name, checksum, outboxd_version,"
                 " duration_ms)\n",
                 schema);
    text_printf(out,
                "VALUES (%d, '%s', '%s', '" OUTBOXD_VERSION "',\n"
                "        round(date_part('epoch', clock_timestamp() - transaction_timestamp())"
                " * 1000));\n",
                migration->version, migration->name, migration->checksum);
}

void migrate_script_down(Text *out, const char *schema, const Migration *migration)
{
    add_template(out, "DELETE FROM @schema@.migration WHERE version = ", schema);
    text_printf(out, "%d;\n", migration->version);
    add_template(out, migration->down, schema);
}

void migrate_script_end(Text *out)
{
    text_add(out, "COMMIT;\n");
}

void migrate_script_publication(Text *out, const char *schema)
{
    add_template(out, MIGRATION_PUBLICATION, schema);
}

void migrate_script_wal_advice(Text *out, const char *schema, const char *indent,
                               const char *wal_level)
{
    if (wal_level == NULL || strcmp(wal_level, "logical") != 0) {
        text_printf(out,
                    "%sALTER SYSTEM SET wal_level = 'logical';   -- %s%s; then restart "
                    "PostgreSQL\n",
                    indent, wal_level != NULL ? "it is " : "unless it is",
                    wal_level != NULL ? wal_level : "");
    }
    text_printf(
        out,
        "%sALTER ROLE your_relay REPLICATION;   -- membership in outbox_relay does not give "
        "it\n",
        indent);
    text_printf(out, "%sCREATE PUBLICATION outboxd_<pipeline> FOR TABLE ", indent);
    add_identifier(out, schema);
    text_add(out, ".event WITH (publish = 'insert');   -- for each pipeline not called outbox\n");
}

void migrate_script_title(Text *out, const Migration *migration)
{
    for (const char *c = migration->name; *c != '\0'; c++) {
        text_add_char(out, (char)(*c == '_' ? ' ' : *c));
    }
}

static void add_heading(Text *out, const Migration *migration, const char *direction)
{
    text_printf(out, "\n-- %d: ", migration->version);
    migrate_script_title(out, migration);
    text_printf(out, "%s\n", direction);
}

static void add_preamble(Text *out, const char *schema, const char *what)
{
    text_add(out, "-- outboxd " OUTBOXD_VERSION ", schema ");
    add_identifier(out, schema);
    text_printf(out, ": %s.\n", what);
    text_add(out,
             "-- psql -v ON_ERROR_STOP=1 -f FILE. As one Flyway or sqitch script; for Liquibase"
             " with splitStatements:false.\n");
}

void migrate_script_print_up(Text *out, const char *schema, int last, bool roles, bool wal)
{
    add_preamble(out, schema, "each migration in a transaction of its own");
    for (size_t i = 0; i < MIGRATION_COUNT && MIGRATIONS[i].version <= last; i++) {
        if (MIGRATIONS[i].roles && !roles) {
            continue;
        }
        add_heading(out, &MIGRATIONS[i], "");
        migrate_script_begin(out, schema);
        migrate_script_up(out, schema, &MIGRATIONS[i]);
        migrate_script_end(out);
    }
    if (wal) {
        text_add(out, "\n-- capture = \"wal\": the publication\n");
        migrate_script_begin(out, schema);
        migrate_script_publication(out, schema);
        text_add_char(out, '\n');
        migrate_script_end(out);
        text_add(out, "\n-- Besides, an administrator runs:\n");
        migrate_script_wal_advice(out, schema, "-- ", NULL);
    }
}

void migrate_script_print_down(Text *out, const char *schema, int to)
{
    add_preamble(out, schema, "the way back, all of it or nothing");
    migrate_script_begin(out, schema);
    for (size_t i = MIGRATION_COUNT; i > 0 && MIGRATIONS[i - 1].version > to; i--) {
        add_heading(out, &MIGRATIONS[i - 1], ", taken back");
        migrate_script_down(out, schema, &MIGRATIONS[i - 1]);
    }
    text_add_char(out, '\n');
    migrate_script_end(out);
}
