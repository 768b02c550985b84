#include "cdc/wal_sight.h"

#include <stdlib.h>

#include "base/memory.h"
#include "pg/ident.h"
#include "pg/result.h"
#include "rows/mark_queue.h"
#include "rows/parked.h"

enum { SIGHT_ROWS = 2000 }; /* are asked for at once, and what is left of a batch */

struct Sight {
    const Batch *asked; /* up to this one; not looked into */
    char *snapshot;     /* NULL: no answer told it */
    Parked found;       /* rows that are there, and unpublished */
    bool replaced;
};

void sight_add_question(Sight *sight, const OutboxTable *table, uint32_t target,
                        const Batch *oldest, Text *sql)
{
    sight->replaced = false;
    AUTO_TEXT name = ident_literal(table->name);
    AUTO_BUFFER id = TEXT_EMPTY;
    table_add_id_of(table, &id);
    text_printf(sql,
                "SELECT pg_current_snapshot() AS snapshot, coalesce(to_regclass(%s)::oid = %u,"
                " false) AS same, given.seq, given.id FROM (SELECT true) AS one LEFT JOIN (SELECT"
                " %s::bigint AS seq, %s AS id FROM %s WHERE %s = ANY ('{",
                name, target, table->seq, text_string(&id), table->name, table->seq);
    size_t rows = 0;
    for (const Batch *batch = oldest; batch != NULL && rows < SIGHT_ROWS; batch = batch->newer) {
        sight->asked = batch;
        for (size_t i = 0; i < batch->count; i++) {
            if (batch->events[i]->state == EVENT_PARKED) {
                text_printf(sql, "%s%lld", rows++ > 0 ? "," : "", (long long)batch->events[i]->seq);
            }
        }
    }
    text_printf(sql, "}'::bigint[])%s) AS given ON true", table->unpublished);
}

void sight_read(Sight *sight, const PGresult *result)
{
    free(sight->snapshot);
    sight->snapshot = NULL;
    parked_clear(&sight->found);
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) < 1) {
        return;
    }
    sight->snapshot = x_strdup(pg_needed(result, 0, 0));
    sight->replaced = *pg_needed(result, 0, 1) != 't';
    for (int row = 0; row < PQntuples(result); row++) {
        if (pg_is_null(result, row, 2) || parked_is_full(&sight->found)) {
            continue;
        }
        Slice id = pg_is_null(result, row, 3) ? SLICE_NULL : slice_of(pg_value(result, row, 3));
        parked_add(&sight->found, strtoll(pg_value(result, row, 2), NULL, 10), id);
    }
}

bool sight_is_taken(const Sight *sight)
{
    return sight->snapshot != NULL;
}

bool sight_is_of_another(const Sight *sight)
{
    return sight->replaced;
}

bool sight_shows_all(const Sight *sight, const Batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        const Event *event = batch->events[i];
        if (event->state == EVENT_PARKED && !mark_snapshot_shows(sight->snapshot, event->xid)) {
            return false;
        }
    }
    return true;
}

bool sight_has(const Sight *sight, const Event *event)
{
    return parked_has(&sight->found, event->seq, event->row[FIELD_EVENT_ID]);
}

bool sight_ends_with(const Sight *sight, const Batch *batch)
{
    return sight->asked == batch;
}

void sight_forget(Sight *sight)
{
    parked_clear(&sight->found);
}

Sight *sight_new(void)
{
    return x_calloc(1, sizeof(Sight));
}

void sight_free(Sight **sight)
{
    if (*sight == NULL) {
        return;
    }
    free((*sight)->snapshot);
    parked_clear(&(*sight)->found);
    free(*sight);
    *sight = NULL;
}
