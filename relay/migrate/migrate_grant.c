/* How it works: what a writer and a relay may do stands in one place, the GRANT lines of the
 * migrations that make the group roles. Each of them names one role at its end; another one is put
 * there. */
#include <string.h>

#include "base/memory.h"
#include "migrate/migrate_script.h"
#include "pg/ident.h"

static const char WRITER_END[] = " TO outbox_writer;";
static const char RELAY_END[] = " TO outbox_relay;";

static bool line_ends(const char *line, size_t length, const char *end)
{
    size_t end_length = strlen(end);
    return length > end_length && memcmp(line + length - end_length, end, end_length) == 0;
}

/* The line without its role, once for each of these roles. */
static void add_grants(Text *out, const char *schema, const char *line, size_t length,
                       const char *const *roles, size_t count)
{
    AUTO_TEXT grant = x_strndup(line, length);
    for (size_t i = 0; i < count; i++) {
        AUTO_TEXT role = ident_quote(roles[i]);
        migrate_script_template(out, grant, schema);
        text_printf(out, " TO %s;\n", role);
    }
}

static void add_grants_of(Text *out, const char *schema, const char *text,
                          const MigrateGrantees *grantees)
{
    for (const char *line = text; *line != '\0';) {
        size_t length = strcspn(line, "\n");
        if (strncmp(line, "GRANT ", 6) == 0 && line_ends(line, length, WRITER_END)) {
            add_grants(out, schema, line, length - strlen(WRITER_END), grantees->writers,
                       grantees->writer_count);
        } else if (strncmp(line, "GRANT ", 6) == 0 && line_ends(line, length, RELAY_END)) {
            add_grants(out, schema, line, length - strlen(RELAY_END), grantees->relays,
                       grantees->relay_count);
        }
        line += length + (line[length] == '\n');
    }
}

void migrate_script_grants_of(Text *out, const char *schema, const Migration *migration,
                              const MigrateGrantees *grantees)
{
    if (migration->roles) {
        add_grants_of(out, schema, migration->up, grantees);
    }
}

void migrate_script_grants(Text *out, const char *schema, int last, const MigrateGrantees *grantees)
{
    for (size_t i = 0; i < MIGRATION_COUNT && MIGRATIONS[i].version <= last; i++) {
        migrate_script_grants_of(out, schema, &MIGRATIONS[i], grantees);
    }
}

static void add_names(Text *out, const char *const *roles, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        AUTO_TEXT literal = ident_literal(roles[i]);
        text_printf(out, "%s%s", i > 0 ? ", " : "", literal);
    }
}

void migrate_script_check_usage(Text *out, const char *schema, const MigrateGrantees *grantees)
{
    AUTO_BUFFER body = TEXT_EMPTY;
    text_add(&body, "\nDECLARE\n"
                    "    names text;\n"
                    "    owner_name text;\n"
                    "BEGIN\n"
                    "    SELECT string_agg(quote_ident(name), ', '), min(pg_get_userbyid(nspowner))"
                    " INTO names, owner_name\n"
                    "      FROM pg_namespace, unnest(ARRAY[");
    if (grantees == NULL) {
        text_add(&body, "'outbox_writer', 'outbox_relay'");
    } else {
        add_names(&body, grantees->writers, grantees->writer_count);
        text_add(&body, grantees->writer_count > 0 && grantees->relay_count > 0 ? ", " : "");
        add_names(&body, grantees->relays, grantees->relay_count);
    }
    migrate_script_template(&body,
                            "]) name\n"
                            "     WHERE nspname = @schema_literal@ AND EXISTS (SELECT FROM "
                            "pg_roles WHERE rolname = name"
                            " AND NOT has_schema_privilege(oid, nspname, 'USAGE'))",
                            schema);
    if (grantees == NULL) {
        migrate_script_template(
            &body,
            "\n       AND EXISTS (SELECT FROM @schema@.migration m WHERE NOT m.skipped"
            " AND m.name LIKE '%roles')",
            schema);
    }
    migrate_script_template(
        &body,
        ";\n"
        "    IF names IS NOT NULL THEN\n"
        "        RAISE WARNING 'schema % belongs to %, who runs: GRANT USAGE ON SCHEMA % TO %;',\n"
        "            quote_ident(@schema_literal@), owner_name, quote_ident(@schema_literal@),"
        " names;\n"
        "    END IF;\n"
        "END\n",
        schema);
    /* a role's name may hold what would end a dollar quote */
    if (strstr(text_string(&body), "$do$") == NULL) {
        text_printf(out, "DO $do$%s$do$;\n", text_string(&body));
    } else {
        AUTO_TEXT literal = ident_literal(text_string(&body));
        text_printf(out, "DO %s;\n", literal);
    }
}

void migrate_script_guard(Text *out, const char *schema)
{
    migrate_script_template(out, MIGRATION_GUARD, schema);
}
