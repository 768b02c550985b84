#include "rows/marker_upkeep.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "pg/ident.h"
#include "pg/result.h"
#include "pg/sqlstate.h"

enum {
    PRUNE_ROWS = 5000,  /* looked at by one statement */
    PRUNE_APART = 70,   /* one that is refused is tried with so much fewer rows, and grows so */
    PRUNE_IN_VAIN = 10, /* single rows that are refused one after the other, in one go */
    PRUNE_IDLE_SECONDS = 30, /* nothing was old enough, or so many were refused: again then */
    PRUNE_SAID_SECONDS = 3600,
    COUNT_SECONDS = 5,  /* backlog, while there is one */
    COUNT_MAX = 100000, /* a full count of a large table would cost more than it tells */
};

typedef struct Prune {
    int64_t next_us;
    int64_t said_us; /* that a row is refused */
    int64_t after;   /* seq: below it nothing is looked at */
    int rows;        /* of the next statement */
    int held;        /* refused rows behind `after`, which are passed over */
    int in_vain;     /* of these, since a row was deleted */
    bool refused;    /* a row of this pass over the table */
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
 * just made dead. Where a row may not be deleted, the statement is tried with fewer rows, down to
 * one, which then stays: everything in front of those that were refused is gone, so their number
 * says how many to pass over. The row itself is asked once more whether it is published: another
 * may have its number, and somebody may take its mark back while the DELETE waits for them. */

static void prune_say(MarkerUpkeep *upkeep, const Error *err, int64_t now_us)
{
    Prune *prune = &upkeep->prune;
    if (prune->said_us != 0 && now_us - prune->said_us < PRUNE_SAID_SECONDS * INT64_C(1000000)) {
        return;
    }
    prune->said_us = now_us;
    const PipelineConfig *config = line_options(upkeep->line)->pipeline;
    AUTO_ERROR refused = {0};
    error_set_as(&refused, ERROR_RETRY, EXIT_POSTGRES, CODE_PRUNE_REFUSED,
                 "rows of %s that are older than retain cannot be deleted: %s",
                 config->outbox.table, error_message(err));
    error_hint(&refused,
               "A trigger or a constraint refuses the relay's DELETE. Fix it, make an exception "
               "for the relay's role, or set retain = \"forever\". %s",
               sqlstate_is_of_function(err) ? error_own_hint(err) : "");
    log_error(LOG_WARN, config->name, &refused, "publishing continues");
}

static void prune_pass_over(Prune *prune, int64_t now_us)
{
    prune->refused = true;
    prune->held++;
    prune->in_vain++;
    if (prune->in_vain >= PRUNE_IN_VAIN) {
        prune->in_vain = 0;
        prune->rows = PRUNE_ROWS;
        prune->next_us = now_us + PRUNE_IDLE_SECONDS * INT64_C(1000000);
    }
}

/* Old rows stay: no reason to publish nothing. */
static bool prune_is_refused(MarkerUpkeep *upkeep, const Error *err)
{
    Prune *prune = &upkeep->prune;
    bool own =
        !sqlstate_is_of_function(err) && (err->class != ERROR_FATAL || sqlstate_is_refusal(err));
    if (own || !line_is_open(upkeep->line)) {
        return false;
    }
    int64_t now_us = clock_monotonic_us();
    prune->next_us = now_us;
    if (prune->rows > 1) {
        prune->rows = prune->rows > PRUNE_APART ? prune->rows / PRUNE_APART : 1;
        return true;
    }
    prune_say(upkeep, err, now_us);
    prune_pass_over(prune, now_us);
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

static void prune_on_result(void *arg, const PGresult *result)
{
    MarkerUpkeep *upkeep = arg;
    Prune *prune = &upkeep->prune;
    int64_t deleted = strtoll(pg_needed(result, 0, 0), NULL, 10);
    *line_options(upkeep->line)->stats->rows->pruned += (uint64_t)deleted;
    prune->in_vain = 0;
    bool all = deleted >= prune->rows;
    bool apart = prune->rows < PRUNE_ROWS && pg_value(result, 0, 1)[0] != '\0';
    if (all ||
        apart) { /* there may be more; of few rows, one that waits or is young ends nothing */
        prune->after = strtoll(pg_value(result, 0, 1), NULL, 10);
        prune->held = 0;
        prune->rows =
            prune->rows < PRUNE_ROWS / PRUNE_APART ? prune->rows * PRUNE_APART : PRUNE_ROWS;
        prune->next_us = clock_monotonic_us();
        return;
    }
    *prune = (Prune){.next_us = clock_monotonic_us() + PRUNE_IDLE_SECONDS * INT64_C(1000000),
                     .said_us = prune->refused ? prune->said_us : 0,
                     .after = INT64_MIN,
                     .rows = PRUNE_ROWS};
}

static void prune_send(MarkerUpkeep *upkeep)
{
    const PipelineConfig *config = line_options(upkeep->line)->pipeline;
    const OutboxTable *table = line_options(upkeep->line)->table;
    const Prune *prune = &upkeep->prune;
    AUTO_TEXT published = ident_quote(config->outbox.columns[FIELD_PUBLISHED_AT]);
    AUTO_TEXT sql = x_format(
        "WITH edge AS (SELECT %1$s AS seq, %2$s AS published FROM %3$s AS o WHERE %1$s > %4$lld"
        " ORDER BY o.%1$s LIMIT %5$d OFFSET %7$d), gone AS (DELETE FROM %3$s AS d WHERE d.%1$s IN"
        " (SELECT seq FROM edge WHERE published < clock_timestamp() - interval '%6$lld ms')"
        " AND d.%2$s < clock_timestamp() - interval '%6$lld ms' RETURNING d.%1$s AS seq) SELECT "
        "(SELECT count(*) FROM gone), max(seq) FROM edge",
        table->seq, published, table->name, (long long)prune->after, prune->rows,
        (long long)config->outbox.retain_ms, prune->held);
    line_send(upkeep->line, &(PgQuery){.step = "prune",
                                       .sql = sql,
                                       .rows_wanted = 1,
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
    if (config->outbox.retain_ms != DURATION_FOREVER &&
        config->outbox.on_publish == ON_PUBLISH_MARK && now_us >= upkeep->prune.next_us) {
        prune_send(upkeep);
    } else if (!upkeep->caught_up && line_touches_rows(upkeep->line) &&
               now_us >= upkeep->next_count_us) {
        count_send(upkeep);
    }
}

void upkeep_begin_anew(MarkerUpkeep *upkeep)
{
    upkeep->prune = (Prune){.next_us = upkeep->prune.next_us,
                            .said_us = upkeep->prune.said_us,
                            .after = INT64_MIN,
                            .rows = PRUNE_ROWS};
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
    upkeep->prune = (Prune){.after = INT64_MIN, .rows = PRUNE_ROWS};
    return upkeep;
}

void upkeep_free(MarkerUpkeep **upkeep)
{
    free(*upkeep);
    *upkeep = NULL;
}
