/* How it works: a look is a chain of short queries (WatchStep), one after another on one
 * connection; a timer begins the next. A NOTIFY begins one of pauses and rows alone, or begins the
 * one under way anew. Between two whole looks rows are looked at more often while something waits
 * (rows_again_ms). A step that fails leaves its facts unknown and the chain goes on; when
 * the connection is lost, it is made again with back-off. */
#include "watch/watch.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/backoff.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/log_codes.h"
#include "base/memory.h"
#include "flow/event.h"
#include "rows/publisher.h"
#include "watch/watch_internal.h"

enum {
    STATEMENT_TIMEOUT_MS = 2000, /* of each query; less when database.statement_timeout is */
    LOCK_TIMEOUT_MS = 500,
    SILENCE_TIMEOUT_MS = 10000,
    TCP_USER_TIMEOUT_MS = 10000,
    BACKOFF_MIN_MS = 200,
    BACKOFF_MAX_MS = 30000,
    HURRY_MS = 100,          /* between the end of a look and one that somebody hurries */
    SAID_AGAIN_SECONDS = 60, /* a look that fails and recovers in turns is not said more often */
};

static const char *const SLOT_STATUS[] = {"reserved", "extended", "unreserved", "lost"};
enum { SLOT_STATUS_COUNT = sizeof(SLOT_STATUS) / sizeof(SLOT_STATUS[0]) };

static void watch_go_on(Watch *w);

static void watch_set_timer(Watch *w, int64_t ms)
{
    if (!w->stopped && (!w->draining || pg_conn_is_open(w->conn))) {
        event_add(w->timer, &(struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000});
    }
}

static int64_t watch_backoff_ms(Watch *w)
{
    int64_t most = w->options.config->monitor.interval_ms;
    most = most < BACKOFF_MIN_MS ? BACKOFF_MIN_MS : most > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : most;
    return backoff_next_ms(&w->attempt, BACKOFF_MIN_MS, most);
}

/* By what is due first: the whole look, or the rows. */
static void watch_schedule(Watch *w)
{
    int64_t now_us = clock_monotonic_us();
    w->next_rows_us = INT64_MAX;
    for (size_t i = 0; i < w->count; i++) {
        int64_t ms = rows_again_ms(w, i);
        int64_t due_us = ms < 0 ? INT64_MAX : now_us + ms * 1000;
        if (ms >= 0 && w->pipelines[i].rows_put_off && w->pipelines[i].rows_next_us < due_us) {
            due_us = w->pipelines[i].rows_next_us;
        }
        w->next_rows_us = due_us < w->next_rows_us ? due_us : w->next_rows_us;
    }
    int64_t due_us = w->next_whole_us;
    if (w->next_rows_us < due_us || (w->draining && w->next_rows_us < INT64_MAX)) {
        due_us = w->next_rows_us;
    }
    watch_set_timer(w, due_us > now_us ? (due_us - now_us + 999) / 1000 : 0);
}

static void watch_note_whole(Watch *w)
{
    w->next_whole_us =
        clock_monotonic_us() + w->options.config->monitor.interval_ms * INT64_C(1000);
}

/* The end of a look. */

static WatchRole watch_role(const Watch *w, size_t index)
{
    return w->options.role != NULL ? w->options.role(w->options.arg, index) : (WatchRole){0};
}

static void watch_note_connections(Watch *w)
{
    for (size_t i = 0; i < w->count; i++) {
        WatchRole role = watch_role(w, i);
        w->pipelines[i].was_connected = role.connected;
        w->pipelines[i].reconnects = role.reconnects;
    }
}

/* Whether it is the look alone that fails: else what the pipelines say of their own connections is
 * enough, and one outage is no two lines. */
static bool watch_is_alone(const Watch *w, bool *ret_publishes)
{
    bool alone = false;
    *ret_publishes = false;
    for (size_t i = 0; i < w->count; i++) {
        const Watched *p = &w->pipelines[i];
        WatchRole role = watch_role(w, i);
        bool kept = !w->cut || (p->was_connected && role.reconnects == p->reconnects);
        alone |= role.connected && kept;
        *ret_publishes |= role.connected && role.judges;
    }
    return alone;
}

static void watch_say_failed(Watch *w, const Error *err)
{
    int64_t now_us = clock_monotonic_us();
    bool again = w->said_us > 0 && now_us - w->said_us < SAID_AGAIN_SECONDS * INT64_C(1000000);
    bool publishes = false;
    if (w->said || again || !watch_is_alone(w, &publishes)) {
        return;
    }
    w->said = true;
    w->said_us = now_us;
    log_write(LOG_WARN, NULL, CODE_WATCH_FAILED,
              LOG_FIELDS(log_text("error", error_code_name(err->code)),
                         log_text("hint", error_remedy(err))),
              "cannot query PostgreSQL for slots, pauses and the oldest event: %s; %sretrying",
              error_message(err), publishes ? "publishing continues, " : "");
}

static void watch_note_failure(Watch *w)
{
    w->server.up = false;
    w->failing = true;
    if (!w->knows_pauses) {
        w->options.pauses(w->options.arg, false);
    }
}

/* The next attempt is under way or over: by now the pipelines know of their own connections. */
static void watch_tell_cut(Watch *w)
{
    if (w->cut) {
        AUTO_ERROR err = error_of(&w->cut_error);
        watch_say_failed(w, &err);
        w->cut = false;
    }
}

static void watch_lose(Watch *w, const Error *err)
{
    bool was_open = w->opened;
    w->looking = false;
    w->opened = false;
    pg_conn_close(w->conn);
    watch_forget_server(w);
    watch_set_timer(w, watch_backoff_ms(w));
    if (was_open) {
        watch_note_connections(w);
        w->cut = true;
        error_copy(&w->cut_error, err);
    } else if (w->attempt > 1) { /* else a pipeline may not have had the time to notice */
        watch_say_failed(w, err);
    }
    watch_note_failure(w);
}

static void watch_end_look(Watch *w)
{
    w->looking = false;
    w->attempt = 0;
    w->ended_us = clock_monotonic_us();
    if (w->kind == LOOK_WHOLE) {
        watch_note_whole(w);
    }
    if (w->hurried) {
        int64_t soon_us = w->ended_us + HURRY_MS * INT64_C(1000);
        w->next_whole_us = soon_us < w->next_whole_us ? soon_us : w->next_whole_us;
        w->hurried = false;
    }
    watch_schedule(w);
    if (w->error.class != ERROR_NONE) {
        AUTO_ERROR err = error_of(&w->error);
        watch_say_failed(w, &err);
        watch_note_failure(w);
        return;
    }
    if (w->kind != LOOK_WHOLE) {
        return;
    }
    histogram_observe_us(w->duration, w->ended_us - w->look_us);
    w->server.up = true;
    w->failing = false;
    if (w->said) {
        w->said = false;
        log_write(LOG_INFO, NULL, CODE_WATCH_RECOVERED, LOG_NO_FIELDS,
                  "PostgreSQL answers again about slots, pauses and the oldest event");
    }
}

/* Steps. */

static void on_result(void *arg, const PGresult *result)
{
    Watch *w = arg;
    if (PQresultStatus(result) == PGRES_TUPLES_OK) {
        watch_read(w, result);
    }
}

static void watch_step_over(Watch *w)
{
    bool of_pipeline = w->step == STEP_ROWS || w->step == STEP_DEAD;
    if (of_pipeline && ++w->index < w->count) {
        return;
    }
    w->index = 0;
    bool whole = w->kind == LOOK_WHOLE;
    WatchStep last = w->nameless ? STEP_PRECONDITIONS : whole ? STEP_DEAD : STEP_ROWS;
    if (w->step == last) {
        w->step = STEP_END;
    } else if (whole) {
        w->step++;
    } else {
        w->step = w->step == STEP_PAUSES ? STEP_ROWS : w->step + 1;
    }
}

static void on_done(void *arg, const Error *err)
{
    Watch *w = arg;
    if (err != NULL && !pg_conn_is_open(w->conn)) {
        watch_lose(w, err);
        return;
    }
    Watched *p = &w->pipelines[w->index];
    bool leans = err != NULL && w->step == STEP_ROWS && rows_lean(p, err);
    if (err != NULL && !leans && w->error.class == ERROR_NONE) {
        error_copy(&w->error, err);
    }
    int64_t now_us = clock_monotonic_us();
    int64_t next_us = now_us + (now_us - w->step_us) * SHARE_OF_TIME;
    if (w->step == STEP_ROWS) {
        p->rows_next_us = next_us;
        rows_judge(w, w->index);
    } else if (w->step == STEP_DEAD) {
        p->dead_next_us = next_us;
    } else if (w->step == STEP_NAMES && err != NULL) {
        w->nameless = true; /* without names nothing else can be asked */
        w->step = w->kind == LOOK_WHOLE ? STEP_PRECONDITIONS : STEP_END;
        watch_go_on(w);
        return;
    } else if (w->step == STEP_PRECONDITIONS && err != NULL) {
        w->prepared = false;
    } else if (w->step == STEP_PAUSES && err == NULL) {
        w->knows_pauses = true;
        w->options.pauses(w->options.arg, true);
    }
    watch_step_over(w);
    watch_go_on(w);
}

/* Sends the next query there is. */
static void watch_go_on(Watch *w)
{
    if (w->stopped) {
        return;
    }
    if (w->notified) {
        w->notified = false;
        w->nameless = false;
        w->kind = w->kind == LOOK_ROWS ? LOOK_BRIEF : w->kind;
        w->step = STEP_NAMES;
        w->index = 0;
    }
    while (w->step != STEP_END) {
        AUTO_BUFFER sql = TEXT_EMPTY;
        if (watch_add_query(w, &sql)) {
            w->step_us = clock_monotonic_us();
            w->pipelines[w->index].rows_sent_us = w->step_us;
            watch_forget(w);
            pg_conn_send(w->conn, &(PgQuery){.step = "watch",
                                             .sql = sql.data,
                                             .arg = w,
                                             .result = on_result,
                                             .done = on_done});
            return;
        }
        if (w->step == STEP_PAUSES) { /* no table: nothing can be paused */
            for (size_t i = 0; i < w->count; i++) {
                w->pipelines[i].facts.paused = false;
            }
            w->knows_pauses = true;
            w->options.pauses(w->options.arg, true);
        }
        watch_step_over(w);
    }
    watch_end_look(w);
}

static void watch_look(Watch *w, WatchLook kind)
{
    w->looking = true;
    w->nameless = false;
    w->kind = kind;
    w->step = kind == LOOK_ROWS ? STEP_ROWS : STEP_NAMES;
    w->index = 0;
    error_clear(&w->error);
    w->look_us = clock_monotonic_us();
    watch_go_on(w);
}

/* The connection. */

static void on_session_done(void *arg, const Error *err)
{
    Watch *w = arg;
    if (err != NULL) {
        watch_lose(w, err);
        return;
    }
    watch_look(w, w->draining ? LOOK_ROWS : LOOK_WHOLE);
}

static void watch_note_server(Watch *w)
{
    const PGconn *raw = pg_conn_raw(w->conn);
    const char *host = PQhost(raw);
    const char *port = PQport(raw);
    const char *version = PQparameterStatus(raw, "server_version");
    snprintf(w->server.address, sizeof(w->server.address), "%s:%s/%s", host != NULL ? host : "",
             port != NULL ? port : "", PQdb(raw));
    snprintf(w->server.version, sizeof(w->server.version), "%.*s",
             version != NULL ? (int)strcspn(version, " ") : 0, version != NULL ? version : "");
}

static void on_opened(void *arg, const Error *err)
{
    Watch *w = arg;
    if (!w->opened) { /* else one that was idle broke */
        watch_tell_cut(w);
    }
    if (err != NULL) {
        watch_lose(w, err);
        return;
    }
    w->opened = true;
    watch_note_server(w);
    w->prepared = false;
    const Config *config = w->options.config;
    int64_t timeout_ms = config->database.statement_timeout_ms;
    if (timeout_ms <= 0 || timeout_ms > STATEMENT_TIMEOUT_MS) {
        timeout_ms = STATEMENT_TIMEOUT_MS;
    }
    AUTO_BUFFER sql = TEXT_EMPTY;
    publisher_add_settings(config, &config->pipelines[0], false, pg_conn_raw(w->conn), &sql);
    text_printf(&sql,
                "SET statement_timeout = %lld; SET lock_timeout = %d;"
                " SET default_transaction_read_only = on; LISTEN outboxd_pause",
                (long long)timeout_ms, LOCK_TIMEOUT_MS);
    w->looking = true;
    pg_conn_send(w->conn, &(PgQuery){.step = "session of the watch",
                                     .sql = sql.data,
                                     .arg = w,
                                     .done = on_session_done});
}

static void on_notified(void *arg, const char *channel)
{
    Watch *w = arg;
    (void)channel; /* there is but one */
    if (w->draining) {
        return;
    }
    if (w->looking) {
        w->notified = true;
    } else {
        watch_look(w, LOOK_BRIEF);
    }
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    Watch *w = arg;
    if (w->stopped || w->looking) {
        return;
    }
    if (pg_conn_is_open(w->conn)) {
        bool whole = !w->draining && clock_monotonic_us() >= w->next_whole_us;
        watch_look(w, whole ? LOOK_WHOLE : LOOK_ROWS);
    } else if (!w->draining) {
        w->looking = true;
        pg_conn_open(w->conn);
    }
}

/* Metrics. */

static void watch_add_series(Watch *w, Watched *p)
{
    Metrics *m = w->options.metrics;
    const char *name = p->config->name;
    const char *slot = p->config->wal.slot;
#define GAUGE(name_, help) metrics_gauge(m, "outboxd_" name_, help, "pipeline", name, NULL)
#define SLOT_GAUGE(name_, help)                                                                    \
    metrics_gauge(m, "outboxd_slot_" name_, help, "pipeline", name, "slot", slot, NULL)
    p->gauge.unseen = GAUGE(
        "unseen_events", "Unpublished events in the table that the relay has not seen for longer "
                         "than unseen_after, although it has read everything (counted up to 400).");
    p->gauge.unseen_found = metrics_counter(
        m, "outboxd_unseen_events_found_total",
        "Events that the relay had not seen and then found in the table.", "pipeline", name, NULL);
    p->gauge.paused = GAUGE("paused", "1 if the pipeline is paused.");
    p->gauge.dead_letters =
        GAUGE("dead_letters", "Dead letters of the pipeline (counted up to 100000).");
    p->gauge.oldest_transaction =
        GAUGE("oldest_transaction_age_seconds",
              "Age of the oldest transaction of the server that has an xid. Exact for a role with "
              "pg_read_all_stats and for prepared transactions, otherwise a lower bound: the time "
              "since the relay first saw it.");
    if (p->config->capture != CAPTURE_WAL) {
        return;
    }
    p->gauge.retained = SLOT_GAUGE("retained_wal_bytes", "WAL that the slot retains.");
    p->gauge.confirmed_lag = SLOT_GAUGE(
        "confirmed_lag_bytes", "WAL between the slot's confirmed position and the end of the WAL.");
    p->gauge.safe = SLOT_GAUGE("safe_wal_bytes", "WAL that can be written before the slot may be "
                                                 "lost. Absent without max_slot_wal_keep_size.");
    p->gauge.seconds_left =
        SLOT_GAUGE("seconds_left", "Time until the slot may be lost, if its WAL grows as fast as "
                                   "in the last minute. Absent if it does not grow.");
    p->gauge.active = SLOT_GAUGE("active", "1 if a client reads the slot.");
    p->gauge.spill = metrics_counter_seconds(
        m, "outboxd_slot_spill_bytes_total",
        "Bytes of large transactions that decoding spilled to disk (PostgreSQL 14 and later).",
        "pipeline", name, "slot", slot, NULL);
    for (int i = 0; i < SLOT_STATUS_COUNT; i++) {
        p->gauge.status[i] =
            metrics_gauge(m, "outboxd_slot_status", "1 for the wal_status of pg_replication_slots.",
                          "pipeline", name, "slot", slot, "status", SLOT_STATUS[i], NULL);
    }
#undef GAUGE
#undef SLOT_GAUGE
}

static void watch_collect_slot(const Watched *p)
{
    const WatchSlot *slot = &p->facts.slot;
    *p->gauge.retained = slot->retained_wal_bytes;
    *p->gauge.confirmed_lag = slot->confirmed_lag_bytes;
    *p->gauge.safe = slot->safe_wal_bytes;
    *p->gauge.seconds_left = slot->seconds_left;
    *p->gauge.spill = slot->spill_bytes;
    *p->gauge.active = !slot->present ? NAN : slot->active ? 1 : 0;
    for (int i = 0; i < SLOT_STATUS_COUNT; i++) {
        bool is = strcmp(slot->status, SLOT_STATUS[i]) == 0;
        *p->gauge.status[i] = !slot->present ? NAN : is ? 1 : 0;
    }
}

void watch_collect(Watch *w)
{
    *w->up = w->server.up ? 1 : 0;
    for (size_t i = 0; i < w->count; i++) {
        const Watched *p = &w->pipelines[i];
        *p->gauge.unseen = (double)p->unseen;
        *p->gauge.paused = p->facts.paused ? 1 : 0;
        *p->gauge.dead_letters = p->facts.dead_letters;
        *p->gauge.oldest_transaction = w->server.oldest_transaction_seconds;
        if (p->config->capture == CAPTURE_WAL) {
            watch_collect_slot(p);
        }
    }
}

/* What others ask. */

bool watch_knows_pauses(const Watch *w)
{
    return w->knows_pauses;
}

void watch_hurry(Watch *w)
{
    if (w->stopped) {
        return;
    }
    w->next_whole_us = 0;
    if (w->looking) {
        w->hurried = true;
        return;
    }
    int64_t rest_ms = HURRY_MS - (clock_monotonic_us() - w->ended_us) / 1000;
    if (w->ended_us == 0 || rest_ms <= 0) {
        event_active(w->timer, EV_TIMEOUT, 0);
    } else {
        watch_set_timer(w, rest_ms);
    }
}

void watch_hurry_rows(Watch *w)
{
    if (!w->looking && !w->stopped && pg_conn_is_open(w->conn)) {
        event_active(w->timer, EV_TIMEOUT, 0);
    }
}

const WatchFacts *watch_facts(const Watch *w, size_t index)
{
    return &w->pipelines[index].facts;
}

const WatchServer *watch_server(const Watch *w)
{
    return &w->server;
}

/* Life. */

Status watch_new(const WatchOptions *options, Watch **ret_watch, Error *err)
{
    AUTO(Watch, watch_free) w = x_calloc(1, sizeof(*w));
    const Config *config = options->config;
    w->options = *options;
    w->application_name = x_format("%s/watch", config->name);
    w->conn =
        pg_conn_new(&(PgConnOptions){.base = options->base,
                                     .worker = options->worker,
                                     .dsn = config->database.dsn,
                                     .application_name = w->application_name,
                                     .connect_timeout_ms = config->database.connect_timeout_ms,
                                     .silence_timeout_ms = SILENCE_TIMEOUT_MS,
                                     .tcp_user_timeout_ms = TCP_USER_TIMEOUT_MS,
                                     .arg = w,
                                     .opened = on_opened,
                                     .notified = on_notified});
    w->timer = event_new(options->base, -1, 0, on_timer, w);
    w->up = metrics_gauge(
        options->metrics, "outboxd_watch_up",
        "1 if the last query to PostgreSQL (slots, pauses, oldest event) succeeded.", NULL);
    w->duration = metrics_histogram(options->metrics, "outboxd_watch_duration_seconds",
                                    "Duration of one query to PostgreSQL.", NULL);
    w->count = config->pipeline_count;
    w->pipelines = x_calloc(w->count, sizeof(Watched));
    for (size_t i = 0; i < w->count; i++) {
        w->pipelines[i].config = &config->pipelines[i];
        w->pipelines[i].facts.dead_letters = NAN;
        sightings_init(&w->pipelines[i].sightings);
        if (table_new(&config->pipelines[i], &w->pipelines[i].table, err) != OK) {
            return FAILED;
        }
        watch_add_series(w, &w->pipelines[i]);
    }
    watch_forget_server(w);
    w->looking = true;
    pg_conn_open(w->conn);
    *ret_watch = w;
    w = NULL;
    return OK;
}

void watch_drain(Watch *w)
{
    w->draining = true;
    if (!w->looking) {
        event_active(w->timer, EV_TIMEOUT, 0);
    }
}

void watch_stop(Watch *w)
{
    w->stopped = true;
    w->looking = false;
    event_del(w->timer);
    pg_conn_close(w->conn);
}

void watch_free(Watch **watch)
{
    Watch *w = *watch;
    if (w == NULL) {
        return;
    }
    pg_conn_free(&w->conn);
    event_free(w->timer);
    error_clear(&w->cut_error);
    error_clear(&w->error);
    for (size_t i = 0; i < w->count; i++) {
        table_free(&w->pipelines[i].table);
        precondition_release(&w->pipelines[i].look);
        sightings_free(&w->pipelines[i].sightings);
        free(w->pipelines[i].pause_table);
        free(w->pipelines[i].dead_letter);
    }
    free(w->pipelines);
    free(w->application_name);
    free(w);
    *watch = NULL;
}
