/* Dead letters: events that are set aside, in their order, each before anything that is marked.
 *
 * The server copies as many of them at once as follow each other in memory, by one statement that
 * stores all or none (dead_letter.h): parsing and planning cost more than the copy. Whatever it
 * fails for, these letters go one at a time then, and what is to be said of each is found so. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "flow/refusal.h"
#include "pg/result.h"
#include "pg/sqlstate.h"
#include "rows/dead_letter.h"
#include "rows/marker_internal.h"

enum {
    GROUP_MOST = 64,
    GROUP_BYTES = 1024 * 1024,
    GROUP_SLOW_US = 200000, /* whatever takes so long in the table: fewer next time */
};

void marker_add_aside(Marker *marker, Event *event, const Record *record, const Error *reason)
{
    MarkerAside *aside = x_calloc(1, sizeof(*aside));
    aside->event = event;
    aside->record = *record;
    error_copy(&aside->reason, reason);
    if (marker->last_aside != NULL) {
        marker->last_aside->next = aside;
    } else {
        marker->asides = aside;
    }
    marker->last_aside = aside;
}

static void marker_drop_aside(Marker *marker)
{
    MarkerAside *first = marker->asides;
    marker->asides = first->next;
    if (marker->asides == NULL) {
        marker->last_aside = NULL;
    }
    marker->alone -= marker->alone > 0;
    error_clear(&first->reason);
    free(first);
}

void aside_forget_all(Marker *marker)
{
    while (marker->asides != NULL) {
        marker_drop_aside(marker);
    }
    marker->alone = marker->stored = 0;
}

/* Its topic waits for it. */
static void aside_refuse(Marker *marker, const Error *err)
{
    AUTO_ERROR copy = error_of(err);
    error_prefix(&copy, "writing to %s",
                 marker->dead_letter != NULL ? marker->dead_letter : "outbox.dead_letter");
    Event *event = marker->asides->event;
    marker_drop_aside(marker);
    marker->options.aside_refused(marker->options.arg, event, &copy);
    marker_go_on(marker);
}

/* What the server has against this letter need not be in the way of others. */
static bool aside_is_refused(Marker *marker, const Error *err)
{
    bool passes = sqlstate_is(err, "55P03")       /* somebody's lock: it waits */
                  || sqlstate_is(err, "25006")    /* this is no primary any more */
                  || sqlstate_is(err, "57P");     /* the server ends */
    bool function = sqlstate_is_of_function(err); /* whatever it raised, it was the table's */
    if (err->sqlstate[0] == '\0' || !pg_conn_is_open(marker->options.conn) ||
        (passes && !function)) {
        return false;
    }
    aside_refuse(marker, err);
    return true;
}

static void aside_on_result(void *arg, const PGresult *result)
{
    Marker *marker = arg;
    marker->copied = PQresultStatus(result) == PGRES_COMMAND_OK &&
                     strcmp(PQcmdTuples((PGresult *)result), "0") != 0;
}

/* The copy failed. Of an event that is in memory the bytes are stored. One that is not, because its
 * row is too large or cannot be read, is stored as far as it goes: its row stays. Where it would be
 * deleted nothing is stored, as nobody would have the event then. */
static bool aside_goes_by_bytes(Marker *marker, const Error *err)
{
    MarkerAside *aside = marker->asides;
    const Refusal *refusal = aside->event->refusal;
    bool partial = refusal != NULL && refusal->partial;
    bool row_stays = marker->options.pipeline->outbox.on_publish != ON_PUBLISH_DELETE;
    bool data = err->class == ERROR_FATAL || err->code == CODE_POSTGRES_RESOURCES;
    if (aside->by_bytes || !data || (partial && (!row_stays || sqlstate_is_refusal(err))) ||
        !pg_conn_is_open(marker->options.conn)) {
        return false;
    }
    aside->by_bytes = true;
    return true;
}

/* The statement passed, and nothing was stored: nobody would have the event. */
static void aside_refuse_ignored(Marker *marker)
{
    AUTO_ERROR err = {0};
    error_set(&err, CODE_DEAD_LETTER_REFUSED,
              "the INSERT stored no row: a trigger or rule of the table discards it");
    error_hint(&err, "Change or drop the trigger or rule, so that the relay's rows are stored (a "
                     "trigger that returns NULL discards a row).");
    aside_refuse(marker, &err);
}

/* A table with policies for rows (SQLSTATE 0A000), or a view (42809), takes what is inserted. COPY
 * in binary brings the types of our table; an INSERT converts to those that somebody gave it. */
static bool aside_goes_at_once(Marker *marker, const Error *err, bool fed)
{
    bool form = sqlstate_is_of_data(err) || sqlstate_is(err, "0A000") ||
                sqlstate_is(err, "42809") || sqlstate_is(err, "42804") || sqlstate_is(err, "08P01");
    if (!fed || !form || sqlstate_is_of_function(err) || !pg_conn_is_open(marker->options.conn)) {
        return false;
    }
    marker->asides->at_once = true;
    return true;
}

/* A message is in UTF-8 whatever the database is in. */
static bool aside_is_foreign(Marker *marker, const Error *err)
{
    MarkerAside *aside = marker->asides;
    if (!aside->by_bytes || aside->foreign || sqlstate_is_of_function(err) ||
        !sqlstate_is(err, "22P05") || !pg_conn_is_open(marker->options.conn)) {
        return false;
    }
    aside->foreign = true;
    return true;
}

static void aside_lose(Marker *marker, const Error *err)
{
    AUTO_ERROR copy = error_of(err);
    error_prefix(&copy, "writing to %s", marker->dead_letter);
    marker->options.lost(marker->options.arg, &copy);
}

/* They are stored. A callback may stop the marker, which forgets them. */
static void aside_report(Marker *marker, size_t count)
{
    marker->stored = count;
    while (marker->stored > 0) {
        Event *event = marker->asides->event;
        marker_drop_aside(marker);
        marker->stored--;
        marker->options.aside(marker->options.arg, event);
    }
    marker_go_on(marker);
}

static void aside_on_done(void *arg, const Error *err)
{
    Marker *marker = arg;
    bool fed = marker->feed != NULL;
    dead_letter_feed_free(&marker->feed);
    if (err != NULL && (aside_is_foreign(marker, err) || aside_goes_at_once(marker, err, fed) ||
                        aside_goes_by_bytes(marker, err))) {
        marker_go_on(marker);
        return;
    }
    if (err != NULL && aside_is_refused(marker, err)) {
        return;
    }
    if (err != NULL && marker_must_wait(marker, err)) {
        marker_go_on(marker);
        return;
    }
    if (err != NULL) {
        aside_lose(marker, err);
        return;
    }
    marker_passed(marker);
    if (!marker->copied && marker->asides->by_bytes) {
        aside_refuse_ignored(marker);
        return;
    }
    if (!marker->copied) {
        marker->asides->by_bytes = true; /* its row is gone */
        marker_go_on(marker);
        return;
    }
    aside_report(marker, 1);
}

static void aside_group_on_done(void *arg, const Error *err)
{
    Marker *marker = arg;
    size_t count = marker->group;
    if (err != NULL && pg_conn_is_open(marker->options.conn)) {
        marker->alone = count;
        marker->group = 1;
        marker_go_on(marker);
        return;
    }
    if (err != NULL) {
        aside_lose(marker, err);
        return;
    }
    marker_passed(marker);
    if (clock_monotonic_us() - marker->group_sent_us > GROUP_SLOW_US) {
        marker->group = count / 4;
    }
    aside_report(marker, count);
}

static size_t aside_bytes(const MarkerAside *aside)
{
    size_t bytes = aside->record.key.length + aside->record.value.length;
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        bytes += aside->event->row[i].length;
    }
    return bytes;
}

/* How many letters go by one statement. */
static size_t aside_group(Marker *marker, bool takes_bytes)
{
    size_t most = marker->alone > 0 ? 1 : marker->group * 2;
    size_t count = 0;
    size_t bytes = 0;
    for (const MarkerAside *aside = marker->asides;
         aside != NULL && count < most && count < GROUP_MOST && bytes < GROUP_BYTES;
         aside = aside->next) {
        if (aside->by_bytes || aside->event->refusal != NULL ||
            !dead_letter_has_row(aside->event, marker->sql.table, takes_bytes)) {
            break;
        }
        bytes += aside_bytes(aside);
        count++;
    }
    marker->group = count > 0 && marker->alone == 0 ? count : 1;
    return count;
}

static void aside_send_group(Marker *marker, size_t count)
{
    DeadLetterGroup group = {.ascii_only = pg_conn_is_converted(marker->options.conn),
                             .takes_bytes = pg_conn_takes_bytes(marker->options.conn)};
    const MarkerAside *aside = marker->asides;
    for (size_t i = 0; i < count; i++, aside = aside->next) {
        dead_letter_group_add(&group, marker->options.pipeline, aside->event, &aside->record,
                              &aside->reason);
    }
    dead_letter_group_build(&group, marker->dead_letter, marker->sql.table);
    marker->group_sent_us = clock_monotonic_us();
    pg_conn_send(marker->options.conn, &(PgQuery){.sql = group.sql,
                                                  .param_count = group.param_count,
                                                  .values = group.values,
                                                  .lengths = group.lengths,
                                                  .formats = group.formats,
                                                  .rows_wanted = 1,
                                                  .arg = marker,
                                                  .done = aside_group_on_done});
    dead_letter_group_release(&group);
}

static Slice aside_feed(void *arg, const char **ret_why)
{
    return dead_letter_feed_next(((Marker *)arg)->feed, ret_why);
}

static void aside_send_bytes(Marker *marker, MarkerAside *aside, DeadLetter *letter)
{
    PgQuery query = {.arg = marker, .result = aside_on_result, .done = aside_on_done};
    aside->by_bytes = true;
    dead_letter_build(letter, marker->dead_letter, marker->options.pipeline, aside->event,
                      &aside->record, &aside->reason);
    marker->feed = aside->at_once ? NULL : dead_letter_feed_new(letter, marker->dead_letter);
    if (marker->feed != NULL) {
        query.sql = dead_letter_feed_sql(marker->feed);
        query.feed = aside_feed;
    } else {
        query.sql = letter->sql;
        query.param_count = letter->count;
        query.values = letter->values;
        query.lengths = letter->lengths;
        query.formats = letter->formats;
    }
    pg_conn_send(marker->options.conn, &query);
}

void aside_send(Marker *marker)
{
    if (marker->dead_letter == NULL) {
        AUTO_ERROR err = {0};
        error_set_as(
            &err, ERROR_FATAL, EXIT_POSTGRES, CODE_NO_DEAD_LETTER_TABLE,
            "an event must become a dead letter, but the dead-letter table does not exist");
        error_advise(&err);
        marker->options.lost(marker->options.arg, &err);
        return;
    }
    size_t count = aside_group(marker, pg_conn_takes_bytes(marker->options.conn));
    if (count > 1) {
        aside_send_group(marker, count);
        return;
    }
    MarkerAside *aside = marker->asides;
    DeadLetter letter = {.ascii_only = pg_conn_is_converted(marker->options.conn),
                         .takes_bytes = pg_conn_takes_bytes(marker->options.conn),
                         .foreign = aside->foreign};
    marker->copied = false;
    if (!aside->by_bytes &&
        dead_letter_has_row(aside->event, marker->sql.table, letter.takes_bytes)) {
        dead_letter_build_copy(&letter, marker->dead_letter, marker->sql.table, aside->event,
                               &aside->record, &aside->reason);
        pg_conn_send(marker->options.conn, &(PgQuery){.sql = letter.sql,
                                                      .param_count = letter.count,
                                                      .values = letter.values,
                                                      .lengths = letter.lengths,
                                                      .formats = letter.formats,
                                                      .arg = marker,
                                                      .result = aside_on_result,
                                                      .done = aside_on_done});
    } else {
        aside_send_bytes(marker, aside, &letter);
    }
    dead_letter_release(&letter);
}
