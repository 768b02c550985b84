/* outboxd pause | resume
 *
 * A row of outbox.pause keeps a pipeline from publishing, whichever relay runs it and however often
 * that is restarted; NOTIFY tells a running one at once. */
#include <errno.h>
#include <jansson.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "app/commands.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "command/overrides.h"
#include "command/problems_print.h"
#include "config/config.h"
#include "config/nearest.h"
#include "pg/result.h"
#include "pg/session.h"
#include "rows/companion.h"
#include "status/status_client.h"

enum { CONNECT_TIMEOUT_MS = 5000, QUERY_TIMEOUT_MS = 10000 };
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

/* Quoted for SQL. */
static Status pause_find_table(PgSession *session, const PipelineConfig *pipeline, char **ret_table,
                               Error *err)
{
    if (companion_find(session, pipeline->outbox.table, COMPANION_PAUSE, false, ret_table, err) !=
        OK) {
        return FAILED;
    }
    if (*ret_table == NULL) {
        error_set(err, CODE_NO_PAUSE_TABLE, "there is no table outbox.pause in database '%s'",
                  PQdb(pg_session_raw(session)));
        return error_advise(err);
    }
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
            text_printf(out, "; it had been paused since %s by %s", pg_value(row, 0, 0),
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
    if (pipeline_reads_log(pipeline)) {
        text_printf(out,
                    "  until you resume it, slot %s retains all WAL from now on; outboxd status "
                    "shows how much\n",
                    pipeline->wal.slot);
    }
}

static Status pause_one(PgSession *session, const PauseCommand *command,
                        const PipelineConfig *pipeline, Text *out, Error *err)
{
    AUTO_TEXT table = NULL;
    if (pause_find_table(session, pipeline, &table, err) != OK) {
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
    AUTO(PGresult, pg_session_free_result) changed = NULL;
    if (pg_session_query(session,
                         &(PgAsk){.step = command->name,
                                  .sql = change,
                                  .count = command->pause ? 3 : 1,
                                  .values = values},
                         &changed, err) != OK) {
        return FAILED;
    }
    if (PQntuples(changed) > 0 || !command->pause) {
        pause_say(command, pipeline, PQntuples(changed) > 0, changed, out);
        return OK;
    }
    AUTO_TEXT look =
        x_format("SELECT " SINCE ", paused_by, reason FROM %s WHERE pipeline = $1", table);
    AUTO(PGresult, pg_session_free_result) row = NULL;
    if (pg_session_query(session,
                         &(PgAsk){.step = "pause", .sql = look, .count = 1, .values = values}, &row,
                         err) != OK) {
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
    AUTO_TEXT application = x_format("outboxd %s", command->name);
    AUTO(PgSession, pg_session_close) session = NULL;
    if (pg_session_open(
            &(PgSessionOptions){
                .dsn = config->database.dsn,
                .pooled = config->database.pooler == POOLER_SESSION,
                .application_name = application,
                .connect_timeout_ms = CONNECT_TIMEOUT_MS,
                .statement_timeout_ms = QUERY_TIMEOUT_MS,
            },
            &session, err) != OK ||
        pg_session_run(session, "BEGIN", "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", err) !=
            OK) {
        return FAILED;
    }
    for (size_t i = 0; i < config->pipeline_count; i++) {
        if (pause_concerns(command, &config->pipelines[i]) &&
            pause_one(session, command, &config->pipelines[i], out, err) != OK) {
            return FAILED;
        }
    }
    if (pg_session_run(session, "NOTIFY", "NOTIFY outboxd_pause", err) != OK) {
        return FAILED;
    }
    return pg_session_run(session, "COMMIT", "COMMIT", err);
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
        printf("a running relay follows at once; this command cannot verify it, because "
               "monitor.listen is off\n");
        return EXIT_OK;
    }
    Following follows = FOLLOWS_NOT_YET;
    int64_t deadline_us = clock_monotonic_us() + RELAY_WAIT_MS * INT64_C(1000);
    while (follows == FOLLOWS_NOT_YET && clock_monotonic_us() < deadline_us) {
        AUTO_BUFFER body = TEXT_EMPTY;
        AUTO_ERROR err = {0};
        if (status_client_get(listen, "/status", &body, &err) != OK) {
            printf("no relay answers at %s; a relay that starts later will follow\n", listen);
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
        printf("the relay at %s %s\n", listen,
               command->pause ? "has stopped publishing" : "publishes again");
        return EXIT_OK;
    }
    if (follows == FOLLOWS_NEVER) {
        printf("the relay at %s runs other pipelines; the relay of this pipeline will follow\n",
               listen);
        return EXIT_OK;
    }
    (void)fprintf(stderr,
                  "outboxd %s: this is saved in the database, but the relay at %s has not followed "
                  "within %d s\n"
                  "  remedy: look for WATCH_FAILED in the relay's log, and check that it uses this "
                  "database\n",
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
        return (int)error_exit_code(&err);
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
    .help = "only this pipeline (default: all in the configuration)"
static const Flag PAUSE_FLAGS[] = {
    {FLAG_CONFIG(PauseCommand, overrides)},
    {FLAG_DSN(PauseCommand, overrides)},
    {FLAG_PIPELINE},
    {.name = "reason",
     .value = "TEXT",
     FLAG_TEXT(PauseCommand, reason),
     .help = "the reason, which outboxd status and /readyz?verbose show"},
    {0}};
static const Flag RESUME_FLAGS[] = {{FLAG_CONFIG(PauseCommand, overrides)},
                                    {FLAG_DSN(PauseCommand, overrides)},
                                    {FLAG_PIPELINE},
                                    {0}};
#define EXITS_AFTER                                                                                \
    {EXIT_CONFIG, "usage or configuration error"},                                                 \
        {EXIT_POSTGRES, "PostgreSQL cannot be reached, or refuses a statement"},                   \
        {EXIT_INTERNAL, "saved in the database, but the running relay did not follow within 5 s"}, \
    {                                                                                              \
        0                                                                                          \
    }
static const CommandExit PAUSE_EXITS[] = {{EXIT_OK, "paused, even if it was paused before"},
                                          EXITS_AFTER};
static const CommandExit RESUME_EXITS[] = {
    {EXIT_OK, "not paused any more, even if it was not paused before"}, EXITS_AFTER};
#define STRAY "name a pipeline with --pipeline"

const Command COMMAND_PAUSE = {
    .name = "pause",
    .summary = "stops publishing until resume, across restarts",
    .about = "Stops publishing until `outboxd resume`. Events wait in the outbox, and a slot "
             "retains their WAL. The relay finishes the events in flight. The pause applies to "
             "every relay of this database and survives restarts.",
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
    .summary = "publishes again after pause",
    .about = "Publishes again after `outboxd pause`, from where the pipeline stopped.",
    .forms = FORMS,
    .form_count = COMMAND_COUNT_OF(FORMS),
    .flags = RESUME_FLAGS,
    .exits = RESUME_EXITS,
    .stray = STRAY,
    .options_size = sizeof(PauseCommand),
    .run = resume_command,
};
