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
    HURRY_MS = 100, /* between the end of a look and one that somebody hurries */
};

static void watch_go_on(Watch *w);

static void watch_set_timer(Watch *w, int64_t ms)
{
    if (!w->stopped && (!w->draining || pg_conn_is_open(w->conn))) {
        event_add(w->timer, &(struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000});
    }
}

static int64_t watch_backoff_ms(Watch *w)
{
    int64_t most = w->options->config->monitor.interval_ms;
    most = most < BACKOFF_MIN_MS ? BACKOFF_MIN_MS : most > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : most;
    return backoff_next_ms(&w->attempt, BACKOFF_MIN_MS, most);
}

/* By what is due first: the whole look, or the rows. */
static void watch_schedule(Watch *w)
{
    int64_t now_us = clock_monotonic_us();
    int64_t rows_us = INT64_MAX;
    for (size_t i = 0; i < w->count; i++) {
        int64_t due_us = rows_due_us(w->pipelines[i].rows, now_us);
        rows_us = due_us < rows_us ? due_us : rows_us;
    }
    int64_t due_us = w->next_whole_us;
    if (rows_us < due_us || (w->draining && rows_us < INT64_MAX)) {
        due_us = rows_us;
    }
    watch_set_timer(w, due_us > now_us ? (due_us - now_us + 999) / 1000 : 0);
}

static void watch_note_whole(Watch *w)
{
    w->next_whole_us =
        clock_monotonic_us() + w->options->config->monitor.interval_ms * INT64_C(1000);
}

/* The end of a look. */

static void watch_note_failure(Watch *w)
{
    w->server->shown.up = false;
    if (!w->knows_pauses) {
        w->options->pauses(w->options->arg, false);
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
        watch_trouble_cut(w->trouble, err);
    } else if (w->attempt > 1) { /* else a pipeline may not have had the time to notice */
        watch_trouble_say(w->trouble, err);
    }
    watch_note_failure(w);
}

static void watch_end_look(Watch *w)
{
    w->looking = false;
    w->attempt = 0;
    w->ended_us = clock_monotonic_us();
    if (w->turn->kind == LOOK_WHOLE) {
        watch_note_whole(w);
    }
    if (w->turn->hurried) {
        int64_t soon_us = w->ended_us + HURRY_MS * INT64_C(1000);
        w->next_whole_us = soon_us < w->next_whole_us ? soon_us : w->next_whole_us;
        w->turn->hurried = false;
    }
    watch_schedule(w);
    if (w->turn->error.class != ERROR_NONE) {
        AUTO_ERROR err = error_of(&w->turn->error);
        watch_trouble_say(w->trouble, &err);
        watch_note_failure(w);
        return;
    }
    if (w->turn->kind != LOOK_WHOLE) {
        return;
    }
    histogram_observe_us(w->duration, w->ended_us - w->turn->begun_us);
    w->server->shown.up = true;
    watch_trouble_over(w->trouble);
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
    bool of_pipeline = w->turn->step == STEP_ROWS || w->turn->step == STEP_DEAD;
    if (of_pipeline && ++w->turn->index < w->count) {
        return;
    }
    w->turn->index = 0;
    bool whole = w->turn->kind == LOOK_WHOLE;
    WatchStep last = w->turn->nameless ? STEP_PRECONDITIONS : whole ? STEP_DEAD : STEP_ROWS;
    if (w->turn->step == last) {
        w->turn->step = STEP_END;
    } else if (whole) {
        w->turn->step++;
    } else {
        w->turn->step = w->turn->step == STEP_PAUSES ? STEP_ROWS : w->turn->step + 1;
    }
}

static void on_done(void *arg, const Error *err)
{
    Watch *w = arg;
    if (err != NULL && !pg_conn_is_open(w->conn)) {
        watch_lose(w, err);
        return;
    }
    Watched *p = &w->pipelines[w->turn->index];
    bool leans = err != NULL && w->turn->step == STEP_ROWS && rows_lean(p->rows, err);
    if (err != NULL && !leans && w->turn->error.class == ERROR_NONE) {
        error_copy(&w->turn->error, err);
    }
    int64_t now_us = clock_monotonic_us();
    int64_t next_us = now_us + (now_us - w->turn->step_us) * SHARE_OF_TIME;
    if (w->turn->step == STEP_ROWS) {
        rows_end(p->rows, next_us);
    } else if (w->turn->step == STEP_DEAD) {
        p->dead_next_us = next_us;
    } else if (w->turn->step == STEP_NAMES && err != NULL) {
        w->turn->nameless = true; /* without names nothing else can be asked */
        w->turn->step = w->turn->kind == LOOK_WHOLE ? STEP_PRECONDITIONS : STEP_END;
        watch_go_on(w);
        return;
    } else if (w->turn->step == STEP_PRECONDITIONS && err != NULL) {
        w->turn->prepared = false;
    } else if (w->turn->step == STEP_PAUSES && err == NULL) {
        w->knows_pauses = true;
        w->options->pauses(w->options->arg, true);
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
    if (w->turn->notified) {
        w->turn->notified = false;
        w->turn->nameless = false;
        w->turn->kind = w->turn->kind == LOOK_ROWS ? LOOK_BRIEF : w->turn->kind;
        w->turn->step = STEP_NAMES;
        w->turn->index = 0;
    }
    while (w->turn->step != STEP_END) {
        AUTO_BUFFER sql = TEXT_EMPTY;
        if (watch_add_query(w, &sql)) {
            w->turn->step_us = clock_monotonic_us();
            watch_forget(w);
            pg_conn_send(w->conn, &(PgQuery){.step = "watch",
                                             .sql = sql.data,
                                             .arg = w,
                                             .result = on_result,
                                             .done = on_done});
            return;
        }
        if (w->turn->step == STEP_PAUSES) { /* no table: nothing can be paused */
            for (size_t i = 0; i < w->count; i++) {
                w->pipelines[i].facts->paused = false;
            }
            w->knows_pauses = true;
            w->options->pauses(w->options->arg, true);
        }
        watch_step_over(w);
    }
    watch_end_look(w);
}

static void watch_look(Watch *w, WatchLook kind)
{
    w->looking = true;
    w->turn->nameless = false;
    w->turn->kind = kind;
    w->turn->step = kind == LOOK_ROWS ? STEP_ROWS : STEP_NAMES;
    w->turn->index = 0;
    error_clear(&w->turn->error);
    w->turn->begun_us = clock_monotonic_us();
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
    snprintf(w->server->shown.address, sizeof(w->server->shown.address), "%s:%s/%s",
             host != NULL ? host : "", port != NULL ? port : "", PQdb(raw));
    snprintf(w->server->shown.version, sizeof(w->server->shown.version), "%.*s",
             version != NULL ? (int)strcspn(version, " ") : 0, version != NULL ? version : "");
}

static void on_opened(void *arg, const Error *err)
{
    Watch *w = arg;
    if (!w->opened) { /* else one that was idle broke */
        watch_trouble_say_cut(w->trouble);
    }
    if (err != NULL) {
        watch_lose(w, err);
        return;
    }
    w->opened = true;
    watch_note_server(w);
    w->turn->prepared = false;
    const Config *config = w->options->config;
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
        w->turn->notified = true;
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

void watch_collect(Watch *w)
{
    *w->up = w->server->shown.up ? 1 : 0;
    for (size_t i = 0; i < w->count; i++) {
        const Watched *p = &w->pipelines[i];
        watch_series_show(p->series, p->facts, rows_unseen(p->rows),
                          w->server->shown.oldest_transaction_seconds);
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
        w->turn->hurried = true;
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
    return w->pipelines[index].facts;
}

const WatchServer *watch_server(const Watch *w)
{
    return &w->server->shown;
}

void watch_settled(Watch *w, size_t index, int64_t seq, Slice event_id)
{
    rows_settled(w->pipelines[index].rows, seq, event_id);
}

void watch_parked(Watch *w, size_t index, const Event *event)
{
    rows_parked(w->pipelines[index].rows, event);
}

double watch_event_age(const Watch *w, size_t index, const Event *event)
{
    return rows_event_age(w->pipelines[index].rows, event);
}

bool watch_oldest(Watch *w, size_t index, bool owner, int64_t published_us, WatchOldest *ret)
{
    return rows_oldest(w->pipelines[index].rows, owner, published_us, ret);
}

bool watch_has_looked(const Watch *w, size_t index)
{
    return rows_have_looked(w->pipelines[index].rows);
}

/* Life. */

static Status watched_init(Watched *p, const WatchOptions *options, size_t index, Error *err)
{
    p->config = &options->config->pipelines[index];
    p->facts = x_calloc(1, sizeof(*p->facts));
    p->facts->dead_letters = NAN;
    p->look = x_calloc(1, sizeof(*p->look));
    p->growth = x_calloc(1, sizeof(*p->growth));
    if (table_new(p->config, &p->table, err) != OK) {
        return FAILED;
    }
    p->series = watch_series_new(options->metrics, p->config);
    p->rows = rows_new(options, index, p->table, watch_series_found(p->series));
    return OK;
}

/* Also one that watched_init() did not come to. */
static void watched_release(Watched *p)
{
    rows_free(&p->rows);
    watch_series_free(&p->series);
    table_free(&p->table);
    if (p->look != NULL) {
        precondition_release(p->look);
        free(p->look);
    }
    free(p->growth);
    free(p->facts);
    free(p->pause_table);
    free(p->dead_letter);
    free(p->position);
}

Status watch_new(const WatchOptions *options, Watch **ret_watch, Error *err)
{
    AUTO(Watch, watch_free) w = x_calloc(1, sizeof(*w));
    const Config *config = options->config;
    WatchOptions *copy = x_malloc(sizeof(*copy));
    *copy = *options;
    w->options = copy;
    w->server = x_calloc(1, sizeof(*w->server));
    w->turn = x_calloc(1, sizeof(*w->turn));
    w->trouble = watch_trouble_new(copy);
    w->unread = watch_unread_new(options->metrics);
    w->application_name = x_format("%s/watch", config->name);
    w->conn =
        pg_conn_new(&(PgConnOptions){.base = options->base,
                                     .worker = options->worker,
                                     .dsn = &config->database.dsn,
                                     .pooled = config->database.pooler == POOLER_SESSION,
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
        if (watched_init(&w->pipelines[i], w->options, i, err) != OK) {
            return FAILED;
        }
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
    for (size_t i = 0; i < w->count; i++) {
        watched_release(&w->pipelines[i]);
    }
    free(w->pipelines);
    watch_trouble_free(&w->trouble);
    watch_unread_free(&w->unread);
    error_clear(&w->turn->error);
    free(w->turn);
    free(w->server);
    free((WatchOptions *)w->options);
    free(w->application_name);
    free(w);
    *watch = NULL;
}
