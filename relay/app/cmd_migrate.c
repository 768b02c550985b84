/* cmd_migrate: the screen of `outboxd migrate`; the work is in migrate/migrate.h. Results go
 * to stdout, errors to stderr with their remedy. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/commands.h"
#include "app/migrate_arguments.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/text.h"
#include "command/problems_print.h"
#include "config/dsn.h"
#include "migrate/migrate.h"
#include "migrate/migrate_script.h"
#include "token/token.h"

/* Without a configuration: the defaults of database.password_timeout and password_lifetime. */
enum { PASSWORD_TIMEOUT_MS = 30000, PASSWORD_LIFETIME_MS = 600000 };

static int report_error(const Error *err)
{
    error_print("migrate", err);
    return (int)error_exit_code(err);
}

/* Roles of one's own stand in for the group roles, where those are not there already. */
static MigrateRoles roles_wanted(const MigrateArguments *arguments)
{
    return migrate_arguments_grantees(arguments) > 0 ? MIGRATE_ROLES_SKIP : arguments->roles;
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
    if (arguments->guard) {
        migrate_print_guard(&script, arguments->schema);
    } else if (arguments->down != MIGRATE_NOT_GIVEN) {
        migrate_print_down(&script, arguments->schema, arguments->down);
    } else {
        MigratePrint print = {
            .schema = arguments->schema,
            .from = arguments->from != MIGRATE_NOT_GIVEN ? arguments->from : 1,
            .last = arguments->to != MIGRATE_NOT_GIVEN ? arguments->to : (int)MIGRATION_COUNT,
            .roles = roles_wanted(arguments),
            .wal = arguments->wal,
            .grantees = &arguments->grantees,
        };
        migrate_print_up(&script, &print);
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

static void print_step(void *context, const Migration *migration, const char *outcome,
                       long duration_ms, const char *notices)
{
    (void)context;
    char duration[32] = "";
    if (strcmp(outcome, "skipped") == 0) {
        snprintf(duration, sizeof(duration), "later runs remember this");
    } else if (duration_ms >= 0) {
        snprintf(duration, sizeof(duration), "%ld ms", duration_ms);
    }
    print_line(migration, outcome, duration);
    print_notices(notices);
    (void)fflush(stdout); /* seen at once, and before an error of the next one */
}

static const char WITHOUT_ROLES[] =
    ", without the roles outbox_writer and outbox_relay, because of --no-roles, or --writer and "
    "--relay; outboxd migrate --roles creates them";

static int migrate_show_status(const Migrate *migrate)
{
    int pending = 0;
    bool skipped = false;
    for (size_t i = 0; i < MIGRATION_COUNT; i++) {
        const MigrateRecord *record = migrate_record(migrate, i);
        char when[160] = "";
        if (record->applied || record->skipped) {
            snprintf(when, sizeof(when), "%s by %s, outboxd %s", record->at, record->by,
                     record->outboxd_version);
        }
        skipped = skipped || record->skipped;
        pending += !record->applied && !record->skipped;
        print_line(&MIGRATIONS[i],
                   record->applied   ? "applied"
                   : record->skipped ? "skipped"
                                     : "pending",
                   when);
    }
    if (pending > 0) {
        printf("%d pending; to apply %s, run: outboxd migrate\n", pending,
               pending > 1 ? "them" : "it");
    } else {
        printf("up to date%s\n", skipped ? WITHOUT_ROLES : "");
    }
    return flush_output();
}

static int migrate_go_down(Migrate *migrate, const MigrateArguments *arguments)
{
    bool any = false;
    for (size_t i = (size_t)arguments->down; i < MIGRATION_COUNT; i++) {
        const MigrateRecord *record = migrate_record(migrate, i);
        any = any || record->applied || record->skipped;
    }
    if (!any) {
        printf("nothing to do: no migration above %d is applied\n", arguments->down);
        return flush_output();
    }
    AUTO_ERROR err = {0};
    if (migrate_down(migrate, arguments->down, print_step, NULL, &err) != OK) {
        return report_error(&err);
    }
    printf("done.\n");
    return flush_output();
}

/* What a run did, for what is said at its end. */
typedef struct Outcome {
    int last;
    bool any;           /* something was applied, skipped or made */
    bool roles_skipped; /* the group roles are left out here */
    bool may_grant;     /* the role may make others members of them */
    char *advice;       /* of --capture wal, or NULL */
    char *around;       /* what others must mend, a line each */
} Outcome;

static void outcome_free(Outcome *outcome)
{
    free(outcome->advice);
    free(outcome->around);
}

/* Applies what is due, a line each. */
static Status migrate_apply(Migrate *migrate, const MigrateArguments *arguments, Outcome *outcome,
                            Error *err)
{
    MigrateRoles roles = roles_wanted(arguments);
    for (size_t i = 0; i < MIGRATION_COUNT; i++) {
        outcome->any = outcome->any || migrate_due(migrate, i, outcome->last, roles);
    }
    if (outcome->any && migrate_up(migrate, outcome->last, roles, print_step, NULL, err) != OK) {
        return FAILED;
    }
    for (size_t i = 0; i < MIGRATION_COUNT; i++) {
        outcome->roles_skipped = outcome->roles_skipped || migrate_record(migrate, i)->skipped;
    }
    return OK;
}

static void print_granted(const char *rights, const char *const *roles, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        printf("  %-22s granted   to %s\n", rights, roles[i]);
    }
}

static Status grant_rights(Migrate *migrate, int last, const MigrateGrantees *grantees, Error *err)
{
    if (grantees->writer_count + grantees->relay_count == 0) {
        return OK;
    }
    if (migrate_grant(migrate, last, grantees, err) != OK) {
        return FAILED;
    }
    print_granted("rights of a writer", grantees->writers, grantees->writer_count);
    print_granted("rights of a relay", grantees->relays, grantees->relay_count);
    print_notices(migrate_notices(migrate));
    return OK;
}

static Status publish(Migrate *migrate, const MigrateArguments *arguments, Outcome *outcome,
                      Error *err)
{
    if (!arguments->wal) {
        return OK;
    }
    bool created;
    AUTO_TEXT wal_level = NULL;
    if (migrate_publish(migrate, &created, &wal_level, err) != OK) {
        return FAILED;
    }
    printf("  publication outboxd_outbox %s\n", created ? "created" : "already exists");
    AUTO_BUFFER advice = TEXT_EMPTY;
    migrate_script_wal_advice(&advice, arguments->schema, "  ", wal_level);
    outcome->advice = x_strdup(text_string(&advice));
    outcome->any = outcome->any || created;
    return OK;
}

static void print_around(const char *lines)
{
    if (*lines == '\0') {
        return;
    }
    printf("fix this first:\n");
    for (const char *line = lines; *line != '\0';) {
        int length = (int)strcspn(line, "\n");
        printf("  %.*s\n", length, line);
        line += length + (line[length] == '\n');
    }
}

/* What to do next, after the lines of migrate_apply. */
static void print_next(const MigrateArguments *arguments, const Outcome *outcome, const char *user)
{
    bool whole = outcome->last >= (int)MIGRATION_COUNT;
    bool own = migrate_arguments_grantees(arguments) > 0;
    if (!outcome->any) {
        printf("nothing to do: up to date%s\n",
               outcome->roles_skipped && !own ? WITHOUT_ROLES : "");
    } else if (!whole) {
        printf("done, up to migration %d.\n", outcome->last);
    } else if (own) {
        printf("done.\n");
    } else if (outcome->roles_skipped) {
        printf("done. Next, grant your application and your relay their privileges: outboxd "
               "migrate --writer your_application --relay your_relay\n");
    } else if (outcome->may_grant) {
        printf("done. Next: GRANT outbox_writer TO your_application; GRANT outbox_relay TO "
               "your_relay;\n");
    } else {
        printf("done. Next, an administrator runs (%s has no ADMIN OPTION on these roles): GRANT "
               "outbox_writer TO your_application; GRANT outbox_relay TO your_relay;\n",
               user);
    }
    print_around(outcome->around);
    if (outcome->advice != NULL) {
        printf("for capture = \"wal\", an administrator runs once:\n"
               "%s",
               outcome->advice);
    }
    if (outcome->any && whole) {
        printf("then: outboxd run %s\n", outcome->advice != NULL
                                             ? "-c FILE, with capture = \"wal\" in the pipeline"
                                             : "--dsn ... --brokers ...");
    }
}

static int migrate_go_up(Migrate *migrate, const MigrateArguments *arguments)
{
    Outcome outcome __attribute__((cleanup(outcome_free))) = {
        .last = arguments->to != MIGRATE_NOT_GIVEN ? arguments->to : (int)MIGRATION_COUNT};
    const MigrateGrantees *grantees = &arguments->grantees;
    AUTO_ERROR err = {0};
    if (migrate_check_grantees(migrate, grantees, &err) != OK ||
        migrate_apply(migrate, arguments, &outcome, &err) != OK ||
        grant_rights(migrate, outcome.last, grantees, &err) != OK ||
        publish(migrate, arguments, &outcome, &err) != OK ||
        migrate_look_around(migrate, migrate_arguments_grantees(arguments) > 0 ? grantees : NULL,
                            &outcome.around, &err) != OK ||
        migrate_may_grant(migrate, &outcome.may_grant, &err) != OK) {
        return report_error(&err);
    }
    print_next(arguments, &outcome, migrate_user(migrate));
    return flush_output();
}

/* --dsn, else the environment as the relay reads it; NULL: libpq's own environment. */
static Status migrate_find_dsn(const char *given, char **ret_dsn, Error *err)
{
    DsnProblem problem = {0};
    AUTO_TEXT command = NULL;
    if (dsn_of_command(given, environ, ret_dsn, &problem) == OK &&
        dsn_password_command(given, environ, &command, &problem) == OK) {
        token_open(TOKEN_DATABASE, &(TokenOptions){.option = "OUTBOXD_DATABASE_PASSWORD_COMMAND",
                                                   .command = command != NULL ? command : "",
                                                   .timeout_ms = PASSWORD_TIMEOUT_MS,
                                                   .lifetime_ms = PASSWORD_LIFETIME_MS,
                                                   .exit_code = EXIT_POSTGRES,
                                                   .accepter = "PostgreSQL"});
        return OK;
    }
    error_set(err, CODE_MIGRATE_DSN, "%s%s",
              problem.reference ? "" : "the connection string is malformed: ", problem.message);
    error_hint(err, "%s", problem.remedy != NULL ? problem.remedy : DSN_REMEDY);
    dsn_problem_free(&problem);
    return FAILED;
}

static int migrate_go_baseline(Migrate *migrate)
{
    AUTO_ERROR err = {0};
    size_t known = 0;
    for (size_t i = 0; i < MIGRATION_COUNT; i++) {
        known += migrate_record(migrate, i)->applied || migrate_record(migrate, i)->skipped;
    }
    if (known == MIGRATION_COUNT) {
        printf("nothing to do: all migrations are recorded\n");
        return flush_output();
    }
    if (migrate_baseline(migrate, print_step, NULL, &err) != OK) {
        return report_error(&err);
    }
    int pending = 0;
    for (size_t i = 0; i < MIGRATION_COUNT; i++) {
        pending += migrate_pending(migrate, i, (int)MIGRATION_COUNT, true);
    }
    if (pending > 0) {
        printf("done. To apply the other %d, run: outboxd migrate\n", pending);
    } else {
        printf("done: up to date\n");
    }
    return flush_output();
}

/* Without the right to do it, the statements go to stdout, for whoever has it. */
static int migrate_go_guard(Migrate *migrate, const MigrateArguments *arguments)
{
    AUTO_ERROR err = {0};
    if (migrate_guard(migrate, &err) == OK) {
        print_notices(migrate_notices(migrate));
        printf("done.\n");
        return flush_output();
    }
    int code = report_error(&err);
    if (err.code == CODE_MIGRATE_PRIVILEGE) {
        AUTO_BUFFER script = TEXT_EMPTY;
        migrate_print_guard(&script, arguments->schema);
        fputs(text_string(&script), stdout);
        (void)flush_output();
    }
    return code;
}

static int migrate_database(const MigrateArguments *arguments)
{
    AUTO_ERROR err = {0};
    AUTO_TEXT dsn = NULL;
    if (migrate_find_dsn(arguments->dsn, &dsn, &err) != OK) {
        return report_error(&err);
    }
    Migrate *migrate __attribute__((cleanup(migrate_close))) = NULL;
    if (migrate_open(dsn, dsn_pooler_of_command(environ), arguments->schema, &migrate, &err) !=
            OK ||
        (!arguments->status && migrate_lock(migrate, &err) != OK) ||
        (arguments->baseline ? migrate_read_bare(migrate, &err) : migrate_read(migrate, &err)) !=
            OK) {
        return report_error(&err);
    }
    if (arguments->guard) { /* stdout may become a script */
        return migrate_go_guard(migrate, arguments);
    }
    const char *owner = migrate_foreign_owner(migrate);
    printf("%s, schema \"%s\"%s%s\n", migrate_place(migrate), arguments->schema,
           owner != NULL ? ", which belongs to " : "", owner != NULL ? owner : "");
    if (arguments->dsn != NULL && dsn_holds_password(arguments->dsn)) {
        printf("--dsn: warning: %s\n  remedy: %s\n", DSN_ARGUMENT_WARNING, DSN_ARGUMENT_REMEDY);
    }
    (void)fflush(stdout);
    if (arguments->baseline) {
        return migrate_go_baseline(migrate);
    }
    if (arguments->status) {
        return migrate_show_status(migrate);
    }
    return arguments->down != MIGRATE_NOT_GIVEN ? migrate_go_down(migrate, arguments)
                                                : migrate_go_up(migrate, arguments);
}

static int migrate_command(CommandLine *line)
{
    MigrateArguments arguments;
    int code = migrate_arguments_read(line, &arguments);
    if (code != EXIT_OK) {
        return code;
    }
    AUTO_ERROR err = {0};
    if (migrate_script_check_schema(arguments.schema, &err) != OK) {
        return report_error(&err);
    }
    return arguments.print ? migrate_print(&arguments) : migrate_database(&arguments);
}

static const CommandExit EXITS[] = {
    {EXIT_OK, "done, even if there was nothing to do"},
    {EXIT_CONFIG, "usage or configuration error"},
    {EXIT_POSTGRES, "PostgreSQL cannot be reached, or refuses a statement"},
    {EXIT_INTERNAL, "the output could not be written"},
    {0}};

const Command COMMAND_MIGRATE = {
    .name = "migrate",
    .summary = "creates the outbox schema, or brings it up to date",
    .about = "Creates the outbox schema in a database, or brings it up to date. If it is up to "
             "date, the command changes nothing.",
    .forms = MIGRATE_FORMS,
    .form_count = MIGRATE_FORM_COUNT,
    .flags = MIGRATE_FLAGS,
    .rules = MIGRATE_RULES,
    .exits = EXITS,
    .options_size = sizeof(MigrateOptions),
    .defaults = &MIGRATE_DEFAULTS,
    .run = migrate_command,
};
