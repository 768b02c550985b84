#include "status/status_screen.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "base/log_codes.h"
#include "base/memory.h"
#include "command/screen.h"
#include "status/status_groups.h"
#include "status/status_tables.h"

enum { LABEL_WIDTH = 14 }; /* of the lines that explain a pipeline */

/* Never NULL. */
static const char *status_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static int64_t status_count(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_integer(value) ? json_integer_value(value)
                                  : screen_whole(json_number_value(value));
}

/* Microseconds since 1970 of "2026-11-21T09:12:44.12Z", -1 when it is no such text. */
static int64_t status_time_us(const char *text)
{
    struct tm parts = {0};
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &parts);
    if (rest == NULL) {
        return -1;
    }
    int64_t us = (int64_t)timegm(&parts) * 1000000;
    int64_t digit_us = 100000;
    if (*rest == '.') {
        for (rest++; *rest >= '0' && *rest <= '9'; rest++, digit_us /= 10) {
            us += (*rest - '0') * digit_us;
        }
    }
    return us;
}

/* "09:12:44", with the date when it is another day's; UTC, like the log. */
static void status_add_clock(Text *out, const char *when, int64_t now_us)
{
    int64_t us = status_time_us(when);
    if (us < 0) {
        screen_add(out, false, COLOUR_NONE, when);
        return;
    }
    time_t seconds = (time_t)(us / 1000000);
    struct tm parts;
    gmtime_r(&seconds, &parts);
    char text[64];
    bool today = us / 1000000 / 86400 == now_us / 1000000 / 86400;
    (void)strftime(text, sizeof(text), today ? "%H:%M:%S UTC" : "%Y-%m-%d %H:%M:%S UTC", &parts);
    text_add(out, text);
}

static void status_add_ago(Text *out, const char *when, int64_t now_us)
{
    int64_t us = status_time_us(when);
    if (us < 0) {
        text_add(out, "never");
    } else if (now_us - us < 2000000) {
        text_add(out, "now");
    } else {
        screen_add_duration(out, (double)(now_us - us) / 1e6);
        text_add(out, " ago");
    }
}

/* As it is told; "starting" is not what somebody wants to know of a database that went away, or of
 * a table in one that is there. */
static const char *status_state(const json_t *pipeline)
{
    if (!json_is_true(json_object_get(pipeline, "database_lost"))) {
        return status_text(pipeline, "state");
    }
    const json_t *error = json_object_get(pipeline, "error");
    bool table = error_code_find(status_text(error, "code")) == CODE_POSTGRES_NO_TABLE;
    return table ? "no table" : "no database";
}

static Colour status_state_colour(const char *state)
{
    if (strcmp(state, "running") == 0 || strcmp(state, "standby") == 0) {
        return COLOUR_GOOD;
    }
    bool bad = strcmp(state, "stalled") == 0 || strcmp(state, "no database") == 0 ||
               strcmp(state, "no table") == 0 || strcmp(state, "failed") == 0 ||
               strcmp(state, "stopped") == 0;
    return bad ? COLOUR_BAD : COLOUR_WARN;
}

/* A standby has no producer, and a sink may be another than Kafka. */
static bool status_needs_kafka(const json_t *status)
{
    const json_t *kafka = json_object_get(status, "kafka");
    size_t index = 0;
    const json_t *pipeline = NULL;
    json_array_foreach(json_object_get(status, "pipelines"), index, pipeline)
    {
        if (strcmp(status_text(pipeline, "state"), "standby") != 0) {
            return *status_text(kafka, "brokers") != '\0';
        }
    }
    return false;
}

/* A server: "postgres db:5432/shop (15.20)", or that it is not connected, which stands out. */
static void status_add_server(const json_t *server, bool colours, const char *kind,
                              const char *address, const char *detail, Text *out)
{
    text_add(out, " · ");
    text_add(out, kind);
    if (*address != '\0') {
        text_add_char(out, ' ');
        screen_add(out, false, COLOUR_NONE, address);
    }
    if (!json_is_true(json_object_get(server, "connected"))) {
        text_add_char(out, ' ');
        screen_add(out, colours, COLOUR_BAD, "NOT CONNECTED");
    } else if (*detail != '\0') {
        text_add(out, " (");
        screen_add(out, false, COLOUR_NONE, detail);
        text_add_char(out, ')');
    }
}

static void status_add_header(const json_t *status, bool colours, Text *out)
{
    screen_add(out, false, COLOUR_NONE, status_text(status, "name"));
    text_add(out, " · outboxd ");
    screen_add(out, false, COLOUR_NONE, status_text(status, "version"));
    text_add(out, " · up ");
    screen_add_duration(out, json_number_value(json_object_get(status, "uptime_seconds")));

    const json_t *postgres = json_object_get(status, "postgres");
    status_add_server(postgres, colours, "postgres", status_text(postgres, "server"),
                      status_text(postgres, "version"), out);
    const json_t *kafka = json_object_get(status, "kafka");
    AUTO_BUFFER brokers = TEXT_EMPTY;
    int64_t broker_count = status_count(kafka, "broker_count");
    if (broker_count > 0) {
        text_printf(&brokers, "%" PRId64 " broker%s", broker_count, broker_count == 1 ? "" : "s");
    }
    if (status_needs_kafka(status) || json_is_true(json_object_get(kafka, "connected"))) {
        status_add_server(kafka, colours, "kafka", status_text(kafka, "brokers"),
                          text_string(&brokers), out);
    }
    text_add_char(out, '\n');
}

static void status_add_row(ScreenTable *table, const json_t *pipeline, int64_t now_us)
{
    AUTO_BUFFER cell = TEXT_EMPTY;
    const char *state = status_state(pipeline);
    Colour colour = status_state_colour(state);
    screen_table_add(table, false, COLOUR_NONE, status_text(pipeline, "name"));
    screen_table_add(table, false, COLOUR_NONE, status_text(pipeline, "capture"));
    text_add(&cell, state);
    for (size_t i = 0; colour == COLOUR_BAD && i < cell.length; i++) {
        cell.data[i] = (char)toupper((unsigned char)cell.data[i]);
    }
    screen_table_add(table, false, colour, text_string(&cell));

    text_clear(&cell);
    const json_t *lag = json_object_get(pipeline, "lag_seconds");
    if (json_is_number(lag)) {
        screen_add_duration(&cell, json_number_value(lag));
    } else {
        text_add_char(&cell, '-');
    }
    screen_table_add(table, false, colour == COLOUR_BAD ? colour : COLOUR_NONE, text_string(&cell));

    text_clear(&cell);
    if (json_is_number(json_object_get(pipeline, "backlog_events"))) {
        screen_add_count(&cell, status_count(pipeline, "backlog_events"));
        text_add(&cell, json_is_true(json_object_get(pipeline, "backlog_capped")) ? "+" : "");
    } else {
        text_add_char(&cell, '-');
    }
    screen_table_add(table, true, COLOUR_NONE, text_string(&cell));

    text_clear(&cell);
    screen_add_count(&cell, status_count(pipeline, "in_flight_events"));
    screen_table_add(table, true, COLOUR_NONE, text_string(&cell));

    text_clear(&cell);
    double rate = json_number_value(json_object_get(pipeline, "events_per_second"));
    if (rate > 0 && rate < 9.95) {
        text_printf(&cell, "%.1f", rate);
    } else {
        screen_add_count(&cell, screen_whole(rate));
    }
    screen_table_add(table, true, COLOUR_NONE, text_string(&cell));

    text_clear(&cell);
    screen_add_count(&cell, status_count(pipeline, "published_total"));
    screen_table_add(table, true, COLOUR_NONE, text_string(&cell));

    text_clear(&cell);
    status_add_ago(&cell, status_text(pipeline, "last_event_at"), now_us);
    screen_table_add(table, false, COLOUR_NONE, text_string(&cell));
}

static void status_add_table(const json_t *pipelines, bool colours, int64_t now_us, Text *out)
{
    static const struct {
        const char *text;
        bool right;
    } HEADINGS[] = {{"pipeline", false},  {"capture", false},  {"state", false},
                    {"lag", false},       {"backlog", true},   {"in flight", true},
                    {"per second", true}, {"published", true}, {"last event", false}};
    ScreenTable table = {.columns = sizeof(HEADINGS) / sizeof(HEADINGS[0])};
    for (size_t i = 0; i < table.columns; i++) {
        screen_table_add(&table, HEADINGS[i].right, COLOUR_DIM, HEADINGS[i].text);
    }
    size_t index = 0;
    const json_t *pipeline = NULL;
    json_array_foreach(pipelines, index, pipeline)
    {
        status_add_row(&table, pipeline, now_us);
    }
    screen_table_print(&table, colours, out);
    screen_table_free(&table);
}

static void status_add_label(Text *out, const char *label)
{
    text_printf(out, "  %-*s", LABEL_WIDTH, label);
}

static void status_add_oldest(const json_t *oldest, int64_t now_us, Text *out)
{
    if (!json_is_object(oldest)) {
        return;
    }
    status_add_label(out, "oldest event");
    text_printf(out, "seq %" PRId64 ", ", status_count(oldest, "seq"));
    screen_add(out, false, COLOUR_NONE, status_text(oldest, "event_type"));
    if (*status_text(oldest, "aggregate_id") != '\0') {
        text_add(out, ", key ");
        screen_add(out, false, COLOUR_NONE, status_text(oldest, "aggregate_id"));
    }
    text_add(out, ", occurred ");
    status_add_clock(out, status_text(oldest, "occurred_at"), now_us);
    text_add(out, " (");
    status_add_ago(out, status_text(oldest, "occurred_at"), now_us);
    text_add(out, ")\n");
}

/* "audit is stalled since 09:12:44 UTC (14 min ago): ..." */
static void status_add_sentence(const json_t *pipeline, bool colours, int64_t now_us, Text *out)
{
    const char *state = status_state(pipeline);
    bool lost = json_is_true(json_object_get(pipeline, "database_lost"));
    const json_t *error = json_object_get(pipeline, "error");
    const char *since = json_is_object(error) && *status_text(error, "since") != '\0'
                            ? status_text(error, "since")
                            : status_text(pipeline, "since");
    Colour colour = status_state_colour(state);
    screen_add(out, colours, COLOUR_NONE, status_text(pipeline, "name"));
    text_add(out, lost ? " has " : " is ");
    screen_add(out, colours, colour == COLOUR_GOOD ? COLOUR_WARN : colour, state);
    if (json_is_object(error) && colour == COLOUR_GOOD) {
        text_add(out, ", with an error");
    }
    if (*since != '\0') {
        text_add(out, " since ");
        status_add_clock(out, since, now_us);
        text_add(out, " (");
        status_add_ago(out, since, now_us);
        text_add_char(out, ')');
    }
    if (json_is_object(error)) {
        text_add(out, ": ");
        screen_add(out, colours, COLOUR_NONE, status_text(error, "message"));
        int64_t repeated = status_count(error, "repeated");
        if (repeated > 0 && strcmp(state, "failed") != 0) {
            text_printf(out, " (retried %" PRId64 " time%s)", repeated, repeated == 1 ? "" : "s");
        }
    } else if (strcmp(state, "standby") == 0 && *status_text(pipeline, "holder") != '\0') {
        text_add(out, ": published by ");
        screen_add(out, false, COLOUR_NONE, status_text(pipeline, "holder"));
    }
    text_add_char(out, '\n');
}

static void status_add_pause(const json_t *paused, Text *out)
{
    if (!json_is_object(paused)) {
        return;
    }
    status_add_label(out, "paused by");
    screen_add(out, false, COLOUR_NONE, status_text(paused, "by"));
    if (*status_text(paused, "reason") != '\0') {
        text_add(out, ": ");
        screen_add(out, false, COLOUR_NONE, status_text(paused, "reason"));
    }
    text_add_char(out, '\n');
    status_add_label(out, "remedy");
    text_add(out, "when the reason is gone, run: outboxd resume\n");
}

/* "outboxd_audit holds 212 MiB of WAL; max_slot_wal_keep_size is reached in 15 min" */
static void status_add_slot(const json_t *slot, bool colours, Text *out)
{
    const char *status = status_text(slot, "status");
    const json_t *retained = json_object_get(slot, "retained_wal_bytes");
    const json_t *seconds_left = json_object_get(slot, "seconds_left");
    bool bad =
        *status != '\0' && strcmp(status, "reserved") != 0 && strcmp(status, "extended") != 0;
    status_add_label(out, "slot");
    screen_add(out, false, COLOUR_NONE, status_text(slot, "name"));
    if (json_is_number(retained)) {
        text_add(out, " holds ");
        screen_add_bytes(out, json_number_value(retained));
        text_add(out, " of WAL");
    }
    if (json_is_number(seconds_left)) {
        text_add(out, "; max_slot_wal_keep_size is reached in ");
        screen_add_duration(out, json_number_value(seconds_left));
    }
    if (bad) {
        text_add(out, "; it is ");
        screen_add(out, colours, COLOUR_BAD, status);
    }
    text_add_char(out, '\n');
}

/* "orders: 1500 events wait for topic 'x' and 2 more since ...; all others go on: ..." */
static void status_add_waiting(const json_t *pipeline, bool colours, int64_t now_us, Text *out)
{
    const json_t *waiting = json_object_get(pipeline, "waiting");
    if (!json_is_object(waiting)) {
        return;
    }
    int64_t events = status_count(waiting, "events");
    int64_t topics = status_count(waiting, "topics");
    text_add_char(out, '\n');
    screen_add(out, colours, COLOUR_NONE, status_text(pipeline, "name"));
    text_add(out, ": ");
    AUTO_TEXT count = x_format("%" PRId64 " event%s", events, events == 1 ? "" : "s");
    screen_add(out, colours, COLOUR_WARN, count);
    text_printf(out, " wait%s for topic ", events == 1 ? "s" : "");
    screen_add(out, false, COLOUR_NONE, status_text(waiting, "topic"));
    if (topics > 1) {
        text_printf(out, " and %" PRId64 " more", topics - 1);
    }
    text_add(out, " since ");
    status_add_clock(out, status_text(waiting, "since"), now_us);
    bool runs = strcmp(status_text(pipeline, "state"), "running") == 0;
    text_add(out, runs ? ", all others are published: " : ": ");
    screen_add(out, false, COLOUR_NONE, status_text(waiting, "message"));
    text_add_char(out, '\n');
    if (*status_text(waiting, "hint") != '\0') {
        status_add_label(out, "remedy");
        screen_add(out, false, COLOUR_NONE, status_text(waiting, "hint"));
        text_add_char(out, '\n');
    }
}

/* Also of a pipeline that is well: WAL that will run out is trouble to come. */
static bool status_slot_matters(const json_t *slot)
{
    const char *status = status_text(slot, "status");
    return json_is_number(json_object_get(slot, "seconds_left")) ||
           strcmp(status, "unreserved") == 0 || strcmp(status, "lost") == 0;
}

static void status_add_trouble(const json_t *pipeline, bool colours, int64_t now_us, Text *out)
{
    const json_t *error = json_object_get(pipeline, "error");
    const char *state = status_text(pipeline, "state");
    const json_t *paused = json_object_get(pipeline, "paused");
    const json_t *slot = json_object_get(pipeline, "slot");
    bool well = !json_is_object(error) && !json_is_object(paused) && strcmp(state, "running") == 0;
    if (!well || status_slot_matters(slot)) {
        text_add_char(out, '\n');
        status_add_sentence(pipeline, colours, now_us, out);
        if (!well) {
            status_add_oldest(json_object_get(pipeline, "oldest"), now_us, out);
        }
        if (json_is_object(slot)) {
            status_add_slot(slot, colours, out);
        }
        status_add_pause(paused, out);
        if (*status_text(error, "hint") != '\0') {
            status_add_label(out, "remedy");
            screen_add(out, false, COLOUR_NONE, status_text(error, "hint"));
            text_add_char(out, '\n');
        }
    }
    status_add_waiting(pipeline, colours, now_us, out);
    static const struct {
        const char *key;
        const char *what;
        const char *see;
    } LOSSES[] = {
        {"dead_letters", "dead letter", "; see: outboxd dead list"},
        {"dead_lettered_total", "event",
         " moved to dead letters since the start; see: outboxd dead list"},
        {"dropped_total", "event",
         " dropped since the start: no route, and on_unrouted = \"drop\""},
    };
    for (size_t i = 0; i < sizeof(LOSSES) / sizeof(LOSSES[0]); i++) {
        int64_t count = status_count(pipeline, LOSSES[i].key);
        bool counted = strcmp(LOSSES[i].key, "dead_lettered_total") == 0 &&
                       json_is_number(json_object_get(pipeline, "dead_letters"));
        if (count > 0 && !counted) {
            text_add_char(out, '\n');
            screen_add(out, false, COLOUR_NONE, status_text(pipeline, "name"));
            text_add(out, ": ");
            screen_add_count(out, count);
            text_printf(out, " %s%s%s\n", LOSSES[i].what, count == 1 ? "" : "s", LOSSES[i].see);
        }
    }
}

/* What became of a reload (SIGHUP), when that is not what the file says. */
static void status_add_config(const json_t *config, int64_t now_us, Text *out)
{
    const json_t *refused = json_object_get(config, "refused");
    const char *restart = status_text(config, "restart_needed");
    if (json_is_object(refused)) {
        text_add(out, "\nthe reload of ");
        status_add_clock(out, status_text(refused, "at"), now_us);
        text_add(out, " (");
        status_add_ago(out, status_text(refused, "at"), now_us);
        text_add(out, ") was refused, and nothing has changed: ");
        screen_add(out, false, COLOUR_NONE, status_text(refused, "reason"));
        text_add_char(out, '\n');
        status_add_label(out, "remedy");
        text_add(out, "correct the configuration, and reload again\n");
    }
    if (*restart != '\0') {
        text_add(out, "\nthe file has new values that need a restart of the relay: ");
        screen_add(out, false, COLOUR_NONE, restart);
        text_add_char(out, '\n');
    }
}

void status_screen_add(const json_t *status, bool colours, int64_t now_us, Text *out)
{
    const json_t *pipelines = json_object_get(status, "pipelines");
    status_add_header(status, colours, out);
    text_add_char(out, '\n');
    status_add_table(pipelines, colours, now_us, out);
    size_t index = 0;
    const json_t *pipeline = NULL;
    json_array_foreach(pipelines, index, pipeline)
    {
        status_add_trouble(pipeline, colours, now_us, out);
        status_tables_add(pipeline, colours, out);
    }
    status_add_config(json_object_get(status, "config"), now_us, out);
    status_groups_add(json_object_get(status, "consumer_groups"), colours, out);
}

bool status_screen_add_late(const json_t *status, Text *out)
{
    const json_t *pipelines = json_object_get(status, "pipelines");
    bool late = json_array_size(pipelines) == 0;
    text_add(out, late ? "the relay has no pipelines\n" : "");
    size_t index = 0;
    const json_t *pipeline = NULL;
    json_array_foreach(pipelines, index, pipeline)
    {
        const json_t *lag = json_object_get(pipeline, "lag_seconds");
        const json_t *objective =
            json_object_get(json_object_get(pipeline, "objective"), "seconds");
        bool known = json_is_number(lag) && json_is_number(objective);
        if (known && json_number_value(lag) <= json_number_value(objective)) {
            continue;
        }
        late = true;
        text_add(out, "pipeline ");
        screen_add(out, false, COLOUR_NONE, status_text(pipeline, "name"));
        if (!known) {
            text_printf(out, " %s %s: its lag is not known\n",
                        json_is_true(json_object_get(pipeline, "database_lost")) ? "has" : "is",
                        status_state(pipeline));
            continue;
        }
        text_add(out, " is late: lag ");
        screen_add_duration(out, json_number_value(lag));
        text_add(out, ", objective ");
        screen_add_duration(out, json_number_value(objective));
        text_add_char(out, '\n');
    }
    return late;
}

/* The side that failed, as the relay says; one that did not say it yet, by the registry. */
static ExitCode status_error_exit_code(const json_t *error)
{
    int64_t said = status_count(error, "exit_code");
    int64_t side =
        said != 0 ? said
                  : (int64_t)log_code_of(error_code_find(status_text(error, "code")))->exit_code;
    bool is_side = side == EXIT_POSTGRES || side == EXIT_KAFKA || side == EXIT_GAP;
    return is_side ? (ExitCode)side : EXIT_INTERNAL;
}

ExitCode status_screen_exit_code(const json_t *status)
{
    const json_t *pipelines = json_object_get(status, "pipelines");
    size_t index = 0;
    const json_t *pipeline = NULL;
    json_array_foreach(pipelines, index, pipeline)
    {
        if (status_state_colour(status_text(pipeline, "state")) != COLOUR_GOOD) {
            const json_t *error = json_object_get(pipeline, "error");
            ExitCode code = json_is_object(error) ? status_error_exit_code(error) : EXIT_INTERNAL;
            if (code != EXIT_INTERNAL) {
                return code;
            }
        }
    }
    if (!json_is_true(json_object_get(json_object_get(status, "postgres"), "connected"))) {
        return EXIT_POSTGRES;
    }
    if (status_needs_kafka(status) &&
        !json_is_true(json_object_get(json_object_get(status, "kafka"), "connected"))) {
        return EXIT_KAFKA;
    }
    json_array_foreach(pipelines, index, pipeline)
    {
        if (status_state_colour(status_text(pipeline, "state")) != COLOUR_GOOD) {
            return EXIT_INTERNAL;
        }
        if (json_is_object(json_object_get(pipeline, "waiting"))) {
            return EXIT_KAFKA;
        }
    }
    return json_array_size(pipelines) > 0 ? EXIT_OK : EXIT_INTERNAL;
}
