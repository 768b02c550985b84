/* Upkeep, when there is nothing better to do: pruning old published rows, counting the others. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "pg/ident.h"
#include "pg/result.h"
#include "pg/sqlstate.h"
#include "rows/marker_internal.h"

enum {
    PRUNE_ROWS = 5000,       /* looked at by one statement */
    PRUNE_IDLE_SECONDS = 30, /* nothing was old enough, or the DELETE was refused: again then */
    PRUNE_SAID_SECONDS = 3600,
    COUNT_SECONDS = 5,  /* backlog, while there is one */
    COUNT_MAX = 100000, /* a full count of a large table would cost more than it tells */
};

static void upkeep_on_done(void *arg, const Error *err)
{
    Marker *marker = arg;
    if (err != NULL && !marker_must_wait(marker, err)) {
        marker->options.lost(marker->options.arg, err);
        return;
    }
    if (err == NULL) {
        marker_passed(marker);
    }
    marker_go_on(marker);
}

/* Old rows stay: no reason to publish nothing. */
static bool prune_is_refused(Marker *marker, const Error *err)
{
    bool function = sqlstate_is_of_function(err);
    bool own = !function && (err->class != ERROR_FATAL || sqlstate_is_refusal(err));
    if (own || !pg_conn_is_open(marker->options.conn)) {
        return false;
    }
    int64_t now_us = clock_monotonic_us();
    marker->next_prune_us = now_us + PRUNE_IDLE_SECONDS * INT64_C(1000000);
    if (marker->prune_said_us != 0 &&
        now_us - marker->prune_said_us < PRUNE_SAID_SECONDS * INT64_C(1000000)) {
        return true;
    }
    marker->prune_said_us = now_us;
    const PipelineConfig *config = marker->options.pipeline;
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
    Marker *marker = arg;
    if (err != NULL && prune_is_refused(marker, err)) {
        marker_go_on(marker);
        return;
    }
    marker->prune_said_us = err == NULL ? 0 : marker->prune_said_us;
    upkeep_on_done(marker, err);
}

static void prune_on_result(void *arg, const PGresult *result)
{
    Marker *marker = arg;
    int64_t deleted = strtoll(pg_needed(result, 0, 0), NULL, 10);
    *marker->options.stats->rows->pruned += (uint64_t)deleted;
    bool more = deleted == PRUNE_ROWS;
    marker->prune_after = more ? strtoll(pg_value(result, 0, 1), NULL, 10) : INT64_MIN;
    marker->next_prune_us =
        clock_monotonic_us() + (more ? 0 : PRUNE_IDLE_SECONDS * INT64_C(1000000));
}

/* Old published rows lie at the left edge of the table; only PRUNE_ROWS of it are looked at, so
 * that a table without anything old costs little. prune_after skips index entries just made dead.
 */
static void prune_send(Marker *marker)
{
    const PipelineConfig *config = marker->options.pipeline;
    const OutboxTable *table = marker->options.table;
    AUTO_TEXT published = ident_quote(config->outbox.columns[FIELD_PUBLISHED_AT]);
    AUTO_TEXT sql = x_format(
        "WITH edge AS (SELECT %1$s AS seq, %2$s AS published FROM %3$s AS o WHERE %1$s > %4$lld"
        " ORDER BY o.%1$s LIMIT %5$d), gone AS (DELETE FROM %3$s WHERE %1$s IN (SELECT seq FROM "
        "edge"
        " WHERE published < clock_timestamp() - interval '%6$lld ms') RETURNING %1$s AS seq)"
        " SELECT count(*), max(seq) FROM gone",
        table->seq, published, table->name, (long long)marker->prune_after, PRUNE_ROWS,
        (long long)config->outbox.retain_ms);
    pg_conn_send(marker->options.conn, &(PgQuery){.step = "prune",
                                                  .sql = sql,
                                                  .rows_wanted = 1,
                                                  .arg = marker,
                                                  .result = prune_on_result,
                                                  .done = prune_on_done});
}

static void count_on_result(void *arg, const PGresult *result)
{
    Marker *marker = arg;
    marker->backlog = strtod(pg_needed(result, 0, 0), NULL);
    marker->backlog_capped = marker->backlog >= COUNT_MAX;
    marker->next_count_us = clock_monotonic_us() + COUNT_SECONDS * INT64_C(1000000);
}

static void count_send(Marker *marker)
{
    AUTO_TEXT sql =
        x_format("SELECT count(*) FROM (SELECT FROM %s WHERE true%s LIMIT %d) AS pending",
                 marker->options.table->name, marker->options.table->unpublished, COUNT_MAX);
    pg_conn_send(marker->options.conn, &(PgQuery){.step = "count backlog",
                                                  .sql = sql,
                                                  .rows_wanted = 1,
                                                  .arg = marker,
                                                  .result = count_on_result,
                                                  .done = upkeep_on_done});
}

void upkeep_next(Marker *marker)
{
    const PipelineConfig *config = marker->options.pipeline;
    int64_t now_us = clock_monotonic_us();
    if (now_us < marker->lock.retry_us) {
        return;
    }
    if (config->outbox.retain_ms != DURATION_FOREVER &&
        config->outbox.on_publish == ON_PUBLISH_MARK && now_us >= marker->next_prune_us) {
        prune_send(marker);
    } else if (!marker->caught_up && marker_touches_rows(marker) &&
               now_us >= marker->next_count_us) {
        count_send(marker);
    }
}
