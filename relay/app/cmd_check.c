/* outboxd check: configuration, then database, then brokers; every problem with its remedy. */
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/check.h"
#include "app/commands.h"
#include "app/problems_print.h"
#include "base/memory.h"
#include "config/lists.h"

static const char USAGE[] =
    "outboxd check [-c FILE] [--dsn DSN] [--brokers LIST] [--offline]\n"
    "              [--create-topics [--partitions N] [--replication N] [--topic-config K=V]...]\n"
    "\n"
    "Looks at the configuration, then at the database, then at the brokers, and shows every "
    "problem\n"
    "with its remedy. Nothing is changed, except that --create-topics makes missing topics.\n"
    "\n"
    "  -c, --config FILE   configuration; else /etc/outboxd/outboxd.conf, else --dsn and "
    "--brokers\n"
    "  --offline           the configuration only\n"
    "  --create-topics     make the topics that are missing\n"
    "  --partitions N      of new topics; else the broker's default\n"
    "  --replication N     of new topics; else the broker's default\n"
    "  --topic-config K=V  of new topics, such as cleanup.policy=compact; may be repeated\n"
    "\n"
    "Exit codes: 0 no problem (warnings do not count); else that of the first kind of problem:\n"
    "1 configuration, 2 database, 3 Kafka, 4 data gap.\n";

typedef struct CheckArguments {
    ConfigOverrides overrides;
    bool offline;
    bool help;
} CheckArguments;

static void check_add(Check *check, bool warning, const char *place, const char *remedy,
                      const char *format, va_list args) __attribute__((format(printf, 5, 0)));

static void check_add(Check *check, bool warning, const char *place, const char *remedy,
                      const char *format, va_list args)
{
    char *message = NULL;
    if (vasprintf(&message, format, args) >= 0) {
        problems_add(check->problems, warning, place, remedy, "%s", message);
        free(message);
    }
}

void check_problem(Check *check, ExitCode kind, const char *place, const char *remedy,
                   const char *format, ...)
{
    check->code = check->code == EXIT_OK ? kind : check->code;
    va_list args;
    va_start(args, format);
    check_add(check, false, place, remedy, format, args);
    va_end(args);
}

void check_warning(Check *check, const char *place, const char *remedy, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    check_add(check, true, place, remedy, format, args);
    va_end(args);
}

static int check_usage(const char *what)
{
    fprintf(stderr, "outboxd check: %s\n  remedy: see outboxd check --help\n", what);
    return EXIT_CONFIG;
}

/* A count from 1, or -1 when it is none. */
static int check_count(const char *text)
{
    char *end;
    long value = strtol(text, &end, 10);
    return end != text && *end == '\0' && value >= 1 && value <= 100000 ? (int)value : -1;
}

static const char *check_option(Check *check, CheckArguments *arguments, int option)
{
    switch (option) {
    case 'c':
        arguments->overrides.file = optarg;
        return NULL;
    case 'd':
        arguments->overrides.dsn = optarg;
        return NULL;
    case 'b':
        arguments->overrides.brokers = optarg;
        return NULL;
    case 'o':
        arguments->offline = true;
        return NULL;
    case 't':
        check->create_topics = true;
        return NULL;
    case 'p':
        check->partitions = check_count(optarg);
        return check->partitions < 0 ? "--partitions takes a number from 1" : NULL;
    case 'r':
        check->replication = check_count(optarg);
        return check->replication < 0 ? "--replication takes a number from 1" : NULL;
    case 'k':
        string_list_add(&check->topic_config, optarg);
        return strchr(optarg, '=') == NULL || *optarg == '=' ? "--topic-config takes KEY=VALUE"
                                                             : NULL;
    case 'h':
        arguments->help = true;
        return NULL;
    default:
        return "unknown option, or one without its value";
    }
}

static const char *check_arguments(int argc, char **argv, Check *check, CheckArguments *arguments)
{
    static const struct option OPTIONS[] = {
        {"config", required_argument, NULL, 'c'},
        {"dsn", required_argument, NULL, 'd'},
        {"brokers", required_argument, NULL, 'b'},
        {"offline", no_argument, NULL, 'o'},
        {"create-topics", no_argument, NULL, 't'},
        {"partitions", required_argument, NULL, 'p'},
        {"replication", required_argument, NULL, 'r'},
        {"topic-config", required_argument, NULL, 'k'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    check->partitions = -1;
    check->replication = -1;
    opterr = 0;
    optind = 1;
    for (int c; (c = getopt_long(argc, argv, ":c:h", OPTIONS, NULL)) != -1;) { // NOLINT
        const char *wrong = check_option(check, arguments, c);
        if (wrong != NULL) {
            return wrong;
        }
    }
    if (optind < argc) {
        return "it takes no arguments, only options";
    }
    if (!check->create_topics &&
        (check->partitions > 0 || check->replication > 0 || check->topic_config.count > 0)) {
        return "--partitions, --replication and --topic-config go with --create-topics";
    }
    if (check->create_topics && arguments->offline) {
        return "--create-topics needs the brokers: leave --offline out";
    }
    return NULL;
}

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
    for (size_t i = 0; i < config->pipeline_count; i++) {
        if (config->pipelines[i].table != NULL) {
            check_static_topics(check, &config->pipelines[i]);
        }
    }
    size_t before = check->problems->count;
    check_properties(check); /* librdkafka repeats values */
    load_hide_references(check->load, check->problems, before);
    check_secrets(check);
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

static void check_free(Check *check)
{
    for (size_t i = 0; i < check->topic_count; i++) {
        free(check->topics[i].name);
        free(check->topics[i].user);
        free(check->topics[i].event);
        free(check->topics[i].record_event);
        free(check->topics[i].emit_limit);
    }
    free(check->topics);
    string_list_free(&check->topic_config);
    text_free(&check->facts);
}

int command_check(int argc, char **argv)
{
    Check check = {0};
    CheckArguments arguments = {0};
    const char *wrong = check_arguments(argc, argv, &check, &arguments);
    if (wrong != NULL || arguments.help) {
        check_free(&check);
        return wrong != NULL ? check_usage(wrong) : fputs(USAGE, stdout) < 0 ? EXIT_INTERNAL : 0;
    }
    Problems problems = {0};
    Load load;
    /* What could be read is checked further, so that one run shows everything. */
    Status loaded = load_run(&load, &arguments.overrides, environ, &problems);
    check.load = &load;
    check.config = load.config;
    check.problems = &problems;
    check.code = loaded == OK ? EXIT_OK : EXIT_CONFIG;
    check_run(&check, arguments.offline);
    check_summary(&check);
    int code = fflush(stdout) == 0 ? (int)check.code : EXIT_INTERNAL;
    check_free(&check);
    config_free(&load.config);
    load_free(&load);
    problems_free(&problems);
    return code;
}
