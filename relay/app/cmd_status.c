/* outboxd status
 *
 * Asks the running relay. When none answers, says so and looks into the database by itself. */
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "app/commands.h"
#include "base/clock.h"
#include "base/document.h"
#include "base/error.h"
#include "base/memory.h"
#include "command/overrides.h"
#include "command/problems_print.h"
#include "command/screen.h"
#include "config/config.h"
#include "status/status_broker.h"
#include "status/status_client.h"
#include "status/status_database.h"
#include "status/status_live.h"
#include "status/status_screen.h"

typedef struct StatusOptions {
    ConfigOverrides overrides;
    bool json;
    bool fail_if_late;
    double watch_seconds; /* 0: one look */
    bool dsn_unknown;     /* a relay may still answer at the default address */
} StatusOptions;

/* Without a file, a relay was started by --dsn and --brokers, or the environment. Asking it needs
 * neither, so what is missing here is filled in. */
static void status_complete_overrides(StatusOptions *options)
{
    ConfigOverrides *overrides = &options->overrides;
    overrides_without_brokers(overrides);
    // NOLINTNEXTLINE(concurrency-mt-unsafe): never set
    bool dsn_given = overrides->dsn != NULL || getenv("OUTBOXD_DATABASE_DSN") != NULL;
    if (!overrides_have_file(overrides) && !dsn_given) {
        overrides->dsn = "dbname=unknown";
        options->dsn_unknown = true;
    }
}

static void status_add_error(const Error *err, bool colours, Text *out)
{
    screen_add(out, colours, COLOUR_BAD, error_message(err));
    text_add_char(out, '\n');
    if (error_own_hint(err)[0] != '\0') {
        text_add(out, "  remedy  ");
        screen_add(out, false, COLOUR_NONE, error_own_hint(err));
        text_add_char(out, '\n');
    }
}

static void status_set_error(json_t *object, const Error *err)
{
    json_t *error = document_object(object, "error");
    document_text(error, "code", error_code_name(err->code));
    document_text(error, "message", error_message(err));
    document_text(error, "hint", error_own_hint(err));
}

static void status_hint_start(const StatusOptions *options, Error *err)
{
    if (error_own_hint(err)[0] == '\0') {
        error_hint(err,
                   "If the relay is not running, start it with: outboxd run%s%s. If it runs on "
                   "another machine, run this command there.",
                   options->overrides.file != NULL ? " -c " : "",
                   options->overrides.file != NULL ? options->overrides.file : "");
    }
}

/* No relay answers: `silence` says why. Returns the exit code. */
static int status_without_relay(const StatusOptions *options, const Config *config, Error *silence,
                                Text *out)
{
    StatusDatabase found = {0};
    AUTO_ERROR err = {0};
    Status read = OK;
    status_hint_start(options, silence);
    if (options->dsn_unknown) {
        error_set(&err, CODE_DATABASE_UNKNOWN,
                  "the command does not know which database to look into");
        read = error_advise(&err);
    } else {
        read = status_database_read(config, &found, &err);
    }
    StatusBroker broker = {0};
    bool brokers_known =
        config_has_sink(config, SINK_KAFKA) && strcmp(config->kafka.brokers, BROKERS_UNKNOWN) != 0;
    if (brokers_known) {
        status_broker_read(config, &broker);
    }
    bool colours = screen_wants_colour(stdout);
    if (options->json) {
        AUTO(json_t, document_free) status = json_object();
        json_t *relay = document_object(status, "relay");
        document_bool(relay, "answers", false);
        status_set_error(relay, silence);
        json_t *database = document_object(status, "database");
        if (read == OK) {
            status_database_status(&found, database);
        } else {
            document_bool(database, "connected", false);
            status_set_error(database, &err);
        }
        if (brokers_known) {
            status_broker_status(&broker, config, status);
        }
        document_write(status, out);
        text_add_char(out, '\n');
    } else {
        status_add_error(silence, colours, out);
        text_add_char(out, '\n');
        if (read == OK) {
            status_database_add_screen(&found, colours, out);
        } else {
            status_add_error(&err, colours, out);
        }
        if (brokers_known) {
            text_add_char(out, '\n');
            status_broker_add_screen(&broker, config, colours, out);
        }
    }
    status_broker_free(&broker);
    status_database_free(&found);
    return read == OK ? EXIT_INTERNAL : (int)error_exit_code(&err);
}

static Status status_ask(const Config *config, Text *body, json_t **ret_object, Error *err)
{
    if (config->monitor.listen[0] == '\0') {
        error_set_as(err, ERROR_FATAL, EXIT_INTERNAL, CODE_RELAY_SILENT,
                     "the relay cannot be asked, because monitor.listen is off");
        return error_hint(
            err, "Set monitor.listen, for example to \"127.0.0.1:9480\", and restart the relay.");
    }
    if (status_client_get(config->monitor.listen, "/status", body, err) != OK) {
        return FAILED;
    }
    return status_client_object(config->monitor.listen, body, ret_object, err);
}

/* 0: no terminal, or one that does not say. */
static size_t status_columns(void)
{
    struct winsize size = {0};
    return isatty(STDOUT_FILENO) == 1 && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col
                                                                                      : 0;
}

/* One look, as text. Returns the exit code. */
static int status_look(const StatusOptions *options, const Config *config, Live *live, Text *out)
{
    AUTO_BUFFER body = TEXT_EMPTY;
    json_t *object = NULL;
    AUTO_ERROR err = {0};
    bool asked = status_ask(config, &body, &object, &err) == OK;
    if (live != NULL) {
        live_note(live, object);
    }
    if (!asked) {
        return status_without_relay(options, config, &err, out);
    }
    int code = status_screen_exit_code(object);
    AUTO_BUFFER late = TEXT_EMPTY;
    if (options->fail_if_late && status_screen_add_late(object, &late)) {
        code = code != EXIT_OK ? code : EXIT_INTERNAL;
        (void)fputs(text_string(&late), stderr);
    }
    if (options->json) {
        text_add_foreign_json(out, text_string(&body));
    } else {
        bool colours = screen_wants_colour(stdout);
        status_screen_add(object, colours, clock_wall_us(), out);
        if (live != NULL) {
            live_add_screen(live, colours, status_columns(), out);
        }
    }
    json_decref(object);
    return code;
}

/* Each look on a screen of its own, which is left as it was; the last look stays. */
#define SCREEN_ENTER "\033[?1049h\033[?25l"
#define SCREEN_HOME  "\033[H\033[2J"
#define SCREEN_LEAVE "\033[?25h\033[?1049l"

/* A terminal gets no more lines than it has: else the first, which matter most, scroll away. */
static int status_write_fitting(const Text *screen, bool terminal, bool *ret_closed)
{
    struct winsize size = {0};
    if (!terminal || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0) {
        return screen_write("outboxd status", screen, EXIT_OK, ret_closed);
    }
    AUTO_BUFFER fitted = TEXT_EMPTY;
    screen_fit(text_string(screen), size.ws_row, size.ws_col, &fitted);
    return screen_write("outboxd status", &fitted, EXIT_OK, ret_closed);
}

/* Until SIGINT or SIGTERM, which is what it is for: EXIT_OK; or until nobody reads any more. */
static int status_watch(const StatusOptions *options, const Config *config)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    // NOLINTNEXTLINE(concurrency-mt-unsafe): the only thread
    sigprocmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    struct pollfd stop = {.fd = signalfd(-1, &signals, SFD_CLOEXEC), .events = POLLIN};
    bool terminal = isatty(STDOUT_FILENO) == 1 && !options->json;
    Live live = {0};
    bool ended = false;
    int code = EXIT_OK;
    AUTO_BUFFER screen = TEXT_EMPTY;
    (void)fputs(terminal ? SCREEN_ENTER : "", stdout);
    for (size_t looks = 0; !ended; looks++) {
        text_clear(&screen);
        if (!terminal && !options->json && looks > 0) {
            text_add_char(&screen, '\n');
        }
        (void)status_look(options, config, &live, &screen);
        (void)fputs(terminal ? SCREEN_HOME : "", stdout);
        bool closed = false;
        code = status_write_fitting(&screen, terminal, &closed);
        ended =
            code != EXIT_OK || closed || poll(&stop, 1, (int)(options->watch_seconds * 1000)) > 0;
    }
    (void)fputs(terminal ? SCREEN_LEAVE : "", stdout);
    if (terminal) {
        (void)screen_write("outboxd status", &screen, EXIT_OK, NULL);
    }
    (void)fflush(stdout);
    close(stop.fd);
    live_free(&live);
    return code;
}

static int status_show(const StatusOptions *options, const Config *config)
{
    AUTO_BUFFER screen = TEXT_EMPTY;
    int code = status_look(options, config, NULL, &screen);
    return screen_write("outboxd status", &screen, code, NULL);
}

static int status_command(CommandLine *line)
{
    StatusOptions *options = line->options;
    status_complete_overrides(options);
    Config *config = NULL;
    if (overrides_load(&options->overrides, false, &config) != OK) {
        return EXIT_CONFIG;
    }
    int code =
        options->watch_seconds > 0 ? status_watch(options, config) : status_show(options, config);
    config_free(&config);
    return code;
}

enum { GROUP_LOOKS = 1 };
static const CommandForm FORMS[] = {{0}};
static const Flag FLAGS[] = {
    {FLAG_CONFIG(StatusOptions, overrides)},
    {FLAG_DSN(StatusOptions, overrides)},
    {.name = "json",
     FLAG_SWITCH(StatusOptions, json),
     .help = "print one JSON object: that of /status or, without a relay, what was found in the "
             "database"},
    {.name = "watch",
     .value = "SECONDS",
     FLAG_SECONDS(StatusOptions, watch_seconds),
     .group = GROUP_LOOKS,
     .help = "repeat every second (or every SECONDS) until Ctrl-C, with the lag and rate of the "
             "last 60 screens. If the output is not a terminal, the screens follow each other"},
    {.name = "fail-if-late",
     FLAG_SWITCH(StatusOptions, fail_if_late),
     .group = GROUP_LOOKS,
     .help = "for scripts: also fail if the lag of a pipeline is above monitor.lag_objective or "
             "not known, and name the pipeline on stderr"},
    {0}};
static const FlagRule RULES[] = {
    {"fail-if-late", "watch",
     "--fail-if-late checks once and --watch repeats: give only one of them"},
    {0}};
static const CommandExit EXITS[] = {
    {EXIT_OK, "every pipeline publishes or is a standby, and the servers are connected"},
    {EXIT_CONFIG, "usage or configuration error"},
    {EXIT_POSTGRES, "PostgreSQL is the cause of the problem"},
    {EXIT_KAFKA, "Kafka is the cause of the problem"},
    {EXIT_GAP, "data gap detected"},
    {EXIT_INTERNAL, "anything else: no relay answers, a pipeline is paused, starting or stopped, "
                    "or, with --fail-if-late, a pipeline is late"},
    {0}};

const Command COMMAND_STATUS = {
    .name = "status",
    .summary = "shows lag, backlog, events in flight and the last error",
    .about = "Shows lag, backlog, events in flight and the last error of the relay that runs with "
             "this configuration, which it asks at monitor.listen. If no relay answers, it shows "
             "the backlog and the dead letters from the database.",
    .notes = "With --watch, the exit code is 0 after Ctrl-C or SIGTERM.",
    .forms = FORMS,
    .form_count = COMMAND_COUNT_OF(FORMS),
    .flags = FLAGS,
    .rules = RULES,
    .exits = EXITS,
    .options_size = sizeof(StatusOptions),
    .run = status_command,
};
