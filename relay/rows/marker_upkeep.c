#include "rows/marker_upkeep.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "pg/ident.h"
#include "pg/result.h"
#include "pg/sqlstate.h"
#include "rows/publisher.h"

enum {
    PRUNE_ROWS = 5000, /* looked at by one statement, at most */
    PRUNE_BEGINS = 16, /* ... by the first: nobody knows yet what a row costs */
    PRUNE_GROWS = 4,   /* times so many by the next, where it cost little */
    PRUNE_MS = 100,    /* a statement may take: marks wait meanwhile */
    PRUNE_LOCK_MS = 1000,
    PRUNE_SLOW_MS = 2000, /* by then it is canceled */
    PRUNE_APART = 70,     /* one that is refused is tried with so much fewer rows, and grows so */
    PRUNE_IN_VAIN = 10,   /* single rows that are refused one after the other, in one go */
    PRUNE_ENDS = 16,      /* young rows since an old one was found: there are no old ones behind */
    PRUNE_WALK = 20,      /* statements in one go that find nothing old, and fewer young ones */
    PRUNE_IDLE_SECONDS = 30, /* nothing was old enough, or so many were refused: again then */
    PRUNE_SAID_SECONDS = 3600,
    COUNT_SECONDS = 5,  /* backlog, while there is one */
    COUNT_MAX = 100000, /* a full count of a large table would cost more than it tells */
};

typedef struct Prune {
    int64_t next_us;
    int64_t said_us; /* that a row is refused */
    int64_t deleted; /* by the last statement */
    int64_t looked;  /* ... rows it had in sight, ... */
    int64_t young;   /* ... published and not old among them, ... */
    int64_t last;    /* ... and the number of the last */
    int64_t after;   /* seq: below it nothing is looked at */
    int most;        /* rows of a statement, by what they cost lately */
    int rows;        /* of the next statement */
    int held;        /* refused rows behind `after`, which are passed over */
    int in_vain;     /* of these, since a row was deleted */
    int walked;      /* statements since a row was deleted, ... */
    int64_t met;     /* ... and young rows that they had in sight */
    bool refused;    /* a row of this pass over the table */
    bool skips;      /* rows that others have locked, for the rest of this pass */
} Prune;

struct MarkerUpkeep {
    MarkerLine *line;
    Prune prune;
    int64_t next_count_us;
    bool caught_up;
    double backlog; /* -1: unknown */
    bool capped;
};

static void upkeep_on_done(void *arg, const Error *err)
{
    MarkerUpkeep *upkeep = arg;
    if (line_ends(upkeep->line, err)) {
        line_go_on(upkeep->line);
    }
}

/* Pruning. Old published rows lie at the left edge of the table, and only Prune.rows of it are
 * looked at, so that a table without anything old costs little; Prune.after skips index entries
 * just made dead. A pass ends where rows are young: not one that was published late, among old
 * ones. Those that wait to be published, in front of old ones, it walks over, not all in one go.
 *
 * Where a row may not be deleted, the statement is tried with fewer rows, down to one, which then
 * stays: everything in front of those that were refused is gone, so their number says how many to
 * pass over. The row itself is asked once more whether it is published: another may have its
 * number, and somebody may take its mark back while the DELETE waits for them.
 *
 * Marks wait while a statement runs. So it has as many rows as fit into PRUNE_MS (a foreign key
 * that has no index, or a trigger, makes a row cost thousands of times more; also one that is
 * deferred, which no timeout would end in a commit), and waits for somebody's lock of a row once
 * in a pass; from then on such rows are left out. One whose references are locked is found as one
 * that is refused, but without haste. */

static void prune_rest(Prune *prune, int64_t now_us)
{
    prune->next_us = now_us + PRUNE_IDLE_SECONDS * INT64_C(1000000);
}

static void prune_say(MarkerUpkeep *upkeep, const Error *err, int64_t now_us)
{
    Prune *prune = &upkeep->prune;
    if (prune->said_us != 0 && now_us - prune->said_us < PRUNE_SAID_SECONDS * INT64_C(1000000)) {
        return;
    }
    prune->said_us = now_us;
    const PipelineConfig *config = line_options(upkeep->line)->pipeline;
    bool slow = err->code == CODE_POSTGRES_QUERY_CANCELED;
    AUTO_ERROR refused = {0};
    error_set_as(&refused, ERROR_RETRY, EXIT_POSTGRES, CODE_PRUNE_REFUSED,
                 "rows of %s that are older than retain cannot be deleted: %s",
                 config->outbox.table, error_message(err));
    error_hint(&refused,
               "%s Fix it, make an exception for the relay's role, or set retain = "
               "\"forever\". %s",
               slow
                   ? "The relay's DELETE of a single row takes too long: a foreign key that refers "
                     "to the table has no index, or a trigger is slow."
                   : "A trigger, a rule or a constraint refuses the relay's DELETE.",
               sqlstate_is_of_function(err) ? error_own_hint(err) : "");
    log_error(LOG_WARN, config->name, &refused, "publishing continues");
}

static void prune_pass_over(Prune *prune, bool slow, int64_t now_us)
{
    prune->refused = true;
    prune->held++;
    prune->in_vain++;
    if (slow || prune->in_vain >= PRUNE_IN_VAIN) {
        prune->in_vain = 0;
        prune->rows = prune->most;
        prune_rest(prune, now_us);
    }
}

/* Old rows stay: no reason to publish nothing. */
static bool prune_is_refused(MarkerUpkeep *upkeep, const Error *err)
{
    Prune *prune = &upkeep->prune;
    bool function = sqlstate_is_of_function(err);
    bool locked = !function && (err->code == CODE_POSTGRES_LOCK_TIMEOUT ||
                                err->code == CODE_POSTGRES_SERIALIZATION);
    bool slow = err->code == CODE_POSTGRES_QUERY_CANCELED;
    bool own = !function && (err->class != ERROR_FATAL || sqlstate_is_refusal(err));
    if ((own && !locked && !slow) || !line_is_open(upkeep->line)) {
        return false;
    }
    int64_t now_us = clock_monotonic_us();
    prune->next_us = now_us;
    if (locked && !prune->skips) {
        prune->skips = true;
        return true;
    }
    if (prune->rows > 1) {
        prune->rows = prune->rows > PRUNE_APART ? prune->rows / PRUNE_APART : 1;
        prune->most = slow ? prune->rows : prune->most;
    } else {
        if (!locked) {
            prune_say(upkeep, err, now_us);
        }
        prune_pass_over(prune, slow || locked, now_us);
    }
    if (locked) { /* of the table: marks meet it, too, and say so; or of what refers to the row */
        prune_rest(prune, now_us);
    }
    return true;
}

static void prune_on_done(void *arg, const Error *err)
{
    MarkerUpkeep *upkeep = arg;
    if (err != NULL && prune_is_refused(upkeep, err)) {
        line_go_on(upkeep->line);
        return;
    }
    upkeep_on_done(upkeep, err);
}

/* How many rows the next statement may have. What mostly looks at young ones tells nothing. The
 * time is the server's: whatever the way there takes. */
static void prune_learn(Prune *prune, int64_t took_ms)
{
    if (took_ms > PRUNE_MS) {
        int64_t fit = prune->rows * (int64_t)PRUNE_MS / took_ms;
        prune->most = fit > 1 ? (int)fit : 1;
    } else if (took_ms < PRUNE_MS / PRUNE_GROWS && prune->rows == prune->most &&
               prune->young <= prune->deleted) {
        prune->most =
            prune->most < PRUNE_ROWS / PRUNE_GROWS ? prune->most * PRUNE_GROWS : PRUNE_ROWS;
    }
}

static void prune_begin_pass(Prune *prune)
{
    *prune = (Prune){.next_us = prune->next_us,
                     .said_us = prune->said_us,
                     .after = INT64_MIN,
                     .most = prune->most,
                     .rows = prune->most};
}

static void prune_take(Prune *prune, int64_t took_ms, int64_t now_us)
{
    /* Of few rows, because one was refused, there may be more. */
    bool apart = prune->rows < prune->most && prune->looked > 0;
    bool whole = prune->looked >= prune->rows;
    prune->met = prune->deleted > 0 ? 0 : prune->met + prune->young;
    prune_learn(prune, took_ms);
    if (!(apart || whole) || prune->met >= PRUNE_ENDS) {
        prune->said_us = prune->refused ? prune->said_us : 0;
        prune_begin_pass(prune);
        prune_rest(prune, now_us);
        return;
    }
    prune->in_vain = prune->held = 0;
    prune->after = prune->last;
    prune->rows = prune->rows < prune->most / PRUNE_APART ? prune->rows * PRUNE_APART : prune->most;
    prune->walked = prune->deleted > 0 ? 0 : prune->walked + 1;
    prune->next_us = now_us;
    if (prune->walked >= PRUNE_WALK) {
        prune->walked = 0;
        prune_rest(prune, now_us);
    }
}

enum { PRUNE_DELETED, PRUNE_LOOKED, PRUNE_YOUNG, PRUNE_LAST, PRUNE_COLUMNS };

static int64_t prune_count(const PGresult *result, int column)
{
    return strtoll(pg_needed(result, 0, column), NULL, 10);
}

/* What was found; then, in a second result, which is the server's word that it is committed, how
 * long all of it took. */
static void prune_on_result(void *arg, const PGresult *result)
{
    MarkerUpkeep *upkeep = arg;
    Prune *prune = &upkeep->prune;
    if (PQresultStatus(result) != PGRES_TUPLES_OK) {
        return; /* of SET */
    }
    if (PQnfields(result) < PRUNE_COLUMNS) {
        *line_options(upkeep->line)->stats->rows->pruned += (uint64_t)prune->deleted;
        prune_take(prune, prune_count(result, 0), clock_monotonic_us());
        return;
    }
    prune->deleted = prune_count(result, PRUNE_DELETED);
    prune->looked = prune_count(result, PRUNE_LOOKED);
    prune->young = prune_count(result, PRUNE_YOUNG);
    prune->last = strtoll(pg_value(result, 0, PRUNE_LAST), NULL, 10);
}

static void prune_send(MarkerUpkeep *upkeep)
{
    const PipelineConfig *config = line_options(upkeep->line)->pipeline;
    const OutboxTable *table = line_options(upkeep->line)->table;
    const Prune *prune = &upkeep->prune;
    int64_t wait_ms = publisher_lock_timeout_ms(config);
    int64_t slow_ms = wait_ms < PRUNE_SLOW_MS ? wait_ms : PRUNE_SLOW_MS;
    int64_t deferred_ms = slow_ms < wait_ms / 2 ? slow_ms : wait_ms / 2; /* of one lease, both */
    AUTO_TEXT published = ident_quote(config->outbox.columns[FIELD_PUBLISHED_AT]);
    AUTO_TEXT cutoff =
        x_format("clock_timestamp() - interval '%lld ms'", (long long)config->outbox.retain_ms);
    AUTO_TEXT old = x_format("SELECT seq FROM edge WHERE published < %s", cutoff);
    AUTO_TEXT free_old = x_format("SELECT l.%1$s FROM %2$s AS l WHERE l.%1$s IN (%3$s) AND l.%4$s <"
                                  " %5$s FOR UPDATE SKIP LOCKED",
                                  table->seq, table->name, old, published, cutoff);
    AUTO_TEXT sql = x_format(
        "SET LOCAL lock_timeout = %8$lld; SET LOCAL statement_timeout = %9$lld; "
        "WITH edge AS (SELECT %1$s AS seq, %2$s AS published FROM %3$s AS o WHERE %1$s > %4$lld"
        " ORDER BY o.%1$s LIMIT %5$d OFFSET %7$d), gone AS (DELETE FROM %3$s AS d WHERE d.%1$s IN"
        " (%10$s) AND d.%2$s < %6$s RETURNING d.%1$s AS seq) SELECT (SELECT count(*) FROM gone),"
        " count(*), count(*) FILTER (WHERE published >= %6$s), max(seq) FROM edge;"
        " SET LOCAL statement_timeout = %11$lld; SET CONSTRAINTS ALL IMMEDIATE; SELECT"
        " (extract(epoch FROM clock_timestamp() - transaction_timestamp()) * 1000)::bigint",
        table->seq, published, table->name, (long long)prune->after, prune->rows, cutoff,
        prune->held, (long long)(wait_ms / 2 < PRUNE_LOCK_MS ? wait_ms / 2 : PRUNE_LOCK_MS),
        (long long)slow_ms, prune->skips ? free_old : old, (long long)deferred_ms);
    line_send(upkeep->line, &(PgQuery){.step = "prune",
                                       .sql = sql,
                                       .rows_wanted = 2,
                                       .arg = upkeep,
                                       .result = prune_on_result,
                                       .done = prune_on_done});
}

static void count_on_result(void *arg, const PGresult *result)
{
    MarkerUpkeep *upkeep = arg;
    upkeep->backlog = strtod(pg_needed(result, 0, 0), NULL);
    upkeep->capped = upkeep->backlog >= COUNT_MAX;
    upkeep->next_count_us = clock_monotonic_us() + COUNT_SECONDS * INT64_C(1000000);
}

static void count_send(MarkerUpkeep *upkeep)
{
    AUTO_TEXT sql =
        x_format("SELECT count(*) FROM (SELECT FROM %s WHERE true%s LIMIT %d) AS pending",
                 line_options(upkeep->line)->table->name,
                 line_options(upkeep->line)->table->unpublished, COUNT_MAX);
    line_send(upkeep->line, &(PgQuery){.step = "count backlog",
                                       .sql = sql,
                                       .rows_wanted = 1,
                                       .arg = upkeep,
                                       .result = count_on_result,
                                       .done = upkeep_on_done});
}

void upkeep_next(MarkerUpkeep *upkeep)
{
    const PipelineConfig *config = line_options(upkeep->line)->pipeline;
    int64_t now_us = clock_monotonic_us();
    if (!upkeep->caught_up && line_touches_rows(upkeep->line) && now_us >= upkeep->next_count_us) {
        count_send(upkeep);
    } else if (config->outbox.retain_ms != DURATION_FOREVER &&
               config->outbox.on_publish == ON_PUBLISH_MARK && now_us >= upkeep->prune.next_us) {
        prune_send(upkeep);
    }
}

void upkeep_begin_anew(MarkerUpkeep *upkeep)
{
    prune_begin_pass(&upkeep->prune);
    upkeep->next_count_us = 0;
}

void upkeep_set_caught_up(MarkerUpkeep *upkeep, bool caught_up)
{
    upkeep->caught_up = caught_up;
}

void upkeep_stop(MarkerUpkeep *upkeep)
{
    if (upkeep->caught_up) {
        upkeep->backlog = -1;
        upkeep->capped = false;
    }
}

double upkeep_backlog(const MarkerUpkeep *upkeep, bool *ret_capped)
{
    *ret_capped = upkeep->capped;
    return upkeep->backlog;
}

MarkerUpkeep *upkeep_new(MarkerLine *line)
{
    MarkerUpkeep *upkeep = x_calloc(1, sizeof(*upkeep));
    upkeep->line = line;
    upkeep->backlog = -1;
    upkeep->prune = (Prune){.after = INT64_MIN, .most = PRUNE_BEGINS, .rows = PRUNE_BEGINS};
    return upkeep;
}

void upkeep_free(MarkerUpkeep **upkeep)
{
    free(*upkeep);
    *upkeep = NULL;
}
