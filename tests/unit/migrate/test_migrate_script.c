#include <criterion/criterion.h>
#include <string.h>

#include "migrate/migrate_script.h"

static const Migration SAMPLE = {
    .version = 7,
    .name = "two_words",
    .checksum = "c0ffee",
    .up = "CREATE TABLE @schema@.t (mail text DEFAULT 'a@b'); SELECT @schema_literal@, '@';\n",
    .down = "DROP TABLE @schema@.t;\n",
};

static void expect_up_begins(const char *schema, const char *expected)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    migrate_script_up(&out, schema, &SAMPLE);
    cr_assert_eq(strncmp(text_string(&out), expected, strlen(expected)), 0, "%s",
                 text_string(&out));
}

Test(migrate_script, placeholders_become_the_quoted_schema_and_other_marks_stay)
{
    expect_up_begins("outbox", "CREATE TABLE outbox.t (mail text DEFAULT 'a@b');"
                               " SELECT 'outbox', '@';\n");
    expect_up_begins("Mail \"Box'", "CREATE TABLE \"Mail \"\"Box'\".t (mail text DEFAULT 'a@b');"
                                    " SELECT 'Mail \"Box''', '@';\n");
}

Test(migrate_script, a_schema_that_looks_like_a_placeholder_is_not_replaced_again)
{
    expect_up_begins("@schema_literal@", "CREATE TABLE \"@schema_literal@\".t (mail text DEFAULT "
                                         "'a@b'); SELECT '@schema_literal@', '@';\n");
}

Test(migrate_script, only_names_that_cannot_be_keywords_stay_bare)
{
    expect_up_begins("outbox_2", "CREATE TABLE outbox_2.t");
    expect_up_begins("user", "CREATE TABLE \"user\".t");
    expect_up_begins("Outbox", "CREATE TABLE \"Outbox\".t");
    expect_up_begins("outboxÄ", "CREATE TABLE \"outboxÄ\".t");
}

Test(migrate_script, up_notes_version_name_checksum_and_program)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    migrate_script_up(&out, "outbox", &SAMPLE);
    cr_assert_not_null(strstr(text_string(&out),
                              "INSERT INTO outbox.migration (version, name, "
                              "checksum, outboxd_version, duration_ms)\n"
                              "VALUES (7, 'two_words', 'c0ffee', '" OUTBOXD_VERSION "',"));
}

Test(migrate_script, down_forgets_the_version_before_the_table_of_versions_can_go)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    migrate_script_down(&out, "outbox", &SAMPLE);
    cr_assert_str_eq(text_string(&out),
                     "DELETE FROM outbox.migration WHERE version = 7;\nDROP TABLE outbox.t;\n");
}

static void print_up(Text *out, const char *schema, MigrateRoles roles, bool wal,
                     const MigrateGrantees *grantees)
{
    static const MigrateGrantees nobody = {.writer_count = 0};
    MigratePrint print = {.schema = schema,
                          .from = 1,
                          .last = (int)MIGRATION_COUNT,
                          .roles = roles,
                          .wal = wal,
                          .grantees = grantees != NULL ? grantees : &nobody};
    migrate_print_up(out, &print);
}

static size_t count(const char *text, const char *part)
{
    size_t found = 0;
    for (const char *at = strstr(text, part); at != NULL; at = strstr(at + 1, part)) {
        found++;
    }
    return found;
}

Test(migrate_script, printing_wraps_each_step_forward_and_the_whole_way_back)
{
    AUTO_BUFFER up = TEXT_EMPTY;
    print_up(&up, "outbox", MIGRATE_ROLES_AS_NOTED, false, NULL);
    cr_assert_eq(count(text_string(&up), "\nBEGIN;\n"), MIGRATION_COUNT);
    cr_assert_eq(count(text_string(&up), "\nCOMMIT;\n"), MIGRATION_COUNT);
    AUTO_BUFFER down = TEXT_EMPTY;
    migrate_print_down(&down, "outbox", 0);
    cr_assert_eq(count(text_string(&down), "\nBEGIN;\n"), 1);
    cr_assert_eq(count(text_string(&down), "\nCOMMIT;\n"), 1);
    cr_assert_lt(strstr(text_string(&down), "version = 2;"),
                 strstr(text_string(&down), "version = 1;"));
}

Test(migrate_script, printing_begins_and_ends_with_the_migrations_that_were_asked_for)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    MigrateGrantees nobody = {.writer_count = 0};
    MigratePrint print = {.schema = "outbox", .from = 2, .last = 3, .grantees = &nobody};
    migrate_print_up(&out, &print);
    cr_assert_eq(count(text_string(&out), "\nBEGIN;\n"), 2);
    cr_assert_not_null(strstr(text_string(&out), "-- 2: functions\n"));
    cr_assert_not_null(strstr(text_string(&out), "-- 3: relay state\n"));
}

Test(migrate_script, roles_that_are_left_out_are_noted)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    print_up(&out, "outbox", MIGRATE_ROLES_SKIP, false, NULL);
    cr_assert_null(strstr(text_string(&out), "CREATE ROLE"));
    cr_assert_null(strstr(text_string(&out), " TO outbox_"));
    size_t roles = 0;
    for (size_t i = 0; i < MIGRATION_COUNT; i++) {
        roles += MIGRATIONS[i].roles;
    }
    cr_assert_eq(count(text_string(&out), "', 0, true);\n"), roles);
}

Test(migrate_script, roles_of_ones_own_get_every_grant_of_the_group_roles)
{
    MigrateGrantees grantees = {.writers = {"app", "o'do\"ll$do$"},
                                .writer_count = 2,
                                .relays = {"Relay"},
                                .relay_count = 1};
    AUTO_BUFFER out = TEXT_EMPTY;
    migrate_script_grants(&out, "Mail Box", (int)MIGRATION_COUNT, &grantees);
    const char *text = text_string(&out);
    size_t writers = 0;
    size_t relays = 0;
    for (size_t i = 0; i < MIGRATION_COUNT; i++) {
        writers += count(MIGRATIONS[i].up, " TO outbox_writer;\n");
        relays += count(MIGRATIONS[i].up, " TO outbox_relay;\n");
    }
    cr_assert_gt(writers, 0);
    cr_assert_gt(relays, 0);
    cr_assert_eq(count(text, "GRANT "), 2 * writers + relays, "%s", text);
    cr_assert_eq(count(text, " TO \"app\";\n"), writers);
    cr_assert_eq(count(text, " TO \"o'do\"\"ll$do$\";\n"), writers);
    cr_assert_eq(count(text, " TO \"Relay\";\n"), relays);
    cr_assert_null(strstr(text, "outbox_"));
    cr_assert_not_null(strstr(text, "GRANT USAGE ON SCHEMA \"Mail Box\" TO \"app\";\n"));

    AUTO_BUFFER check = TEXT_EMPTY;
    migrate_script_check_usage(&check, "outbox", &grantees);
    cr_assert_eq(strncmp(text_string(&check), "DO '", 4), 0, "%s", text_string(&check));
}

Test(migrate_script, capture_wal_adds_the_publication_and_comments_for_an_administrator)
{
    AUTO_BUFFER without = TEXT_EMPTY;
    print_up(&without, "outbox_2", MIGRATE_ROLES_AS_NOTED, false, NULL);
    cr_assert_null(strstr(text_string(&without), "PUBLICATION"));
    AUTO_BUFFER with = TEXT_EMPTY;
    print_up(&with, "outbox_2", MIGRATE_ROLES_AS_NOTED, true, NULL);
    cr_assert_eq(count(text_string(&with), "\nBEGIN;\n"), MIGRATION_COUNT + 1);
    cr_assert_eq(count(text_string(&with), "\nCOMMIT;\n"), MIGRATION_COUNT + 1);
    const char *advice = strstr(text_string(&with), "\n-- In addition, an administrator runs:\n");
    cr_assert_str_eq(advice,
                     "\n-- In addition, an administrator runs:\n"
                     "-- ALTER SYSTEM SET wal_level = 'logical';   -- unless it is; then "
                     "restart PostgreSQL\n"
                     "-- ALTER ROLE your_relay REPLICATION;   -- membership in outbox_relay "
                     "does not give it\n"
                     "-- CREATE PUBLICATION outboxd_<pipeline> FOR TABLE outbox_2.event WITH "
                     "(publish = 'insert');   -- for each pipeline not called outbox\n");
}

Test(migrate_script, advice_leaves_out_what_holds_already)
{
    AUTO_BUFFER logical = TEXT_EMPTY;
    migrate_script_wal_advice(&logical, "outbox", "", "logical");
    cr_assert_null(strstr(text_string(&logical), "wal_level"));
    AUTO_BUFFER replica = TEXT_EMPTY;
    migrate_script_wal_advice(&replica, "outbox", "  ", "replica");
    cr_assert_eq(strncmp(text_string(&replica),
                         "  ALTER SYSTEM SET wal_level = 'logical';   -- it is replica; then", 66),
                 0);
}

Test(migrate_script, schema_names_that_postgresql_or_other_tools_would_change_are_refused)
{
    char longest[65];
    memset(longest, 'x', sizeof(longest));
    longest[64] = '\0';
    const char *const bad[] = {
        "", "public", "pg_x", "information_schema", "a$b", "a\\b", "a\nb", "\x7f", "\xff", longest};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        AUTO_ERROR err = {0};
        cr_assert_eq(migrate_script_check_schema(bad[i], &err), FAILED, "'%s'", bad[i]);
        cr_assert_eq(err.exit_code, EXIT_CONFIG);
        cr_assert_str_not_empty(error_own_hint(&err));
    }
    longest[63] = '\0';
    const char *const good[] = {"outbox", "Mail Box", "größe", "a'\"; --", longest};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        cr_assert_eq(migrate_script_check_schema(good[i], NULL), OK, "'%s'", good[i]);
    }
}
