/* How it works: the tables say what goes together; what depends on values is looked at here. */
#include "app/migrate_arguments.h"

#include <string.h>

#include "base/error.h"
#include "command/command_help.h"
#include "sql/migrations.h"

const CommandForm MIGRATE_FORMS[MIGRATE_FORM_COUNT] = {
    [MIGRATE_FORM_STATUS] = {.flag = "status"},
    [MIGRATE_FORM_BASELINE] = {.flag = "baseline"},
    [MIGRATE_FORM_DOWN] = {.flag = "down"},
    [MIGRATE_FORM_GUARD] = {.flag = "guard-messages"},
};

enum {
    UP = COMMAND_FORM(MIGRATE_FORM_UP),
    STATUS = COMMAND_FORM(MIGRATE_FORM_STATUS),
    BASELINE = COMMAND_FORM(MIGRATE_FORM_BASELINE),
    DOWN = COMMAND_FORM(MIGRATE_FORM_DOWN),
    GUARD = COMMAND_FORM(MIGRATE_FORM_GUARD),
};

enum { GROUP_ROLES = 1 };

static const char *const CAPTURES[] = {"poll", "wal", NULL};

static const char *role_valid(const char *role)
{
    return *role == '\0' || strcmp(role, "public") == 0 || strcmp(role, "none") == 0
               ? "the name of a role"
               : NULL;
}

const Flag MIGRATE_FLAGS[] = {
    {.name = "dsn",
     .value = "DSN",
     FLAG_TEXT(MigrateOptions, overrides.dsn),
     .help = "connection string or URI (default: OUTBOXD_DATABASE_DSN, then PGHOST and the other "
             "PG variables)"},
    {.name = "schema",
     .value = "NAME",
     FLAG_TEXT(MigrateOptions, schema),
     .help = "name of the schema (default: outbox)"},
    {.name = "capture",
     FLAG_CHOICE(MigrateOptions, capture),
     .choices = CAPTURES,
     .forms = UP,
     .help = "how the relay will read events (default: poll). wal also creates the publication "
             "outboxd_outbox, and says what an administrator must do"},
    {.name = "to",
     .value = "N",
     FLAG_COUNT(MigrateOptions, to),
     .noun = "version",
     .least = 1,
     .most_of = &MIGRATION_COUNT,
     .forms = UP,
     .help = "stop after migration N"},
    {.name = "no-roles",
     FLAG_SWITCH(MigrateOptions, no_roles),
     .forms = UP,
     .group = GROUP_ROLES,
     .help = "do not create the roles outbox_writer and outbox_relay, which belong to the whole "
             "cluster. Later runs remember this"},
    {.name = "roles",
     FLAG_SWITCH(MigrateOptions, make_roles),
     .forms = UP,
     .group = GROUP_ROLES,
     .help = "create these roles after --no-roles"},
    {.name = "writer",
     .value = "ROLE",
     FLAG_LIST(MigrateOptions, writers),
     .valid = role_valid,
     .forms = UP,
     .help = "grant your own role the privileges to emit events, in this database only, instead of "
             "creating the roles above"},
    {.name = "relay",
     .value = "ROLE",
     FLAG_LIST(MigrateOptions, relays),
     .valid = role_valid,
     .forms = UP,
     .help = "grant your own role the privileges to run the relay, in the same way"},
    {.name = "print",
     FLAG_SWITCH(MigrateOptions, print),
     .forms = UP | DOWN | GUARD,
     .help = "print the SQL (for psql, Flyway, Liquibase, sqitch) and connect to no database. "
             "Running the SQL a second time changes nothing"},
    {.name = "from",
     .value = "N",
     FLAG_COUNT(MigrateOptions, from),
     .noun = "version",
     .least = 1,
     .most_of = &MIGRATION_COUNT,
     .forms = UP,
     .needs = "print",
     .why = "a connected database already knows its migrations",
     .help = "with --print: start with migration N"},
    {.name = "status",
     FLAG_SWITCH(MigrateOptions, status),
     .forms = STATUS,
     .help = "list the applied and the pending migrations"},
    {.name = "baseline",
     FLAG_SWITCH(MigrateOptions, baseline),
     .forms = BASELINE,
     .help = "record the migrations that a copy without rows (pg_dump -s) already contains"},
    {.name = "down",
     .value = "N",
     FLAG_COUNT(MigrateOptions, down),
     .noun = "version",
     .least = 0,
     .most_of = &MIGRATION_COUNT,
     .forms = DOWN,
     .help = "revert all migrations above N; 0 reverts all of them"},
    {.name = "guard-messages",
     FLAG_SWITCH(MigrateOptions, guard),
     .forms = GUARD,
     .help = "revoke pg_logical_emit_message from PUBLIC in this database, for messages = true. "
             "This needs a superuser and does nothing else"},
    {0}};

const FlagRule MIGRATE_RULES[] = {
    {"to", "down", "--to and --down exclude each other"},
    {"no-roles", "down",
     "--no-roles has no effect with --down: outboxd always keeps a role that is used elsewhere or "
     "that it did not create"},
    {"capture", "down",
     "--capture wal has no effect with --down: --down 0 also drops the publication"},
    {"roles", "writer",
     "--roles and --writer exclude each other: grant the group roles to yours instead"},
    {"roles", "relay",
     "--roles and --relay exclude each other: grant the group roles to yours instead"},
    {0}};

const MigrateOptions MIGRATE_DEFAULTS = {.schema = "outbox",
                                         .to = MIGRATE_NOT_GIVEN,
                                         .down = MIGRATE_NOT_GIVEN,
                                         .from = MIGRATE_NOT_GIVEN};

size_t migrate_arguments_grantees(const MigrateArguments *arguments)
{
    return arguments->grantees.writer_count + arguments->grantees.relay_count;
}

static int read_roles(const Command *command, const StringList *list, const char **roles,
                      size_t *ret_count)
{
    if (list->count > MIGRATE_GRANTEES_MAX) {
        return command_refuse(command, "%d roles at once are the limit, one too many is %s",
                              MIGRATE_GRANTEES_MAX, list->items[MIGRATE_GRANTEES_MAX]);
    }
    for (size_t i = 0; i < list->count; i++) {
        roles[i] = list->items[i];
    }
    *ret_count = list->count;
    return EXIT_OK;
}

int migrate_arguments_read(const CommandLine *line, MigrateArguments *ret_arguments)
{
    const MigrateOptions *options = line->options;
    MigrateArguments given = {.dsn = options->overrides.dsn,
                              .schema = options->schema,
                              .to = (int)options->to,
                              .down = (int)options->down,
                              .from = (int)options->from,
                              .roles = options->no_roles     ? MIGRATE_ROLES_SKIP
                                       : options->make_roles ? MIGRATE_ROLES_MAKE
                                                             : MIGRATE_ROLES_AS_NOTED,
                              .print = options->print,
                              .status = options->status,
                              .baseline = options->baseline,
                              .guard = options->guard,
                              .wal = options->capture == 1};
    MigrateGrantees *grantees = &given.grantees;
    const Command *command = line->command;
    if (read_roles(command, &options->writers, grantees->writers, &grantees->writer_count) !=
            EXIT_OK ||
        read_roles(command, &options->relays, grantees->relays, &grantees->relay_count) !=
            EXIT_OK) {
        return EXIT_CONFIG;
    }
    if (given.from != MIGRATE_NOT_GIVEN && given.to != MIGRATE_NOT_GIVEN && given.from > given.to) {
        return command_refuse(command, "--from is above --to: nothing would be written");
    }
    /* rights on what migrations after --to make */
    if (given.to != MIGRATE_NOT_GIVEN && given.to < (int)MIGRATION_COUNT &&
        migrate_arguments_grantees(&given) > 0) {
        return command_refuse(command, "--writer and --relay need all migrations: leave --to out");
    }
    *ret_arguments = given;
    return EXIT_OK;
}
