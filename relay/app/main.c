/* main: finds the sub-command and runs it. */
#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "app/arguments.h"
#include "app/commands.h"
#include "base/error.h"
#include "base/failpoint.h"
#include "base/text.h"
#include "config/nearest.h"
#include "pg/result.h"
#include "sink/groups_helper.h"

static const Command COMMANDS[] = {
    {"run", "[-c FILE] [--dsn DSN] [--brokers LIST]", "the relay: moves events until SIGTERM",
     command_run},
    {"migrate",
     "[--dsn DSN] [--print] [--to N] [--down N] [--status] [--baseline] [--schema NAME] ...",
     "makes the outbox schema in a database, or brings it up to date", command_migrate},
    {"check", "[-c FILE] [--offline] [--create-topics]",
     "configuration, then database, then brokers; every problem with its remedy", command_check},
    {"status", "[-c FILE] [--dsn DSN] [--json] [--watch] [--fail-if-late]",
     "lag, backlog, events in flight and the last error of a running relay", command_status},
    {"pause", "[-c FILE] [--pipeline P] [--reason TEXT]",
     "stops publishing until resume; holds over restarts", command_pause},
    {"resume", "[-c FILE] [--pipeline P]", "goes on publishing after pause", command_resume},
    {"config", "print [-c FILE] | schema",
     "the complete commented sample; with -c the effective values, secrets masked", command_config},
    {"dead", "list | show | requeue | discard [ID...] [-c FILE] [--dsn DSN] [--json]",
     "events that were set aside: why, and what becomes of them", command_dead},
    {"explain", "CODE | --markdown", "what the code of a log line or error means, and what to do",
     command_explain},
    {"version", "", "program and library versions", command_version},
    {"route", NULL, NULL, NULL},
    {"tail", NULL, NULL, NULL},
    {"verify", NULL, NULL, NULL},
};
enum { COMMAND_COUNT = sizeof(COMMANDS) / sizeof(COMMANDS[0]) };

static void main_help(FILE *out)
{
    fprintf(out,
            "outboxd moves committed facts out of PostgreSQL into Kafka and never loses one\n\n");
    for (int i = 0; i < COMMAND_COUNT; i++) {
        if (COMMANDS[i].run != NULL) {
            fprintf(out, "  outboxd %-8s %s\n      %s\n", COMMANDS[i].name, COMMANDS[i].usage,
                    COMMANDS[i].summary);
        }
    }
    fprintf(out, "\nMore of a command: outboxd help COMMAND\n");
    fprintf(out, "Every option of the configuration file: outboxd config print\n");
}

/* A record is some twenty small allocations of librdkafka, made and freed in bursts. glibc's
 * fastbins are merged each time a freed piece borders on a large free one, which is always: without
 * them the loop thread takes a third less CPU at full speed (tests/bench/poll). */
static void main_tune_malloc(void)
{
    // NOLINTBEGIN(concurrency-mt-unsafe): before any thread
    mallopt(M_MXFAST, 0);
    mallopt(M_TRIM_THRESHOLD, 4 * 1024 * 1024);
    mallopt(M_TOP_PAD, 256 * 1024);
    mallopt(M_ARENA_MAX, 4);
    // NOLINTEND(concurrency-mt-unsafe)
}

static const Command *main_find(const char *name)
{
    for (int i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(name, COMMANDS[i].name) == 0) {
            return &COMMANDS[i];
        }
    }
    return NULL;
}

static int main_unknown(const char *name)
{
    Nearest nearest = nearest_begin(name);
    const char *meant = NULL;
    for (int i = 0; i < COMMAND_COUNT; i++) {
        if (COMMANDS[i].run != NULL && nearest_offer(&nearest, COMMANDS[i].name)) {
            meant = COMMANDS[i].name;
        }
    }
    AUTO_BUFFER text = TEXT_EMPTY;
    text_add(&text, "outboxd: no sub-command '");
    text_add_shown(&text, name, false);
    text_add(&text, "'");
    if (meant != NULL) {
        text_printf(&text, "; did you mean '%s'?", meant);
    }
    fprintf(stderr, "%s%s See outboxd --help\n", text_string(&text), meant != NULL ? "" : ".");
    return EXIT_CONFIG;
}

static int main_run(int argc, char **argv)
{
    const Command *command = main_find(argv[0]);
    if (command == NULL) {
        return main_unknown(argv[0]);
    }
    if (command->run == NULL) {
        fprintf(stderr, "outboxd %s: not built yet in version %s\n", argv[0], OUTBOXD_VERSION);
        return EXIT_CONFIG;
    }
    int code = command->run(argc, argv);
    AUTO_ERROR err = {0};
    if (pg_result_end(NULL, &err) != OK) { /* what it said may rest on nothing */
        fprintf(stderr,
                "outboxd %s: %s. Is something between outboxd and PostgreSQL that answers in its "
                "place, or alters what it passes on?\n",
                argv[0], error_message(&err));
        return code != EXIT_OK ? code : EXIT_POSTGRES;
    }
    return code;
}

int main(int argc, char **argv)
{
    main_tune_malloc();
    arguments_hide(argc, argv);
    failpoint_check();
    if (argc < 2) {
        main_help(stderr);
        return EXIT_CONFIG;
    }
    bool help = strcmp(argv[1], "help") == 0;
    if (help && argc > 2) {
        static char flag[] = "--help";
        char *asked[] = {argv[2], flag, NULL};
        return main_run(2, asked);
    }
    if (help || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        main_help(stdout);
        return EXIT_OK;
    }
    if (strcmp(argv[1], "groups-helper") == 0) {
        return groups_helper_main(); /* of the relay, not of people */
    }
    static char version[] = "version";
    if (strcmp(argv[1], "--version") == 0) {
        argv[1] = version;
    }
    return main_run(argc - 1, argv + 1);
}
