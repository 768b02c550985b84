/* The rules of sql/README.md that a machine can check. */
#include <criterion/criterion.h>
#include <string.h>

#include "sql/migrations.h"

static void expect_portable(const char *name, const char *text)
{
    for (const char *c = text; *c != '\0'; c++) {
        cr_assert((*c >= ' ' && *c <= '~') || *c == '\n', "%s: byte 0x%02x is not plain ASCII",
                  name, (unsigned char)*c);
        cr_assert_neq(*c, '\\', "%s: backslashes depend on settings", name);
    }
    static const char *const forbidden[] = {
        "BEGIN;",       "COMMIT",      "CASCADE;",   "CONCURRENTLY",
        "outbox.event", "outbox.emit", "\"outbox\"", "${"};
    for (size_t i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++) {
        cr_assert_null(strstr(text, forbidden[i]), "%s holds '%s'", name, forbidden[i]);
    }
    for (const char *mark = strchr(text, '@'); mark != NULL; mark = strchr(mark + 1, '@')) {
        bool opens =
            strncmp(mark, "@schema@", 8) == 0 || strncmp(mark, "@schema_literal@", 16) == 0;
        cr_assert(opens, "%s: unknown placeholder %.20s", name, mark);
        mark = strchr(mark + 1, '@');
    }
}

/* --print puts the texts into dollar quotes of its own: $once$ and $migration$. */
static void expect_known_dollar_quotes(const char *name, const char *text)
{
    for (const char *c = strchr(text, '$'); c != NULL; c = strchr(c + 1, '$')) {
        size_t tag =
            strspn(c + 1, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789");
        if (c[1 + tag] != '$') {
            continue;
        }
        cr_assert(strncmp(c, "$do$", 4) == 0 || strncmp(c, "$function$", 10) == 0,
                  "%s: dollar quote %.*s", name, (int)tag + 2, c);
        c += tag + 1;
    }
}

/* --writer and --relay run the same lines for other roles. */
static void expect_grants_on_lines_of_their_own(const char *name, const char *text)
{
    for (const char *c = strstr(text, "GRANT "); c != NULL; c = strstr(c + 1, "GRANT ")) {
        size_t length = strcspn(c, "\n");
        cr_assert(c[-1] == '\n', "%s: %.*s", name, (int)length, c);
        const char *end = memmem(c, length, " TO outbox_", 11);
        cr_assert_not_null(end, "%s: %.*s", name, (int)length, c);
        cr_assert(strncmp(end, " TO outbox_writer;\n", 19) == 0 ||
                      strncmp(end, " TO outbox_relay;\n", 18) == 0,
                  "%s: %.*s", name, (int)length, c);
    }
}

Test(migrations, versions_have_no_holes_and_checksums_their_length)
{
    cr_assert_gt(MIGRATION_COUNT, 0);
    for (size_t i = 0; i < MIGRATION_COUNT; i++) {
        cr_assert_eq(MIGRATIONS[i].version, (int)i + 1);
        cr_assert_eq(strspn(MIGRATIONS[i].checksum, "0123456789abcdef"), 64);
        cr_assert_eq(strlen(MIGRATIONS[i].checksum), 64);
    }
}

Test(migrations, texts_run_under_any_client_and_setting)
{
    for (size_t i = 0; i < MIGRATION_COUNT; i++) {
        expect_portable(MIGRATIONS[i].name, MIGRATIONS[i].up);
        expect_portable(MIGRATIONS[i].name, MIGRATIONS[i].down);
    }
    expect_portable("publication", MIGRATION_PUBLICATION);
    expect_portable("guard", MIGRATION_GUARD);
}

Test(migrations, texts_can_stand_in_a_string_of_the_printed_script)
{
    for (size_t i = 0; i < MIGRATION_COUNT; i++) {
        expect_known_dollar_quotes(MIGRATIONS[i].name, MIGRATIONS[i].up);
        expect_known_dollar_quotes(MIGRATIONS[i].name, MIGRATIONS[i].down);
    }
}

Test(migrations, each_grant_of_the_roles_stands_on_one_line_and_names_one_role)
{
    for (size_t i = 0; i < MIGRATION_COUNT; i++) {
        if (MIGRATIONS[i].roles) {
            expect_grants_on_lines_of_their_own(MIGRATIONS[i].name, MIGRATIONS[i].up);
        }
    }
}

Test(migrations, only_those_named_roles_know_the_group_roles)
{
    for (size_t i = 0; i < MIGRATION_COUNT; i++) {
        bool roles = strstr(MIGRATIONS[i].up, "CREATE ROLE") != NULL ||
                     strstr(MIGRATIONS[i].up, "outbox_writer") != NULL ||
                     strstr(MIGRATIONS[i].up, "outbox_relay") != NULL;
        cr_assert_eq(roles, MIGRATIONS[i].roles, "%s", MIGRATIONS[i].name);
    }
}

Test(migrations, definer_functions_put_temporary_objects_last)
{
    size_t definers = 0;
    for (size_t i = 0; i < MIGRATION_COUNT; i++) {
        const char *at = MIGRATIONS[i].up;
        while ((at = strstr(at, "SECURITY DEFINER")) != NULL) {
            static const char expected[] =
                "SECURITY DEFINER\nSET search_path = pg_catalog, pg_temp\n";
            cr_assert_eq(strncmp(at, expected, sizeof(expected) - 1), 0, "%s: %.80s",
                         MIGRATIONS[i].name, at);
            definers++;
            at++;
        }
    }
    cr_assert_gt(definers, 0);
}
