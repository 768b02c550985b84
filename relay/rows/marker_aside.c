/* The server copies as many of them at once as follow each other in memory, by one statement that
 * stores all or none (dead_letter.h): parsing and planning cost more than the copy. Whatever it
 * fails for, these letters go one at a time then, and what is to be said of each is found so. */
#include "rows/marker_aside.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/clock.h"
#include "base/memory.h"
#include "flow/refusal.h"
#include "pg/sqlstate.h"
#include "rows/dead_letter_feed.h"

enum {
    GROUP_MOST = 64,
    GROUP_BYTES = 1024 * 1024,
    GROUP_SLOW_US = 200000, /* whatever takes so long in the table: fewer next time */
};

/* How a letter is sent: at first the server copies its row. */
enum {
    BY_BYTES = 1, /* it has no row any more, or the server could not copy that: from memory */
    AT_ONCE = 2,  /* the table takes no COPY */
    FOREIGN = 4,  /* it has characters that the database lacks */
};

typedef struct Aside {
    Event *event;
    Record record;
    Error reason;
    unsigned ways;
    STAILQ_ENTRY(Aside) entry;
} Aside;

struct MarkerAsides {
    MarkerLine *line;
    const MarkerOptions *options; /* of it */
    char *table;
    STAILQ_HEAD(, Aside) waiting;
    size_t group;  /* letters that the last statement stored, or is storing */
    size_t alone;  /* so many go one at a time, as together they failed */
    size_t stored; /* committed, and not reported yet */
    int64_t group_sent_us;
    DeadLetterFeed *feed; /* what the running statement is fed with, or NULL */
    bool copied;          /* the running statement stored the letter */
};

void asides_add(MarkerAsides *asides, Event *event, const Record *record, const Error *reason)
{
    Aside *aside = x_calloc(1, sizeof(*aside));
    aside->event = event;
    aside->record = *record;
    error_copy(&aside->reason, reason);
    STAILQ_INSERT_TAIL(&asides->waiting, aside, entry);
}

/* The first one, which nobody waits for any more; the code of its reason. */
static ErrorCode asides_drop(MarkerAsides *asides)
{
    Aside *first = STAILQ_FIRST(&asides->waiting);
    STAILQ_REMOVE_HEAD(&asides->waiting, entry);
    asides->alone -= asides->alone > 0;
    ErrorCode reason = first->reason.code;
    error_clear(&first->reason);
    free(first);
    return reason;
}

void asides_stop(MarkerAsides *asides)
{
    dead_letter_feed_free(&asides->feed);
    while (asides_wait(asides)) {
        (void)asides_drop(asides);
    }
    asides->alone = asides->stored = 0;
}

bool asides_wait(const MarkerAsides *asides)
{
    return !STAILQ_EMPTY(&asides->waiting);
}

bool asides_report(const MarkerAsides *asides)
{
    return asides->stored > 0;
}

/* Its topic waits for it. */
static void aside_refuse(MarkerAsides *asides, const Error *err)
{
    AUTO_ERROR copy = error_of(err);
    error_prefix(&copy, "writing to %s",
                 asides->table != NULL ? asides->table : "outbox.dead_letter");
    Event *event = STAILQ_FIRST(&asides->waiting)->event;
    ErrorCode reason = asides_drop(asides);
    asides->options->owner->aside_refused(asides->options->arg, event, reason, &copy);
    line_go_on(asides->line);
}

/* What the server has against this letter need not be in the way of others. */
static bool aside_is_refused(MarkerAsides *asides, const Error *err)
{
    bool passes = sqlstate_is(err, "55P03")       /* somebody's lock: it waits */
                  || sqlstate_is(err, "25006")    /* this is no primary any more */
                  || sqlstate_is(err, "57P");     /* the server ends */
    bool function = sqlstate_is_of_function(err); /* whatever it raised, it was the table's */
    if (err->sqlstate[0] == '\0' || !line_is_open(asides->line) || (passes && !function)) {
        return false;
    }
    aside_refuse(asides, err);
    return true;
}

static void aside_on_result(void *arg, const PGresult *result)
{
    MarkerAsides *asides = arg;
    asides->copied = PQresultStatus(result) == PGRES_COMMAND_OK &&
                     strcmp(PQcmdTuples((PGresult *)result), "0") != 0;
}

/* The copy failed. Of an event that is in memory the bytes are stored. One that is not, because its
 * row is too large or cannot be read, is stored as far as it goes: its row stays. Where it would be
 * deleted nothing is stored, as nobody would have the event then. */
static bool aside_goes_by_bytes(MarkerAsides *asides, const Error *err)
{
    Aside *aside = STAILQ_FIRST(&asides->waiting);
    const Refusal *refusal = aside->event->refusal;
    bool partial = refusal != NULL && refusal->partial;
    bool row_stays = asides->options->pipeline->outbox.on_publish != ON_PUBLISH_DELETE;
    bool data = err->class == ERROR_FATAL || err->code == CODE_POSTGRES_RESOURCES;
    if ((aside->ways & BY_BYTES) != 0 || !data ||
        (partial && (!row_stays || sqlstate_is_refusal(err))) || !line_is_open(asides->line)) {
        return false;
    }
    aside->ways |= BY_BYTES;
    return true;
}

/* The statement passed, and nothing was stored: nobody would have the event. */
static void aside_refuse_ignored(MarkerAsides *asides)
{
    AUTO_ERROR err = {0};
    error_set(&err, CODE_DEAD_LETTER_REFUSED,
              "the INSERT stored no row: a trigger or rule of the table discards it");
    error_hint(&err, "Change or drop the trigger or rule, so that the relay's rows are stored (a "
                     "trigger that returns NULL discards a row).");
    aside_refuse(asides, &err);
}

/* A table with policies for rows (SQLSTATE 0A000), or a view (42809), takes what is inserted. COPY
 * in binary brings the types of our table; an INSERT converts to those that somebody gave it. */
static bool aside_goes_at_once(MarkerAsides *asides, const Error *err, bool fed)
{
    bool form = sqlstate_is_of_data(err) || sqlstate_is(err, "0A000") ||
                sqlstate_is(err, "42809") || sqlstate_is(err, "42804") || sqlstate_is(err, "08P01");
    if (!fed || !form || sqlstate_is_of_function(err) || !line_is_open(asides->line)) {
        return false;
    }
    STAILQ_FIRST(&asides->waiting)->ways |= AT_ONCE;
    return true;
}

/* A message is in UTF-8 whatever the database is in. */
static bool aside_is_foreign(MarkerAsides *asides, const Error *err)
{
    Aside *aside = STAILQ_FIRST(&asides->waiting);
    if ((aside->ways & (BY_BYTES | FOREIGN)) != BY_BYTES || sqlstate_is_of_function(err) ||
        !sqlstate_is(err, "22P05") || !line_is_open(asides->line)) {
        return false;
    }
    aside->ways |= FOREIGN;
    return true;
}

/* False: it is the loss of the connection. */
static bool aside_passes(MarkerAsides *asides, const Error *err)
{
    if (err == NULL) {
        line_passed(asides->line);
        return true;
    }
    AUTO_ERROR copy = error_of(err);
    error_prefix(&copy, "writing to %s", asides->table);
    line_lose(asides->line, &copy);
    return false;
}

/* They are stored. A callback may stop the marker, which forgets them. */
static void aside_report(MarkerAsides *asides, size_t count)
{
    asides->stored = count;
    while (asides->stored > 0) {
        Event *event = STAILQ_FIRST(&asides->waiting)->event;
        ErrorCode reason = asides_drop(asides);
        asides->stored--;
        asides->options->owner->aside(asides->options->arg, event, reason);
    }
    line_go_on(asides->line);
}

static void aside_on_done(void *arg, const Error *err)
{
    MarkerAsides *asides = arg;
    bool fed = asides->feed != NULL;
    dead_letter_feed_free(&asides->feed);
    if (err != NULL && (aside_is_foreign(asides, err) || aside_goes_at_once(asides, err, fed) ||
                        aside_goes_by_bytes(asides, err))) {
        line_go_on(asides->line);
        return;
    }
    if (err != NULL && aside_is_refused(asides, err)) {
        return;
    }
    if (err != NULL && line_must_wait(asides->line, err)) {
        line_go_on(asides->line);
        return;
    }
    if (!aside_passes(asides, err)) {
        return;
    }
    Aside *aside = STAILQ_FIRST(&asides->waiting);
    if (!asides->copied && (aside->ways & BY_BYTES) != 0) {
        aside_refuse_ignored(asides);
        return;
    }
    if (!asides->copied) {
        aside->ways |= BY_BYTES; /* its row is gone */
        line_go_on(asides->line);
        return;
    }
    aside_report(asides, 1);
}

static void aside_group_on_done(void *arg, const Error *err)
{
    MarkerAsides *asides = arg;
    size_t count = asides->group;
    if (err != NULL && line_is_open(asides->line)) {
        asides->alone = count;
        asides->group = 1;
        line_go_on(asides->line);
        return;
    }
    if (!aside_passes(asides, err)) {
        return;
    }
    if (clock_monotonic_us() - asides->group_sent_us > GROUP_SLOW_US) {
        asides->group = count / 4;
    }
    aside_report(asides, count);
}

static size_t aside_bytes(const Aside *aside)
{
    size_t bytes = aside->record.key.length + aside->record.value.length;
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        bytes += aside->event->row[i].length;
    }
    return bytes;
}

/* How many letters go by one statement. */
static size_t aside_group(MarkerAsides *asides, bool takes_bytes)
{
    size_t most = asides->alone > 0 ? 1 : asides->group * 2;
    size_t count = 0;
    size_t bytes = 0;
    for (const Aside *aside = STAILQ_FIRST(&asides->waiting);
         aside != NULL && count < most && count < GROUP_MOST && bytes < GROUP_BYTES;
         aside = STAILQ_NEXT(aside, entry)) {
        if ((aside->ways & BY_BYTES) != 0 || aside->event->refusal != NULL ||
            !dead_letter_has_row(aside->event, asides->options->table, takes_bytes)) {
            break;
        }
        bytes += aside_bytes(aside);
        count++;
    }
    asides->group = count > 0 && asides->alone == 0 ? count : 1;
    return count;
}

static void aside_send_group(MarkerAsides *asides, size_t count)
{
    DeadLetterGroup group = {.ascii_only = pg_conn_is_converted(asides->options->conn),
                             .takes_bytes = pg_conn_takes_bytes(asides->options->conn)};
    const Aside *aside = STAILQ_FIRST(&asides->waiting);
    for (size_t i = 0; i < count; i++, aside = STAILQ_NEXT(aside, entry)) {
        dead_letter_group_add(&group, asides->options->pipeline, aside->event, &aside->record,
                              &aside->reason);
    }
    dead_letter_group_build(&group, asides->table, asides->options->table);
    asides->group_sent_us = clock_monotonic_us();
    line_send(asides->line, &(PgQuery){.sql = group.sql,
                                       .param_count = group.param_count,
                                       .values = group.values,
                                       .lengths = group.lengths,
                                       .formats = group.formats,
                                       .rows_wanted = 1,
                                       .arg = asides,
                                       .done = aside_group_on_done});
    dead_letter_group_release(&group);
}

static Slice aside_feed(void *arg, const char **ret_why)
{
    return dead_letter_feed_next(((MarkerAsides *)arg)->feed, ret_why);
}

static void aside_send_bytes(MarkerAsides *asides, Aside *aside, DeadLetter *letter)
{
    PgQuery query = {.arg = asides, .result = aside_on_result, .done = aside_on_done};
    aside->ways |= BY_BYTES;
    dead_letter_build(letter, asides->table, asides->options->pipeline, aside->event,
                      &aside->record, &aside->reason);
    asides->feed =
        (aside->ways & AT_ONCE) != 0 ? NULL : dead_letter_feed_new(letter, asides->table);
    if (asides->feed != NULL) {
        query.sql = dead_letter_feed_sql(asides->feed);
        query.feed = aside_feed;
    } else {
        query.sql = letter->sql;
        query.param_count = letter->count;
        query.values = letter->values;
        query.lengths = letter->lengths;
        query.formats = letter->formats;
    }
    line_send(asides->line, &query);
}

void asides_send(MarkerAsides *asides)
{
    if (asides->table == NULL) {
        AUTO_ERROR err = {0};
        error_set_as(
            &err, ERROR_FATAL, EXIT_POSTGRES, CODE_NO_DEAD_LETTER_TABLE,
            "an event must become a dead letter, but the dead-letter table does not exist");
        error_advise(&err);
        line_lose(asides->line, &err);
        return;
    }
    size_t count = aside_group(asides, pg_conn_takes_bytes(asides->options->conn));
    if (count > 1) {
        aside_send_group(asides, count);
        return;
    }
    Aside *aside = STAILQ_FIRST(&asides->waiting);
    DeadLetter letter = {.ascii_only = pg_conn_is_converted(asides->options->conn),
                         .takes_bytes = pg_conn_takes_bytes(asides->options->conn),
                         .foreign = (aside->ways & FOREIGN) != 0};
    asides->copied = false;
    if ((aside->ways & BY_BYTES) == 0 &&
        dead_letter_has_row(aside->event, asides->options->table, letter.takes_bytes)) {
        dead_letter_build_copy(&letter, asides->table, asides->options->table, aside->event,
                               &aside->record, &aside->reason);
        line_send(asides->line, &(PgQuery){.sql = letter.sql,
                                           .param_count = letter.count,
                                           .values = letter.values,
                                           .lengths = letter.lengths,
                                           .formats = letter.formats,
                                           .arg = asides,
                                           .result = aside_on_result,
                                           .done = aside_on_done});
    } else {
        aside_send_bytes(asides, aside, &letter);
    }
    dead_letter_release(&letter);
}

void asides_begin(MarkerAsides *asides, const char *table)
{
    free(asides->table);
    asides->table = table != NULL ? x_strdup(table) : NULL;
}

MarkerAsides *asides_new(MarkerLine *line)
{
    MarkerAsides *asides = x_calloc(1, sizeof(*asides));
    asides->line = line;
    asides->options = line_options(line);
    STAILQ_INIT(&asides->waiting);
    return asides;
}

void asides_free(MarkerAsides **asides)
{
    asides_stop(*asides);
    free((*asides)->table);
    free(*asides);
    *asides = NULL;
}
