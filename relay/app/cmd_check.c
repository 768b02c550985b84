/* outboxd check: configuration, then database, then brokers; every problem with its remedy. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "app/commands.h"
#include "check/check.h"
#include "command/problems_print.h"
#include "token/token.h"

typedef struct CheckOptions {
    ConfigOverrides overrides;
    bool offline;
    bool create_topics;
    int64_t partitions;  /* -1: the broker's default */
    int64_t replication; /* likewise */
    StringList topic_config;
} CheckOptions;

static void check_summary(const Check *check)
{
    const Problems *problems = check->problems;
    size_t warnings = problems->count - problems->errors;
    AUTO_BUFFER last = TEXT_EMPTY;
    if (problems->errors == 0) {
        text_add(&last, "no problem");
    } else {
        text_printf(&last, "%zu problem%s", problems->errors, problems->errors == 1 ? "" : "s");
    }
    if (warnings > 0) {
        text_printf(&last, ", %zu warning%s", warnings, warnings == 1 ? "" : "s");
    }
    if (check->created > 0) {
        text_printf(&last, "; %zu topic%s created", check->created,
                    check->created == 1 ? " was" : "s were");
    } else {
        text_add(&last, "; nothing was changed");
    }
    AUTO_BUFFER facts = TEXT_EMPTY;
    text_add_shown(&facts, text_string(&check->facts), true);
    printf("%s", text_string(&facts));
    problems_print(problems, stdout);
    printf("%s\n", last.data);
}

static void check_run(Check *check, bool offline)
{
    const Config *config = check->config;
    check_offline(check);
    if (check->problems->errors == 0) {
        text_printf(&check->facts, "configuration  %s: %zu pipeline%s\n",
                    *config->file != '\0' ? config->file : "no file", config->pipeline_count,
                    config->pipeline_count == 1 ? "" : "s");
    }
    if (!offline && *config->database.dsn != '\0') {
        check_database(check);
    }
    if (!offline && *config->kafka.brokers != '\0') {
        check_kafka(check);
    }
}

static int check_command(CommandLine *line)
{
    const CheckOptions *options = line->options;
    Problems problems = {0};
    Load load;
    /* What could be read is checked further, so that one run shows everything. */
    Status loaded = load_run(&load, &options->overrides, environ, &problems);
    Check check = {.load = &load,
                   .config = load.config,
                   .problems = &problems,
                   .code = loaded == OK ? EXIT_OK : EXIT_CONFIG,
                   .create_topics = options->create_topics,
                   .partitions = (int)options->partitions,
                   .replication = (int)options->replication,
                   .topic_config = options->topic_config};
    if (load.config != NULL) {
        token_open_all(load.config);
    }
    check_run(&check, options->offline);
    check_summary(&check);
    int code = fflush(stdout) == 0 ? (int)check.code : EXIT_INTERNAL;
    check_free(&check);
    config_free(&load.config);
    load_free(&load);
    problems_free(&problems);
    return code;
}

enum { NUMBER_MOST = 100000 };
static const char *check_valid_pair(const char *text)
{
    return strchr(text, '=') == NULL || *text == '=' ? "KEY=VALUE" : NULL;
}

static const CommandForm FORMS[] = {{0}};
static const Flag FLAGS[] = {{FLAG_CONFIG(CheckOptions, overrides)},
                             {FLAG_DSN(CheckOptions, overrides)},
                             {FLAG_BROKERS(CheckOptions, overrides)},
                             {.name = "offline",
                              FLAG_SWITCH(CheckOptions, offline),
                              .help = "check only the configuration and the files that it names"},
                             {.name = "create-topics",
                              FLAG_SWITCH(CheckOptions, create_topics),
                              .help = "create missing topics"},
                             {.name = "partitions",
                              .value = "N",
                              FLAG_COUNT(CheckOptions, partitions),
                              .least = 1,
                              .most = NUMBER_MOST,
                              .needs = "create-topics",
                              .help = "number of partitions of new topics (default: the broker's)"},
                             {.name = "replication",
                              .value = "N",
                              FLAG_COUNT(CheckOptions, replication),
                              .least = 1,
                              .most = NUMBER_MOST,
                              .needs = "create-topics",
                              .help = "number of replicas of new topics (default: the broker's)"},
                             {.name = "topic-config",
                              .value = "K=V",
                              FLAG_LIST(CheckOptions, topic_config),
                              .valid = check_valid_pair,
                              .needs = "create-topics",
                              .help = "a setting of new topics, such as cleanup.policy=compact"},
                             {0}};
static const FlagRule RULES[] = {
    {"create-topics", "offline", "--create-topics needs the brokers: leave --offline out"}, {0}};
static const CommandExit EXITS[] = {{EXIT_OK, "no problem; warnings do not count"},
                                    {EXIT_CONFIG, "a problem in the configuration"},
                                    {EXIT_POSTGRES, "a problem with the database"},
                                    {EXIT_KAFKA, "a problem with Kafka"},
                                    {EXIT_GAP, "data gap"},
                                    {0}};
static const CheckOptions DEFAULTS = {.partitions = -1, .replication = -1};

const Command COMMAND_CHECK = {
    .name = "check",
    .summary = "checks configuration, database and brokers",
    .about = "Checks the configuration, then the database, then the brokers, and shows every "
             "problem with its remedy. It changes nothing, except that --create-topics creates "
             "missing topics. The exit code is that of the first kind of problem.",
    .forms = FORMS,
    .form_count = COMMAND_COUNT_OF(FORMS),
    .flags = FLAGS,
    .rules = RULES,
    .exits = EXITS,
    .options_size = sizeof(CheckOptions),
    .defaults = &DEFAULTS,
    .run = check_command,
};
