/* Looking at single rows: whether somebody has mended, or removed, what could not be published. An
 * UPDATE moves a row and changes its xmin: that is compared, its content never leaves the server.
 */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "pg/result.h"
#include "rows/marker_internal.h"

void marker_look_at(Marker *marker, const int64_t *seqs, size_t count)
{
    MarkerLook *look = &marker->look;
    look->count = count < SOURCE_LOOKS_MAX ? count : SOURCE_LOOKS_MAX;
    memcpy(look->seqs, seqs, look->count * sizeof(*seqs));
    look->due = look->count > 0 && !look->denied;
    marker_next(marker);
}

/* FNV-1a, 64 bit, of the columns behind the first; never SOURCE_ROW_GONE or 0. */
static uint64_t look_hash(const PGresult *result, int row)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (int column = 1; column < PQnfields(result); column++) {
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
    bool rows = PQresultStatus(result) == PGRES_TUPLES_OK && PQnfields(result) == 4;
    for (int row = 0; rows && row < PQntuples(result); row++) {
        int64_t seq = strtoll(pg_value(result, row, 0), NULL, 10);
        for (size_t i = 0; i < look->count; i++) {
            look->looks[i] = look->seqs[i] == seq ? look_hash(result, row) : look->looks[i];
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
        marker->options.row_looks(marker->options.arg, look->seqs[i], look->looks[i]);
    }
    marker_go_on(marker);
}

void look_send(Marker *marker)
{
    MarkerLook *look = &marker->look;
    const OutboxTable *table = marker->options.table;
    AUTO_BUFFER sql = TEXT_EMPTY;
    text_printf(&sql, "SELECT %s, tableoid, ctid, xmin FROM %s WHERE %s IN (", table->seq,
                table->name, table->seq);
    for (size_t i = 0; i < look->count; i++) {
        text_printf(&sql, "%s%lld", i > 0 ? ", " : "", (long long)look->seqs[i]);
    }
    text_printf(&sql, ")%s", table->unpublished);
    look->due = false;
    pg_conn_send(marker->options.conn, &(PgQuery){.step = "look at rows",
                                                  .sql = sql.data,
                                                  .arg = marker,
                                                  .result = look_on_result,
                                                  .done = look_on_done});
}
