/* Looking at single rows: whether somebody has mended, or removed, what could not be published. An
 * UPDATE moves a row and changes its xmin: that is compared, its content never leaves the server.
 */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "pg/result.h"
#include "rows/marker_internal.h"

enum { COLUMN_SEQ, COLUMN_ID, COLUMN_PLACE, COLUMNS = COLUMN_PLACE + 3 };

bool marker_look_at(Marker *marker, const EventRow *rows, size_t count)
{
    MarkerLook *look = &marker->look;
    look->count = count < SOURCE_LOOKS_MAX ? count : SOURCE_LOOKS_MAX;
    memcpy(look->rows, rows, look->count * sizeof(*rows));
    look->due = look->count > 0 && !look->denied;
    marker_next(marker);
    return !look->denied;
}

/* FNV-1a, 64 bit, of where the row is and who wrote it; never SOURCE_ROW_GONE or 0. */
static uint64_t look_hash(const PGresult *result, int row)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (int column = COLUMN_PLACE; column < PQnfields(result); column++) {
        for (const char *c = pg_value(result, row, column); *c != '\0'; c++) {
            hash = (hash ^ (unsigned char)*c) * UINT64_C(1099511628211);
        }
        hash = (hash ^ 1) * UINT64_C(1099511628211);
    }
    return hash | 2;
}

static void look_on_result(void *arg, const PGresult *result)
{
    Marker *marker = arg;
    MarkerLook *look = &marker->look;
    for (size_t i = 0; i < look->count; i++) {
        look->looks[i] = SOURCE_ROW_GONE;
    }
    bool rows = PQresultStatus(result) == PGRES_TUPLES_OK && PQnfields(result) == COLUMNS;
    for (int row = 0; rows && row < PQntuples(result); row++) {
        int64_t seq = strtoll(pg_value(result, row, COLUMN_SEQ), NULL, 10);
        Slice name = pg_is_null(result, row, COLUMN_ID)
                         ? SLICE_NULL
                         : slice_of(pg_value(result, row, COLUMN_ID));
        uint64_t id = event_id_hash(name);
        for (size_t i = 0; i < look->count; i++) {
            bool same = look->rows[i].seq == seq && look->rows[i].id == id;
            look->looks[i] = same ? look_hash(result, row) : look->looks[i];
        }
    }
}

/* Whoever may read the table by columns alone may not read these: then time alone tells. */
static void look_on_done(void *arg, const Error *err)
{
    Marker *marker = arg;
    MarkerLook *look = &marker->look;
    if (err != NULL && !pg_conn_is_open(marker->options.conn)) {
        marker->options.lost(marker->options.arg, err);
        return;
    }
    look->denied = err != NULL && err->code != CODE_POSTGRES_LOCK_TIMEOUT;
    for (size_t i = 0; err == NULL && i < look->count && !look->due; i++) {
        marker->options.row_looks(marker->options.arg, look->rows[i], look->looks[i]);
    }
    marker_go_on(marker);
}

void look_send(Marker *marker)
{
    MarkerLook *look = &marker->look;
    const OutboxTable *table = marker->options.table;
    AUTO_BUFFER sql = TEXT_EMPTY;
    AUTO_BUFFER id = TEXT_EMPTY;
    table_add_id_of(table, &id);
    text_printf(&sql, "SELECT %s, %s, tableoid, ctid, xmin FROM %s WHERE %s IN (", table->seq,
                text_string(&id), table->name, table->seq);
    for (size_t i = 0; i < look->count; i++) {
        text_printf(&sql, "%s%lld", i > 0 ? ", " : "", (long long)look->rows[i].seq);
    }
    text_printf(&sql, ")%s", table->unpublished);
    look->due = false;
    pg_conn_send(marker->options.conn, &(PgQuery){.step = "look at rows",
                                                  .sql = sql.data,
                                                  .arg = marker,
                                                  .result = look_on_result,
                                                  .done = look_on_done});
}
