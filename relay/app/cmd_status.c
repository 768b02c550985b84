/* outboxd status [-c FILE] [--dsn DSN] [--json] [--fail-if-late]
 *
 * Asks the running relay. When none answers, says so and looks into the database by itself. */
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/commands.h"
#include "app/problems_print.h"
#include "app/screen.h"
#include "app/status_client.h"
#include "app/status_database.h"
#include "app/status_screen.h"
#include "base/clock.h"
#include "base/error.h"
#include "config/config.h"

static const char USAGE[] =
    "usage: outboxd status [-c FILE] [--dsn DSN] [--json] [--fail-if-late]\n"
    "\n"
    "Lag, backlog, events in flight and the last error of the relay that runs with this\n"
    "configuration (asked at monitor.listen). When none answers: backlog and dead letters\n"
    "straight from the database.\n"
    "\n"
    "  -c, --config FILE  configuration (default " CONFIG_DEFAULT_FILE ", if it is there)\n"
    "      --dsn DSN      database, when there is no configuration file\n"
    "      --json         one JSON object: that of /status; without a relay, what was found\n"
    "      --fail-if-late for scripts: also fail when the lag of a pipeline is above\n"
    "                     monitor.lag_objective, or not known; says which on stderr\n"
    "\n"
    "exit code  0 every pipeline is running or on standby, servers connected\n"
    "           1 usage or configuration error\n"
    "           2 PostgreSQL is what fails\n"
    "           3 Kafka is what fails\n"
    "           4 data gap detected\n"
    "          70 anything else: no relay answers, a pipeline is paused, starting or stopped,\n"
    "             or, with --fail-if-late, a pipeline is late\n";

typedef struct StatusOptions {
    ConfigOverrides overrides;
    bool json;
    bool fail_if_late;
    bool dsn_unknown; /* a relay may still answer at the default address */
} StatusOptions;

/* EXIT_OK: go on. */
static int status_parse(int argc, char **argv, StatusOptions *options, bool *ret_help)
{
    enum { OPTION_DSN = 256, OPTION_JSON, OPTION_WATCH, OPTION_LATE, OPTION_HELP };
    static const struct option OPTIONS[] = {
        {"config", required_argument, NULL, 'c'},
        {"dsn", required_argument, NULL, OPTION_DSN},
        {"json", no_argument, NULL, OPTION_JSON},
        {"watch", no_argument, NULL, OPTION_WATCH},
        {"help", no_argument, NULL, OPTION_HELP},
        {"fail-if-late", no_argument, NULL, OPTION_LATE},
        {NULL, 0, NULL, 0},
    };
    int option = 0;
    // NOLINTNEXTLINE(concurrency-mt-unsafe): before any thread
    while ((option = getopt_long(argc, argv, "c:h", OPTIONS, NULL)) != -1) {
        switch (option) {
        case 'c':
            options->overrides.file = optarg;
            break;
        case OPTION_DSN:
            options->overrides.dsn = optarg;
            break;
        case OPTION_JSON:
            options->json = true;
            break;
        case OPTION_LATE:
            options->fail_if_late = true;
            break;
        case OPTION_WATCH:
            (void)fprintf(stderr,
                          "outboxd status: --watch is not built yet in version %s\n"
                          "  until then: watch outboxd status\n",
                          OUTBOXD_VERSION);
            return EXIT_CONFIG;
        case 'h':
        case OPTION_HELP:
            *ret_help = true;
            return EXIT_OK;
        default:
            (void)fputs(USAGE, stderr);
            return EXIT_CONFIG;
        }
    }
    if (optind < argc) {
        (void)fprintf(stderr, "outboxd status: unexpected argument '%s'\n%s", argv[optind], USAGE);
        return EXIT_CONFIG;
    }
    return EXIT_OK;
}

/* Without a file, a relay was started by --dsn and --brokers, or the environment. Asking it needs
 * neither, so what is missing here is filled in. */
static void status_complete_overrides(StatusOptions *options)
{
    ConfigOverrides *overrides = &options->overrides;
    if (overrides->file != NULL || access(CONFIG_DEFAULT_FILE, F_OK) == 0) {
        return;
    }
    // NOLINTBEGIN(concurrency-mt-unsafe): never set
    if (getenv("OUTBOXD_KAFKA_BROKERS") == NULL) {
        overrides->brokers = "unknown:9092";
    }
    if (overrides->dsn == NULL && getenv("OUTBOXD_DATABASE_DSN") == NULL) {
        overrides->dsn = "dbname=unknown";
        options->dsn_unknown = true;
    }
    // NOLINTEND(concurrency-mt-unsafe)
}

static int status_write(const Text *text, int code)
{
    if (fputs(text_string(text), stdout) < 0 || fflush(stdout) != 0) {
        perror("outboxd status");
        return EXIT_INTERNAL;
    }
    return code;
}

static void status_add_error(const Error *err, bool colours, Text *out)
{
    screen_add(out, colours, COLOUR_BAD, err->message);
    text_add_char(out, '\n');
    if (err->hint[0] != '\0') {
        text_add(out, "  remedy  ");
        screen_add(out, false, COLOUR_NONE, err->hint);
        text_add_char(out, '\n');
    }
}

static void status_add_error_json(const Error *err, Text *json)
{
    text_add(json, "{\"code\":");
    text_add_json(json, slice_of(err->code));
    text_add(json, ",\"message\":");
    text_add_json(json, slice_of(err->message));
    text_add(json, ",\"hint\":");
    text_add_json(json, slice_of(err->hint));
    text_add_char(json, '}');
}

static void status_hint_start(const StatusOptions *options, Error *err)
{
    if (err->hint[0] == '\0') {
        error_hint(err,
                   "If it does not run: outboxd run%s%s. If it runs on another machine, ask "
                   "there.",
                   options->overrides.file != NULL ? " -c " : "",
                   options->overrides.file != NULL ? options->overrides.file : "");
    }
}

/* No relay answers: `silence` says why. */
static int status_without_relay(const StatusOptions *options, const Config *config, Error *silence)
{
    StatusDatabase found = {0};
    Error err = {0};
    Status read = OK;
    status_hint_start(options, silence);
    if (options->dsn_unknown) {
        error_set(&err, ERROR_FATAL, EXIT_INTERNAL, "DATABASE_UNKNOWN",
                  "which database to look into is not known");
        read = error_hint(&err, "Give -c FILE or --dsn DSN.");
    } else {
        read = status_database_read(config, &found, &err);
    }
    AUTO_BUFFER out = TEXT_EMPTY;
    bool colours = screen_wants_colour(stdout);
    if (options->json) {
        text_add(&out, "{\"relay\":{\"answers\":false,\"error\":");
        status_add_error_json(silence, &out);
        text_add(&out, "},\"database\":");
        if (read == OK) {
            status_database_add_json(&found, &out);
        } else {
            text_add(&out, "{\"connected\":false,\"error\":");
            status_add_error_json(&err, &out);
            text_add_char(&out, '}');
        }
        text_add(&out, "}\n");
    } else {
        status_add_error(silence, colours, &out);
        text_add_char(&out, '\n');
        if (read == OK) {
            status_database_add_screen(&found, colours, &out);
        } else {
            status_add_error(&err, colours, &out);
        }
    }
    status_database_free(&found);
    return status_write(&out, read == OK ? EXIT_INTERNAL : (int)err.exit_code);
}

static Status status_ask(const Config *config, Text *body, json_t **ret_object, Error *err)
{
    if (config->monitor.listen[0] == '\0') {
        error_set(err, ERROR_FATAL, EXIT_INTERNAL, "RELAY_SILENT",
                  "the relay cannot be asked: monitor.listen is off");
        return error_hint(err, "Set monitor.listen, such as \"127.0.0.1:9480\", and restart it.");
    }
    if (status_client_get(config->monitor.listen, "/status", body, err) != OK) {
        return FAILED;
    }
    json_error_t where;
    json_t *object = json_loadb(text_string(body), body->length, JSON_REJECT_DUPLICATES, &where);
    if (!json_is_object(object) || !json_is_array(json_object_get(object, "pipelines"))) {
        json_decref(object);
        error_set(err, ERROR_FATAL, EXIT_INTERNAL, "RELAY_ANSWER",
                  "what answers at %s is not outboxd: no status object", config->monitor.listen);
        return error_hint(err, "Another program has that port; set monitor.listen.");
    }
    *ret_object = object;
    return OK;
}

static int status_show(const StatusOptions *options, const Config *config)
{
    AUTO_BUFFER body = TEXT_EMPTY;
    AUTO_BUFFER screen = TEXT_EMPTY;
    json_t *object = NULL;
    Error err = {0};
    if (status_ask(config, &body, &object, &err) != OK) {
        return status_without_relay(options, config, &err);
    }
    int code = status_screen_exit_code(object);
    AUTO_BUFFER late = TEXT_EMPTY;
    if (options->fail_if_late && status_screen_add_late(object, &late)) {
        code = code != EXIT_OK ? code : EXIT_INTERNAL;
        (void)fputs(text_string(&late), stderr);
    }
    if (!options->json) {
        status_screen_add(object, screen_wants_colour(stdout), clock_wall_us(), &screen);
    }
    json_decref(object);
    return status_write(options->json ? &body : &screen, code);
}

int command_status(int argc, char **argv)
{
    StatusOptions options = {0};
    bool help = false;
    int code = status_parse(argc, argv, &options, &help);
    if (code != EXIT_OK) {
        return code;
    }
    if (help) {
        (void)fputs(USAGE, stdout);
        return EXIT_OK;
    }
    status_complete_overrides(&options);
    Config *config = NULL;
    Problems problems = {0};
    if (config_load(&options.overrides, &config, &problems) != OK) {
        problems_print(&problems, stderr);
        problems_free(&problems);
        return EXIT_CONFIG;
    }
    problems_free(&problems);
    code = status_show(&options, config);
    config_free(&config);
    return code;
}
