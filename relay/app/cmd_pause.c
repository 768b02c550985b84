/* outboxd pause | resume
 *
 * A row of outbox.pause keeps a pipeline from publishing, whichever relay runs it and however often
 * that is restarted; NOTIFY tells a running one at once. */
#include <errno.h>
#include <jansson.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "app/commands.h"
#include "app/overrides.h"
#include "app/problems_print.h"
#include "app/status_client.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "config/config.h"
#include "config/nearest.h"
#include "pg/ident.h"
#include "pg/open.h"
#include "pg/result.h"
#include "pg/sqlstate.h"

#define CONNECT_TIMEOUT_S "5"

enum { RELAY_WAIT_MS = 5000, RELAY_ASK_EVERY_MS = 50 };

typedef struct PauseCommand {
    bool pause; /* else resume */
    const char *name;
    ConfigOverrides overrides;
    const char *pipeline; /* NULL: all of the configuration */
    const char *reason;
} PauseCommand;

static bool pause_concerns(const PauseCommand *command, const PipelineConfig *pipeline)
{
    return command->pipeline == NULL || strcmp(command->pipeline, pipeline->name) == 0;
}

static Status pause_check_pipeline(const PauseCommand *command, const Config *config)
{
    if (command->pipeline == NULL) {
        return OK;
    }
    const char *meant = NULL;
    Nearest nearest = nearest_begin(command->pipeline);
    for (size_t i = 0; i < config->pipeline_count; i++) {
        if (pause_concerns(command, &config->pipelines[i])) {
            return OK;
        }
        if (nearest_offer(&nearest, config->pipelines[i].name)) {
            meant = config->pipelines[i].name;
        }
    }
    (void)fprintf(stderr, "outboxd %s: no pipeline '%s' in %s", command->name, command->pipeline,
                  config->file[0] != '\0' ? config->file : "this configuration");
    if (meant != NULL) {
        (void)fprintf(stderr, "; did you mean '%s'?\n", meant);
        return FAILED;
    }
    (void)fputs("; there", stderr);
    for (size_t i = 0; i < config->pipeline_count; i++) {
        (void)fprintf(stderr, "%s '%s'",
                      i > 0                        ? ","
                      : config->pipeline_count > 1 ? " are"
                                                   : " is",
                      config->pipelines[i].name);
    }
    (void)fputc('\n', stderr);
    return FAILED;
}

/* The database. */

static void pause_finish(PGconn **connection)
{
    PQfinish(*connection);
}

static void pause_clear(PGresult **result)
{
    PQclear(*result);
}

static Status pause_query(PGconn *connection, const char *sql, int count, const char *const *values,
                          PGresult **ret_result, Error *err)
{
    PGresult *result = PQexecParams(connection, sql, count, NULL, values, NULL, NULL, 0);
    ExecStatusType kind = PQresultStatus(result);
    if (kind != PGRES_TUPLES_OK && kind != PGRES_COMMAND_OK) {
        Status status = PQstatus(connection) == CONNECTION_OK
                            ? sqlstate_error(result, err)
                            : sqlstate_connection_error(connection, err);
        PQclear(result);
        return status;
    }
    *ret_result = result;
    return OK;
}

static Status pause_run(PGconn *connection, const char *sql, Error *err)
{
    AUTO(PGresult, pause_clear) result = NULL;
    return pause_query(connection, sql, 0, NULL, &result, err);
}

/* Quoted for SQL; as the relay looks it up. */
static Status pause_find_table(PGconn *connection, const PipelineConfig *pipeline, char **ret_table,
                               Error *err)
{
    AUTO_TEXT quoted = NULL;
    AUTO(PGresult, pause_clear) found = NULL;
    if (ident_quote_table(pipeline->outbox.table, &quoted, err) != OK ||
        pause_query(connection,
                    "SELECT coalesce(CASE WHEN to_regclass(quote_ident(n.nspname) || '.migration')"
                    " IS NOT NULL THEN to_regclass(quote_ident(n.nspname) || '.pause') END,"
                    " to_regclass('outbox.pause'))::text FROM (SELECT to_regclass($1) AS oid) t"
                    " LEFT JOIN pg_class c ON c.oid = t.oid LEFT JOIN pg_namespace n"
                    " ON n.oid = c.relnamespace",
                    1, (const char *const[]){quoted}, &found, err) != OK) {
        return FAILED;
    }
    if (PQntuples(found) != 1 || pg_is_null(found, 0, 0)) {
        error_set(err, CODE_NO_PAUSE_TABLE, "there is no table outbox.pause in database '%s'",
                  PQdb(connection));
        return error_advise(err);
    }
    *ret_table = x_strdup(pg_value(found, 0, 0));
    return OK;
}

/* "root@db1": who asks, as people of this installation know them. */
static char *pause_who(void)
{
    char host[128] = "";
    (void)gethostname(host, sizeof(host) - 1);
    const struct passwd *entry = getpwuid(getuid()); // NOLINT(concurrency-mt-unsafe)
    return entry != NULL ? x_format("%s@%s", entry->pw_name, host)
                         : x_format("uid %u@%s", (unsigned)getuid(), host);
}

#define SINCE "to_char(paused_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC'"

static void pause_say(const PauseCommand *command, const PipelineConfig *pipeline, bool changed,
                      const PGresult *row, Text *out)
{
    if (!command->pause) {
        text_printf(out, "%s %s", pipeline->name, changed ? "is resumed" : "was not paused");
        if (changed) {
            text_printf(out, "; it was paused since %s by %s", pg_value(row, 0, 0),
                        pg_value(row, 0, 1));
        }
        text_add_char(out, '\n');
        return;
    }
    text_printf(out, "%s %s", pipeline->name, changed ? "is paused" : "was paused already, since ");
    if (!changed) {
        text_printf(out, "%s by %s", pg_value(row, 0, 0), pg_value(row, 0, 1));
    }
    if (!pg_is_null(row, 0, 2)) {
        text_printf(out, ": %s", pg_value(row, 0, 2));
    }
    text_add_char(out, '\n');
    if (pipeline->capture == CAPTURE_WAL) {
        text_printf(
            out,
            "  until it is resumed, slot %s keeps all WAL from here on; outboxd status tells how "
            "much\n",
            pipeline->wal.slot);
    }
}

static Status pause_one(PGconn *connection, const PauseCommand *command,
                        const PipelineConfig *pipeline, Text *out, Error *err)
{
    AUTO_TEXT table = NULL;
    if (pause_find_table(connection, pipeline, &table, err) != OK) {
        return FAILED;
    }
    AUTO_TEXT who = pause_who();
    const char *const values[] = {pipeline->name, who, command->reason};
    AUTO_TEXT change =
        command->pause
            ? x_format("INSERT INTO %s (pipeline, paused_by, reason) VALUES ($1, $2, $3)"
                       " ON CONFLICT (pipeline) DO NOTHING RETURNING " SINCE ", paused_by, reason",
                       table)
            : x_format("DELETE FROM %s WHERE pipeline = $1 RETURNING " SINCE ", paused_by, reason",
                       table);
    AUTO(PGresult, pause_clear) changed = NULL;
    if (pause_query(connection, change, command->pause ? 3 : 1, values, &changed, err) != OK) {
        return FAILED;
    }
    if (PQntuples(changed) > 0 || !command->pause) {
        pause_say(command, pipeline, PQntuples(changed) > 0, changed, out);
        return OK;
    }
    AUTO_TEXT look =
        x_format("SELECT " SINCE ", paused_by, reason FROM %s WHERE pipeline = $1", table);
    AUTO(PGresult, pause_clear) row = NULL;
    if (pause_query(connection, look, 1, values, &row, err) != OK) {
        return FAILED;
    }
    if (PQntuples(row) == 1) {
        pause_say(command, pipeline, false, row, out);
    }
    return OK;
}

/* *out: what is the case, true once this succeeds. */
static Status pause_in_database(const PauseCommand *command, const Config *config, Text *out,
                                Error *err)
{
    const char *const names[] = {"fallback_application_name", "connect_timeout", "dbname", NULL};
    AUTO_TEXT application = x_format("outboxd %s", command->name);
    const char *const values[] = {application, CONNECT_TIMEOUT_S, config->database.dsn, NULL};
    AUTO(PGconn, pause_finish) connection = NULL;
    if (pg_open(names, values, &connection, err) != OK ||
        pause_run(connection, "SET statement_timeout = '10s'", err) != OK ||
        pause_run(connection, "SET row_security = off", err) != OK ||
        pause_run(connection, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", err) != OK) {
        return FAILED;
    }
    for (size_t i = 0; i < config->pipeline_count; i++) {
        if (pause_concerns(command, &config->pipelines[i]) &&
            pause_one(connection, command, &config->pipelines[i], out, err) != OK) {
            return FAILED;
        }
    }
    if (pause_run(connection, "NOTIFY outboxd_pause", err) != OK) {
        return FAILED;
    }
    return pause_run(connection, "COMMIT", err);
}

/* The running relay. */

typedef enum Following { FOLLOWS, FOLLOWS_NOT_YET, FOLLOWS_NEVER } Following;

/* Whether the relay's status object says of all our pipelines what was asked for. */
static Following pause_relay_follows(const PauseCommand *command, const Config *config,
                                     const json_t *status)
{
    const json_t *pipelines = json_object_get(status, "pipelines");
    for (size_t i = 0; i < config->pipeline_count; i++) {
        const char *name = config->pipelines[i].name;
        bool found = !pause_concerns(command, &config->pipelines[i]);
        size_t index = 0;
        const json_t *pipeline = NULL;
        json_array_foreach(pipelines, index, pipeline)
        {
            const char *its = json_string_value(json_object_get(pipeline, "name"));
            if (found || its == NULL || strcmp(its, name) != 0) {
                continue;
            }
            found = true;
            if (json_is_object(json_object_get(pipeline, "paused")) != command->pause) {
                return FOLLOWS_NOT_YET;
            }
        }
        if (!found) {
            return FOLLOWS_NEVER;
        }
    }
    return FOLLOWS;
}

static int pause_wait_for_relay(const PauseCommand *command, const Config *config)
{
    const char *listen = config->monitor.listen;
    if (listen[0] == '\0') {
        printf("a running relay follows at once; it cannot be asked: monitor.listen is off\n");
        return EXIT_OK;
    }
    Following follows = FOLLOWS_NOT_YET;
    int64_t deadline_us = clock_monotonic_us() + RELAY_WAIT_MS * INT64_C(1000);
    while (follows == FOLLOWS_NOT_YET && clock_monotonic_us() < deadline_us) {
        AUTO_BUFFER body = TEXT_EMPTY;
        AUTO_ERROR err = {0};
        if (status_client_get(listen, "/status", &body, &err) != OK) {
            printf("no relay answers at %s; one that starts will follow\n", listen);
            return EXIT_OK;
        }
        json_t *status = json_loadb(text_string(&body), body.length, 0, NULL);
        follows = pause_relay_follows(command, config, status);
        json_decref(status);
        if (follows == FOLLOWS_NOT_YET) {
            nanosleep(&(struct timespec){.tv_nsec = RELAY_ASK_EVERY_MS * 1000000L}, NULL);
        }
    }
    if (follows == FOLLOWS) {
        printf("the relay at %s %s\n", listen, command->pause ? "has stopped sending" : "goes on");
        return EXIT_OK;
    }
    if (follows == FOLLOWS_NEVER) {
        printf("the relay at %s runs other pipelines; the one that runs this will follow\n",
               listen);
        return EXIT_OK;
    }
    (void)fprintf(stderr,
                  "outboxd %s: it is noted in the database, but the relay at %s has not followed "
                  "within %d s\n"
                  "  remedy: see its log for WATCH_FAILED; does it use this database?\n",
                  command->name, listen, RELAY_WAIT_MS / 1000);
    return EXIT_INTERNAL;
}

static int pause_execute(const PauseCommand *command, const Config *config)
{
    if (pause_check_pipeline(command, config) != OK) {
        return EXIT_CONFIG;
    }
    AUTO_ERROR err = {0};
    AUTO_BUFFER out = TEXT_EMPTY;
    if (pause_in_database(command, config, &out, &err) != OK) {
        error_print(command->name, &err);
        return (int)err.exit_code;
    }
    (void)fputs(text_string(&out), stdout);
    int code = pause_wait_for_relay(command, config);
    if (fflush(stdout) != 0 && errno != EPIPE) {
        perror("outboxd");
        return EXIT_INTERNAL;
    }
    return code;
}

static int pause_run_command(PauseCommand *command)
{
    overrides_without_brokers(&command->overrides);
    Config *config = NULL;
    if (overrides_load(&command->overrides, true, &config) != OK) {
        return EXIT_CONFIG;
    }
    int code = pause_execute(command, config);
    config_free(&config);
    return code;
}

static int pause_command(CommandLine *line)
{
    PauseCommand *command = line->options;
    command->pause = true;
    command->name = line->command->name;
    return pause_run_command(command);
}

static int resume_command(CommandLine *line)
{
    PauseCommand *command = line->options;
    command->name = line->command->name;
    return pause_run_command(command);
}

static const CommandForm FORMS[] = {{0}};
#define FLAG_PIPELINE                                                                              \
    .name = "pipeline", .value = "P", FLAG_TEXT(PauseCommand, pipeline),                           \
    .help = "only this one; default: all of the configuration"
static const Flag PAUSE_FLAGS[] = {{FLAG_CONFIG(PauseCommand, overrides)},
                                   {FLAG_DSN(PauseCommand, overrides)},
                                   {FLAG_PIPELINE},
                                   {.name = "reason",
                                    .value = "TEXT",
                                    FLAG_TEXT(PauseCommand, reason),
                                    .help = "shown by outboxd status and /readyz?verbose"},
                                   {0}};
static const Flag RESUME_FLAGS[] = {{FLAG_CONFIG(PauseCommand, overrides)},
                                    {FLAG_DSN(PauseCommand, overrides)},
                                    {FLAG_PIPELINE},
                                    {0}};
#define EXITS_AFTER                                                                                \
    {EXIT_CONFIG, "usage or configuration error"},                                                 \
        {EXIT_POSTGRES, "PostgreSQL cannot be reached, or refuses"},                               \
        {EXIT_INTERNAL, "it is noted, but the running relay did not follow within 5 s"},           \
    {                                                                                              \
        0                                                                                          \
    }
static const CommandExit PAUSE_EXITS[] = {{EXIT_OK, "paused, also when it was before"},
                                          EXITS_AFTER};
static const CommandExit RESUME_EXITS[] = {
    {EXIT_OK, "not paused any more, also when it was not before"}, EXITS_AFTER};
#define STRAY "a pipeline is named by --pipeline"

const Command COMMAND_PAUSE = {
    .name = "pause",
    .summary = "stops publishing until resume; holds over restarts",
    .about = "Stops publishing until `outboxd resume`: events stay in the outbox (and WAL in the "
             "slot). What is in flight is finished. Holds for every relay of this database and "
             "over restarts.",
    .forms = FORMS,
    .form_count = COMMAND_COUNT_OF(FORMS),
    .flags = PAUSE_FLAGS,
    .exits = PAUSE_EXITS,
    .stray = STRAY,
    .options_size = sizeof(PauseCommand),
    .run = pause_command,
};

const Command COMMAND_RESUME = {
    .name = "resume",
    .summary = "goes on publishing after pause",
    .about = "Publishes again after `outboxd pause`, from where it stopped.",
    .forms = FORMS,
    .form_count = COMMAND_COUNT_OF(FORMS),
    .flags = RESUME_FLAGS,
    .exits = RESUME_EXITS,
    .stray = STRAY,
    .options_size = sizeof(PauseCommand),
    .run = resume_command,
};
