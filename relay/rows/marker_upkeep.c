#include "rows/marker_upkeep.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "pg/ident.h"
#include "pg/result.h"
#include "pg/sqlstate.h"

enum {
    PRUNE_ROWS = 5000,       /* looked at by one statement */
    PRUNE_IDLE_SECONDS = 30, /* nothing was old enough, or the DELETE was refused: again then */
    PRUNE_SAID_SECONDS = 3600,
    COUNT_SECONDS = 5,  /* backlog, while there is one */
    COUNT_MAX = 100000, /* a full count of a large table would cost more than it tells */
};

struct MarkerUpkeep {
    MarkerLine *line;
    int64_t next_prune_us;
    int64_t prune_said_us; /* that it is refused */
    int64_t prune_after;   /* seq */
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

/* Old rows stay: no reason to publish nothing. */
static bool prune_is_refused(MarkerUpkeep *upkeep, const Error *err)
{
    bool function = sqlstate_is_of_function(err);
    bool own = !function && (err->class != ERROR_FATAL || sqlstate_is_refusal(err));
    if (own || !line_is_open(upkeep->line)) {
        return false;
    }
    int64_t now_us = clock_monotonic_us();
    upkeep->next_prune_us = now_us + PRUNE_IDLE_SECONDS * INT64_C(1000000);
    if (upkeep->prune_said_us != 0 &&
        now_us - upkeep->prune_said_us < PRUNE_SAID_SECONDS * INT64_C(1000000)) {
        return true;
    }
    upkeep->prune_said_us = now_us;
    const PipelineConfig *config = line_options(upkeep->line)->pipeline;
    AUTO_ERROR refused = {0};
    error_set_as(&refused, err->class, EXIT_POSTGRES, CODE_PRUNE_REFUSED,
                 "rows of %s that are older than retain cannot be deleted: %s",
                 config->outbox.table, error_message(err));
    error_hint(&refused,
               "A trigger or a constraint refuses the relay's DELETE. Fix it, make an exception "
               "for the relay's role, or set retain = \"forever\". %s",
               function ? error_own_hint(err) : "");
    log_error(LOG_WARN, config->name, &refused, "publishing continues");
    return true;
}

static void prune_on_done(void *arg, const Error *err)
{
    MarkerUpkeep *upkeep = arg;
    if (err != NULL && prune_is_refused(upkeep, err)) {
        line_go_on(upkeep->line);
        return;
    }
    upkeep->prune_said_us = err == NULL ? 0 : upkeep->prune_said_us;
    upkeep_on_done(upkeep, err);
}

static void prune_on_result(void *arg, const PGresult *result)
{
    MarkerUpkeep *upkeep = arg;
    int64_t deleted = strtoll(pg_needed(result, 0, 0), NULL, 10);
    *line_options(upkeep->line)->stats->rows->pruned += (uint64_t)deleted;
    bool more = deleted == PRUNE_ROWS;
    upkeep->prune_after = more ? strtoll(pg_value(result, 0, 1), NULL, 10) : INT64_MIN;
    upkeep->next_prune_us =
        clock_monotonic_us() + (more ? 0 : PRUNE_IDLE_SECONDS * INT64_C(1000000));
}

/* Old published rows lie at the left edge of the table; only PRUNE_ROWS of it are looked at, so
 * that a table without anything old costs little. prune_after skips index entries just made dead.
 */
static void prune_send(MarkerUpkeep *upkeep)
{
    const PipelineConfig *config = line_options(upkeep->line)->pipeline;
    const OutboxTable *table = line_options(upkeep->line)->table;
    AUTO_TEXT published = ident_quote(config->outbox.columns[FIELD_PUBLISHED_AT]);
    AUTO_TEXT sql = x_format(
        "WITH edge AS (SELECT %1$s AS seq, %2$s AS published FROM %3$s AS o WHERE %1$s > %4$lld"
        " ORDER BY o.%1$s LIMIT %5$d), gone AS (DELETE FROM %3$s WHERE %1$s IN (SELECT seq FROM "
        "edge"
        " WHERE published < clock_timestamp() - interval '%6$lld ms') RETURNING %1$s AS seq)"
        " SELECT count(*), max(seq) FROM gone",
        table->seq, published, table->name, (long long)upkeep->prune_after, PRUNE_ROWS,
        (long long)config->outbox.retain_ms);
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
        config->outbox.on_publish == ON_PUBLISH_MARK && now_us >= upkeep->next_prune_us) {
        prune_send(upkeep);
    } else if (!upkeep->caught_up && line_touches_rows(upkeep->line) &&
               now_us >= upkeep->next_count_us) {
        count_send(upkeep);
    }
}

void upkeep_begin_anew(MarkerUpkeep *upkeep)
{
    upkeep->prune_after = 0;
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
    return upkeep;
}

void upkeep_free(MarkerUpkeep **upkeep)
{
    free(*upkeep);
    *upkeep = NULL;
}
