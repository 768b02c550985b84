/* How it works: getopt_long, then which options go together. */
#include "app/migrate_arguments.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "sql/migrations.h"

const char MIGRATE_USAGE[] =
    "outboxd migrate [--dsn DSN] [--schema NAME] [--capture poll|wal] [--to N]\n"
    "                [--no-roles | --roles] [--writer ROLE] [--relay ROLE] [--print [--from N]]\n"
    "outboxd migrate [--dsn DSN] [--schema NAME] --status | --baseline\n"
    "outboxd migrate [--dsn DSN] [--schema NAME] --down N | --guard-messages [--print]\n"
    "\n"
    "Makes the outbox schema in a database, or brings it up to date; twice is a no-op.\n"
    "\n"
    "  --dsn DSN         connection string or URI; else OUTBOXD_DATABASE_DSN, else PGHOST and so "
    "on\n"
    "  --capture wal     what the relay will read with: also make the publication "
    "outboxd_outbox,\n"
    "                    and say what an administrator must do; poll is the default\n"
    "  --print           write the SQL (for psql, Flyway, Liquibase, sqitch) and touch no "
    "database;\n"
    "                    to run it twice is a no-op, too\n"
    "  --from N          with --print: begin with migration N\n"
    "  --to N            stop after migration N\n"
    "  --down N          take back everything above migration N; 0 removes all of it\n"
    "  --status          list what is applied and what is pending\n"
    "  --baseline        record what a copy without rows (pg_dump -s) holds already\n"
    "  --schema NAME     another name than outbox\n"
    "  --no-roles        leave out the roles outbox_writer and outbox_relay, which belong to the "
    "whole\n"
    "                    cluster; that is remembered\n"
    "  --roles           make them after all\n"
    "  --writer ROLE     let this role of yours emit events, in this database alone; instead of "
    "the\n"
    "                    roles above. May be repeated\n"
    "  --relay ROLE      let this role of yours run the relay, likewise\n"
    "  --guard-messages  close pg_logical_emit_message to PUBLIC in this database, as a "
    "superuser:\n"
    "                    for messages = true. Nothing else is done\n";

static int usage_error(const char *text, const char *what)
{
    fprintf(stderr, "outboxd migrate: %s%s\n  remedy: see outboxd migrate --help\n", text, what);
    return EXIT_CONFIG;
}

static Status parse_version(const char *text, int least, int *ret_version)
{
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value < least ||
        value > (long)MIGRATION_COUNT) {
        fprintf(stderr, "outboxd migrate: '%s' is no version between %d and %zu\n", text, least,
                MIGRATION_COUNT);
        fprintf(stderr, "  remedy: outboxd migrate --status lists the versions\n");
        return FAILED;
    }
    *ret_version = (int)value;
    return OK;
}

static int parse_capture(const char *capture, bool *ret_wal)
{
    *ret_wal = strcmp(capture, "wal") == 0;
    if (*ret_wal || strcmp(capture, "poll") == 0) {
        return EXIT_OK;
    }
    return usage_error("--capture must be poll or wal, not ", capture);
}

size_t migrate_arguments_grantees(const MigrateArguments *arguments)
{
    return arguments->grantees.writer_count + arguments->grantees.relay_count;
}

/* Some option that only the way forward takes, or NULL. */
static const char *forward_option(const MigrateArguments *arguments)
{
    return arguments->to != MIGRATE_NOT_GIVEN       ? "--to"
           : arguments->from != MIGRATE_NOT_GIVEN   ? "--from"
           : arguments->roles == MIGRATE_ROLES_SKIP ? "--no-roles"
           : arguments->roles == MIGRATE_ROLES_MAKE ? "--roles"
           : arguments->wal                         ? "--capture wal"
           : arguments->grantees.writer_count > 0   ? "--writer"
           : arguments->grantees.relay_count > 0    ? "--relay"
                                                    : NULL;
}

static int check_down(const MigrateArguments *arguments)
{
    const char *forward = forward_option(arguments);
    if (forward == NULL) {
        return EXIT_OK;
    }
    if (arguments->to != MIGRATE_NOT_GIVEN) {
        return usage_error("--to and --down exclude each other", "");
    }
    if (arguments->roles == MIGRATE_ROLES_SKIP) {
        return usage_error(
            "--no-roles has no meaning with --down: a role that is used elsewhere, or "
            "that outboxd did not make, is kept in any case",
            "");
    }
    if (arguments->wal) {
        return usage_error("--capture wal has no meaning with --down: --down 0 also takes the "
                           "publication back",
                           "");
    }
    return usage_error("--down has no use for ", forward);
}

static int check_combination(const MigrateArguments *arguments)
{
    int modes = arguments->status + arguments->baseline + arguments->guard +
                (arguments->down != MIGRATE_NOT_GIVEN);
    if (modes > 1) {
        return usage_error("--status, --baseline, --down and --guard-messages exclude each other",
                           "");
    }
    bool alone = arguments->status || arguments->baseline;
    if ((alone && arguments->print) ||
        ((alone || arguments->guard) && forward_option(arguments) != NULL)) {
        return usage_error(arguments->status     ? "--status"
                           : arguments->baseline ? "--baseline"
                                                 : "--guard-messages",
                           arguments->guard ? " goes with --dsn, --schema and --print only"
                                            : " goes with --dsn and --schema only");
    }
    if (arguments->down != MIGRATE_NOT_GIVEN && check_down(arguments) != EXIT_OK) {
        return EXIT_CONFIG;
    }
    if (arguments->from != MIGRATE_NOT_GIVEN && !arguments->print) {
        return usage_error("--from goes with --print: a database knows what it has", "");
    }
    if (arguments->from != MIGRATE_NOT_GIVEN && arguments->to != MIGRATE_NOT_GIVEN &&
        arguments->from > arguments->to) {
        return usage_error("--from is above --to: nothing would be written", "");
    }
    if (arguments->roles == MIGRATE_ROLES_MAKE && migrate_arguments_grantees(arguments) > 0) {
        return usage_error("--roles and --writer or --relay exclude each other: grant the group "
                           "roles to yours instead",
                           "");
    }
    /* rights on what migrations after --to make */
    if (arguments->to != MIGRATE_NOT_GIVEN && arguments->to < (int)MIGRATION_COUNT &&
        migrate_arguments_grantees(arguments) > 0) {
        return usage_error("--writer and --relay need all migrations: leave --to out", "");
    }
    return EXIT_OK;
}

static int set_roles(MigrateArguments *arguments, MigrateRoles roles)
{
    if (arguments->roles != MIGRATE_ROLES_AS_NOTED && arguments->roles != roles) {
        return usage_error("--roles and --no-roles exclude each other", "");
    }
    arguments->roles = roles;
    return EXIT_OK;
}

static int add_grantee(const char **roles, size_t *count, const char *role)
{
    if (*count == MIGRATE_GRANTEES_MAX) {
        return usage_error("32 roles at once are the limit, one too many is ", role);
    }
    if (*role == '\0' || strcmp(role, "public") == 0 || strcmp(role, "none") == 0) {
        return usage_error("--writer and --relay take the name of a role, not ",
                           *role == '\0' ? "nothing" : role);
    }
    roles[(*count)++] = role;
    return EXIT_OK;
}

static int take_option(MigrateArguments *arguments, int option)
{
    MigrateGrantees *grantees = &arguments->grantees;
    switch (option) {
    case 'd':
        arguments->dsn = optarg;
        return EXIT_OK;
    case 'c':
        return parse_capture(optarg, &arguments->wal);
    case 't':
        return parse_version(optarg, 1, &arguments->to) == OK ? EXIT_OK : EXIT_CONFIG;
    case 'D':
        return parse_version(optarg, 0, &arguments->down) == OK ? EXIT_OK : EXIT_CONFIG;
    case 'f':
        return parse_version(optarg, 1, &arguments->from) == OK ? EXIT_OK : EXIT_CONFIG;
    case 'n':
        arguments->schema = optarg;
        return EXIT_OK;
    case 'r':
        return set_roles(arguments, MIGRATE_ROLES_SKIP);
    case 'R':
        return set_roles(arguments, MIGRATE_ROLES_MAKE);
    case 'w':
        return add_grantee(grantees->writers, &grantees->writer_count, optarg);
    case 'y':
        return add_grantee(grantees->relays, &grantees->relay_count, optarg);
    default:
        return EXIT_INTERNAL; /* not in the table of options */
    }
}

int migrate_arguments_parse(int argc, char **argv, MigrateArguments *ret_arguments)
{
    MigrateArguments given = {.schema = "outbox",
                              .to = MIGRATE_NOT_GIVEN,
                              .down = MIGRATE_NOT_GIVEN,
                              .from = MIGRATE_NOT_GIVEN};
    int print = 0;
    int status = 0;
    int baseline = 0;
    int guard = 0;
    int help = 0;
    const struct option options[] = {
        {"dsn", required_argument, NULL, 'd'},    {"capture", required_argument, NULL, 'c'},
        {"to", required_argument, NULL, 't'},     {"down", required_argument, NULL, 'D'},
        {"from", required_argument, NULL, 'f'},   {"schema", required_argument, NULL, 'n'},
        {"no-roles", no_argument, NULL, 'r'},     {"roles", no_argument, NULL, 'R'},
        {"writer", required_argument, NULL, 'w'}, {"relay", required_argument, NULL, 'y'},
        {"print", no_argument, &print, 1},        {"status", no_argument, &status, 1},
        {"baseline", no_argument, &baseline, 1},  {"guard-messages", no_argument, &guard, 1},
        {"help", no_argument, &help, 1},          {NULL, 0, NULL, 0},
    };
    opterr = 0;
    optind = 1;
    int option;
    // NOLINTNEXTLINE(concurrency-mt-unsafe): before any thread
    while ((option = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
        if (option == ':') {
            return usage_error("a value is missing after ", argv[optind - 1]);
        }
        if (option == '?') {
            return usage_error("unknown option ", argv[optind - 1]);
        }
        help = help || option == 'h';
        int code = option == 0 || option == 'h' ? EXIT_OK : take_option(&given, option);
        if (code != EXIT_OK) {
            return code;
        }
    }
    given.print = print;
    given.status = status;
    given.baseline = baseline;
    given.guard = guard;
    given.help = help;
    *ret_arguments = given;
    return optind < argc ? usage_error("takes no argument ", argv[optind])
                         : check_combination(&given);
}
