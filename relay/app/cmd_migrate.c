/* cmd_migrate: arguments and screen of `outboxd migrate`; the work is in pg/migrate.h. Results go
 * to stdout, errors to stderr with their remedy. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/commands.h"
#include "app/problems_print.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/text.h"
#include "config/dsn.h"
#include "pg/migrate.h"
#include "pg/migrate_script.h"

enum { NOT_GIVEN = -1 };

typedef struct MigrateArguments {
    const char *dsn; /* NULL: libpq's environment */
    const char *schema;
    int to;   /* version, or NOT_GIVEN */
    int down; /* version, or NOT_GIVEN */
    bool print;
    bool status;
    bool no_roles;
    bool wal; /* --capture wal */
    bool help;
} MigrateArguments;

static const char USAGE[] =
    "outboxd migrate [--dsn DSN] [--capture poll|wal] [--print] [--to N] [--down N] [--status]\n"
    "                [--schema NAME] [--no-roles]\n"
    "\n"
    "Makes the outbox schema in a database, or brings it up to date; twice is a no-op.\n"
    "\n"
    "  --dsn DSN         connection string or URI; else OUTBOXD_DATABASE_DSN, else PGHOST and so "
    "on\n"
    "  --capture wal     what the relay will read with: also make the publication "
    "outboxd_outbox,\n"
    "                    and say what an administrator must do; poll is the default\n"
    "  --print           write the SQL (for psql, Flyway, Liquibase, sqitch) and touch no "
    "database\n"
    "  --to N            stop after migration N\n"
    "  --down N          take back everything above migration N; 0 removes all of it\n"
    "  --status          list what is applied and what is pending\n"
    "  --schema NAME     another name than outbox\n"
    "  --no-roles        leave out the roles outbox_writer and outbox_relay\n";

static int usage_error(const char *text, const char *what)
{
    fprintf(stderr, "outboxd migrate: %s%s\n  remedy: see outboxd migrate --help\n", text, what);
    return EXIT_CONFIG;
}

static int report_error(const Error *err)
{
    error_print("migrate", err);
    return err->exit_code;
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

static int check_combination(const MigrateArguments *arguments)
{
    if (arguments->to != NOT_GIVEN && arguments->down != NOT_GIVEN) {
        return usage_error("--to and --down exclude each other", "");
    }
    if (arguments->status &&
        (arguments->print || arguments->to != NOT_GIVEN || arguments->down != NOT_GIVEN ||
         arguments->no_roles || arguments->wal)) {
        return usage_error("--status goes with --dsn and --schema only", "");
    }
    if (arguments->no_roles && arguments->down != NOT_GIVEN) {
        return usage_error(
            "--no-roles has no meaning with --down: a role that is used elsewhere, or "
            "that outboxd did not make, is kept in any case",
            "");
    }
    if (arguments->wal && arguments->down != NOT_GIVEN) {
        return usage_error("--capture wal has no meaning with --down: --down 0 also takes the "
                           "publication back",
                           "");
    }
    return EXIT_OK;
}

static int parse_arguments(int argc, char **argv, MigrateArguments *arguments)
{
    static const struct option options[] = {
        {"dsn", required_argument, NULL, 'd'},    {"capture", required_argument, NULL, 'c'},
        {"print", no_argument, NULL, 'p'},        {"to", required_argument, NULL, 't'},
        {"down", required_argument, NULL, 'D'},   {"status", no_argument, NULL, 's'},
        {"schema", required_argument, NULL, 'n'}, {"no-roles", no_argument, NULL, 'r'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
    };
    *arguments = (MigrateArguments){.schema = "outbox", .to = NOT_GIVEN, .down = NOT_GIVEN};
    opterr = 0;
    optind = 1;
    int option;
    // NOLINTNEXTLINE(concurrency-mt-unsafe): before any thread
    while ((option = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
        int code = EXIT_OK;
        switch (option) {
        case 'd':
            arguments->dsn = optarg;
            break;
        case 'c':
            code = parse_capture(optarg, &arguments->wal);
            break;
        case 'p':
            arguments->print = true;
            break;
        case 't':
            code = parse_version(optarg, 1, &arguments->to) == OK ? EXIT_OK : EXIT_CONFIG;
            break;
        case 'D':
            code = parse_version(optarg, 0, &arguments->down) == OK ? EXIT_OK : EXIT_CONFIG;
            break;
        case 's':
            arguments->status = true;
            break;
        case 'n':
            arguments->schema = optarg;
            break;
        case 'r':
            arguments->no_roles = true;
            break;
        case 'h':
            arguments->help = true;
            break;
        case ':':
            return usage_error("a value is missing after ", argv[optind - 1]);
        default:
            return usage_error("unknown option ", argv[optind - 1]);
        }
        if (code != EXIT_OK) {
            return code;
        }
    }
    return optind < argc ? usage_error("takes no argument ", argv[optind])
                         : check_combination(arguments);
}

/* stdout may be a full disk or a closed pipe; half a script must not look like a whole one. */
static int flush_output(void)
{
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "outboxd migrate: cannot write to standard output\n");
        return EXIT_INTERNAL;
    }
    return EXIT_OK;
}

static int migrate_print(const MigrateArguments *arguments)
{
    AUTO_BUFFER script = TEXT_EMPTY;
    if (arguments->down != NOT_GIVEN) {
        migrate_script_print_down(&script, arguments->schema, arguments->down);
    } else {
        int last = arguments->to != NOT_GIVEN ? arguments->to : (int)MIGRATION_COUNT;
        migrate_script_print_up(&script, arguments->schema, last, !arguments->no_roles,
                                arguments->wal);
    }
    fputs(text_string(&script), stdout);
    return flush_output();
}

static void print_line(const Migration *migration, const char *outcome, const char *rest)
{
    AUTO_BUFFER title = TEXT_EMPTY;
    migrate_script_title(&title, migration);
    printf("  %d %-20s %-9s %s\n", migration->version, text_string(&title), outcome, rest);
}

/* The server's notices, indented below the line of their migration. */
static void print_notices(const char *notices)
{
    while (*notices != '\0') {
        int length = (int)strcspn(notices, "\n");
        printf("      %.*s\n", length, notices);
        notices += length + (notices[length] == '\n');
    }
}

static void print_step(const Migration *migration, const char *outcome, long duration_ms,
                       const char *notices)
{
    char duration[32];
    snprintf(duration, sizeof(duration), "%ld ms", duration_ms);
    print_line(migration, outcome, duration);
    print_notices(notices);
    (void)fflush(stdout); /* seen at once, and before an error of the next one */
}

static void print_applied(void *context, const Migration *migration, long duration_ms,
                          const char *notices)
{
    (void)context;
    print_step(migration, "applied", duration_ms, notices);
}

static void print_removed(void *context, const Migration *migration, long duration_ms,
                          const char *notices)
{
    (void)context;
    print_step(migration, "removed", duration_ms, notices);
}

static int migrate_show_status(const Migrate *migrate)
{
    int pending = 0;
    for (size_t i = 0; i < MIGRATION_COUNT; i++) {
        const MigrateRecord *record = migrate_record(migrate, i);
        char when[160] = "";
        if (record->applied) {
            snprintf(when, sizeof(when), "%s by %s, outboxd %s", record->at, record->by,
                     record->outboxd_version);
        }
        pending += !record->applied;
        print_line(&MIGRATIONS[i], record->applied ? "applied" : "pending", when);
    }
    if (pending > 0) {
        printf("%d pending: outboxd migrate applies %s\n", pending, pending > 1 ? "them" : "it");
    } else {
        printf("up to date\n");
    }
    return flush_output();
}

static int migrate_go_down(Migrate *migrate, const MigrateArguments *arguments)
{
    bool any = false;
    for (size_t i = (size_t)arguments->down; i < MIGRATION_COUNT; i++) {
        any = any || migrate_record(migrate, i)->applied;
    }
    if (!any) {
        printf("nothing to do: no migration above %d is applied\n", arguments->down);
        return flush_output();
    }
    Error err = {0};
    if (migrate_down(migrate, arguments->down, print_removed, NULL, &err) != OK) {
        return report_error(&err);
    }
    printf("done.\n");
    return flush_output();
}

/* Applies what is pending, a line each. *ret_any: something was; *ret_roles_left_out: roles were
 * not, for --no-roles. */
static Status migrate_apply(Migrate *migrate, const MigrateArguments *arguments, int last,
                            bool *ret_any, bool *ret_roles_left_out, Error *err)
{
    bool any = false;
    bool roles_left_out = false;
    for (size_t i = 0; i < MIGRATION_COUNT; i++) {
        any = any || migrate_pending(migrate, i, last, !arguments->no_roles);
        roles_left_out = roles_left_out || (arguments->no_roles && MIGRATIONS[i].roles &&
                                            migrate_pending(migrate, i, last, true));
    }
    if (any && migrate_up(migrate, last, !arguments->no_roles, print_applied, NULL, err) != OK) {
        return FAILED;
    }
    for (size_t i = 0; any && roles_left_out && i < MIGRATION_COUNT; i++) {
        if (MIGRATIONS[i].roles && migrate_pending(migrate, i, last, true)) {
            print_line(&MIGRATIONS[i], "skipped", "--no-roles");
        }
    }
    *ret_any = any;
    *ret_roles_left_out = roles_left_out;
    return OK;
}

/* What to do next, after the lines of migrate_apply. */
static void print_next(int last, bool any, bool roles_left_out, const char *advice)
{
    if (!any) {
        printf("nothing to do: up to date%s\n",
               roles_left_out ? ", without roles (--no-roles)" : "");
    } else if (last < (int)MIGRATION_COUNT) {
        printf("done, up to migration %d.\n", last);
    } else if (roles_left_out) {
        printf("done. Next: give your application and your relay their rights (outboxd migrate "
               "--print "
               "shows them, under \"roles\");\n");
    } else {
        printf("done. Next: GRANT outbox_writer TO your_application; GRANT outbox_relay TO "
               "your_relay;\n");
    }
    if (advice != NULL) {
        printf("for capture = \"wal\" an administrator runs, once:\n%s", advice);
    }
    if (any && last >= (int)MIGRATION_COUNT) {
        printf("then: outboxd run %s\n", advice != NULL
                                             ? "-c FILE, with capture = \"wal\" in the pipeline"
                                             : "--dsn ... --brokers ...");
    }
}

static int migrate_go_up(Migrate *migrate, const MigrateArguments *arguments)
{
    int last = arguments->to != NOT_GIVEN ? arguments->to : (int)MIGRATION_COUNT;
    bool any;
    bool roles_left_out;
    Error err = {0};
    if (migrate_apply(migrate, arguments, last, &any, &roles_left_out, &err) != OK) {
        return report_error(&err);
    }
    AUTO_BUFFER advice = TEXT_EMPTY;
    if (arguments->wal) {
        bool created;
        AUTO_TEXT wal_level = NULL;
        if (migrate_publish(migrate, &created, &wal_level, &err) != OK) {
            return report_error(&err);
        }
        printf("  publication outboxd_outbox %s\n", created ? "created" : "is there already");
        migrate_script_wal_advice(&advice, arguments->schema, "  ", wal_level);
        any = any || created;
    }
    print_next(last, any, roles_left_out, arguments->wal ? text_string(&advice) : NULL);
    return flush_output();
}

/* --dsn, else the environment as the relay reads it; NULL: libpq's own environment. */
static Status migrate_find_dsn(const char *given, char **ret_dsn, Error *err)
{
    DsnProblem problem = {0};
    if (dsn_of_command(given, environ, ret_dsn, &problem) == OK) {
        return OK;
    }
    error_set(err, ERROR_FATAL, EXIT_CONFIG, "MIGRATE_DSN", "%s%s",
              problem.reference ? "" : "the connection string is malformed: ", problem.message);
    error_hint(err, "%s", problem.remedy != NULL ? problem.remedy : DSN_REMEDY);
    dsn_problem_free(&problem);
    return FAILED;
}

static int migrate_database(const MigrateArguments *arguments)
{
    Error err = {0};
    AUTO_TEXT dsn = NULL;
    if (migrate_find_dsn(arguments->dsn, &dsn, &err) != OK) {
        return report_error(&err);
    }
    Migrate *migrate __attribute__((cleanup(migrate_close))) = NULL;
    if (migrate_open(dsn, arguments->schema, &migrate, &err) != OK ||
        (!arguments->status && migrate_lock(migrate, &err) != OK) ||
        migrate_read(migrate, &err) != OK) {
        return report_error(&err);
    }
    printf("%s, schema \"%s\"\n", migrate_place(migrate), arguments->schema);
    if (arguments->dsn != NULL && dsn_holds_password(arguments->dsn)) {
        printf("--dsn: warning: %s\n  remedy: %s\n", DSN_ARGUMENT_WARNING, DSN_ARGUMENT_REMEDY);
    }
    (void)fflush(stdout);
    if (arguments->status) {
        return migrate_show_status(migrate);
    }
    return arguments->down != NOT_GIVEN ? migrate_go_down(migrate, arguments)
                                        : migrate_go_up(migrate, arguments);
}

int command_migrate(int argc, char **argv)
{
    MigrateArguments arguments;
    int code = parse_arguments(argc, argv, &arguments);
    if (code != EXIT_OK) {
        return code;
    }
    if (arguments.help) {
        fputs(USAGE, stdout);
        return flush_output();
    }
    Error err = {0};
    if (migrate_script_check_schema(arguments.schema, &err) != OK) {
        return report_error(&err);
    }
    return arguments.print ? migrate_print(&arguments) : migrate_database(&arguments);
}
