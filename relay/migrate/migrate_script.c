/* How it works: the templates of sql/ are copied once from left to right, each placeholder replaced
 * by the quoted schema, so a schema's name is never read as a template itself. */
#include "migrate/migrate_script.h"

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
    } else if (strcmp(schema, "public") == 0) {
        /* --down drops what carries our names, and anybody's objects may come in between */
        fault = "is shared by everyone";
    } else if (strncmp(schema, "pg_", 3) == 0 || strcmp(schema, "information_schema") == 0) {
        fault = "is one of PostgreSQL's own names";
    } else if (!utf8_valid(schema, length)) {
        fault = "is not UTF-8";
    } else if (strpbrk(schema, "$\\") != NULL) {
        fault = "must not contain '$' or '\\'";
    }
    for (size_t i = 0; fault == NULL && i < length; i++) {
        if ((unsigned char)schema[i] < 0x20 || schema[i] == 0x7f) {
            fault = "must not contain control characters";
        }
    }
    if (fault == NULL) {
        return OK;
    }
    error_set(err, CODE_MIGRATE_SCHEMA_NAME, "schema name '%.80s' %s", schema, fault);
    return error_advise(err);
}

/* Bare where that is certainly no keyword, so that the usual script reads well. */
void migrate_script_identifier(Text *out, const char *name)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyz0123456789_";
    if (strncmp(name, "outbox", 6) == 0 && strspn(name, plain) == strlen(name)) {
        text_add(out, name);
    } else {
        AUTO_TEXT quoted = ident_quote(name);
        text_add(out, quoted);
    }
}

void migrate_script_template(Text *out, const char *template, const char *schema)
{
    const char *mark;
    while ((mark = strchr(template, '@')) != NULL) {
        text_append(out, template, (size_t)(mark - template));
        if (strncmp(mark, LITERAL_MARK, sizeof(LITERAL_MARK) - 1) == 0) {
            AUTO_TEXT literal = ident_literal(schema);
            text_add(out, literal);
            template = mark + sizeof(LITERAL_MARK) - 1;
        } else if (strncmp(mark, IDENTIFIER_MARK, sizeof(IDENTIFIER_MARK) - 1) == 0) {
            migrate_script_identifier(out, schema);
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
    migrate_script_template(out, "hashtextextended('outboxd.migrate.' || @schema_literal@, 0)",
                            schema);
}

void migrate_script_begin(Text *out, const char *schema)
{
    text_add(out, "BEGIN;\n"
                  "SET LOCAL lock_timeout = '2s';\n"
                  "SET LOCAL search_path = pg_catalog, pg_temp;\n"
                  "DO $do$ BEGIN PERFORM pg_advisory_xact_lock(");
    migrate_script_lock_key(out, schema);
    text_add(out, "); END $do$;\n\n");
}

void migrate_script_up(Text *out, const char *schema, const Migration *migration)
{
    migrate_script_template(out, migration->up, schema);
    if (migration->roles) {
        text_add_char(out, '\n');
        migrate_script_template(
            out, "DELETE FROM @schema@.migration WHERE skipped AND version = ", schema);
        text_printf(out, "%d;", migration->version);
    }
    migrate_script_template(
        out,
        "\nINSERT INTO @schema@.migration (version, name, checksum, outboxd_version,"
        " duration_ms)\n",
        schema);
    text_printf(out,
                "VALUES (%d, '%s', '%s', '" OUTBOXD_VERSION "',\n"
                "        round(date_part('epoch', clock_timestamp() - transaction_timestamp())"
                " * 1000));\n",
                migration->version, migration->name, migration->checksum);
}

void migrate_script_note(Text *out, const char *schema, const Migration *migration, bool skipped)
{
    migrate_script_template(
        out,
        "INSERT INTO @schema@.migration (version, name, checksum, outboxd_version,"
        " duration_ms, skipped)\n",
        schema);
    text_printf(out, "VALUES (%d, '%s', '%s', '" OUTBOXD_VERSION "', 0, %s);\n", migration->version,
                migration->name, migration->checksum, skipped ? "true" : "false");
}

void migrate_script_forget(Text *out, const char *schema, const Migration *migration)
{
    migrate_script_template(out, "DELETE FROM @schema@.migration WHERE version = ", schema);
    text_printf(out, "%d;\n", migration->version);
}

void migrate_script_down(Text *out, const char *schema, const Migration *migration)
{
    migrate_script_forget(out, schema, migration);
    migrate_script_template(out, migration->down, schema);
}

void migrate_script_end(Text *out)
{
    text_add(out, "COMMIT;\n");
}

void migrate_script_publication(Text *out, const char *schema)
{
    migrate_script_template(out, MIGRATION_PUBLICATION, schema);
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
    migrate_script_identifier(out, schema);
    text_add(out, ".event WITH (publish = 'insert');   -- for each pipeline not called outbox\n");
}

void migrate_script_title(Text *out, const Migration *migration)
{
    for (const char *c = migration->name; *c != '\0'; c++) {
        text_add_char(out, (char)(*c == '_' ? ' ' : *c));
    }
}

void migrate_script_changed_hint(Text *out, const char *schema, const char *made_by)
{
    if (strcmp(made_by, OUTBOXD_VERSION) != 0) {
        text_printf(out,
                    "Nothing was changed. Use the program that applied it (outboxd %s). A released "
                    "migration never changes.",
                    made_by);
        return;
    }
    /* Until a version is released its migrations are edited in place. */
    AUTO_TEXT quoted = ident_quote(schema);
    text_printf(out,
                "Nothing was changed. A development build of outboxd " OUTBOXD_VERSION
                " made this schema. Stop the relay once everything is published; then run "
                "`outboxd migrate --down 0` with that build, or, if it is gone, DROP SCHEMA %s "
                "CASCADE; (with every event and dead letter in it); then run outboxd migrate "
                "again, and grant the roles again.",
                quoted);
}
