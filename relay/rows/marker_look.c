/* An UPDATE moves a row and changes its xmin: that is compared, its content never leaves the
 * server.
 */
#include "rows/marker_look.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "flow/source.h"
#include "pg/result.h"

enum { COLUMN_SEQ, COLUMN_ID, COLUMN_PLACE, COLUMNS = COLUMN_PLACE + 3 };

struct MarkerLook {
    MarkerLine *line;
    EventRow rows[SOURCE_LOOKS_MAX];
    uint64_t looks[SOURCE_LOOKS_MAX];
    size_t count;
    bool due;    /* to be asked */
    bool denied; /* in this session */
};

void look_want(MarkerLook *look, const EventRow *rows, size_t count)
{
    look->count = count < SOURCE_LOOKS_MAX ? count : SOURCE_LOOKS_MAX;
    memcpy(look->rows, rows, look->count * sizeof(*rows));
    look->due = look->count > 0 && !look->denied;
}

bool look_is_due(const MarkerLook *look)
{
    return look->due;
}

bool look_is_denied(const MarkerLook *look)
{
    return look->denied;
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
    MarkerLook *look = arg;
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
    MarkerLook *look = arg;
    const MarkerOptions *options = line_options(look->line);
    if (err != NULL && !line_is_open(look->line)) {
        line_lose(look->line, err);
        return;
    }
    look->denied = err != NULL && err->code != CODE_POSTGRES_LOCK_TIMEOUT;
    for (size_t i = 0; err == NULL && i < look->count && !look->due; i++) {
        options->owner->row_looks(options->arg, look->rows[i], look->looks[i]);
    }
    line_go_on(look->line);
}

void look_send(MarkerLook *look)
{
    const OutboxTable *table = line_options(look->line)->table;
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
    line_send(look->line, &(PgQuery){.step = "look at rows",
                                     .sql = sql.data,
                                     .arg = look,
                                     .result = look_on_result,
                                     .done = look_on_done});
}

void look_stop(MarkerLook *look)
{
    *look = (MarkerLook){.line = look->line};
}

MarkerLook *look_new(MarkerLine *line)
{
    MarkerLook *look = x_calloc(1, sizeof(*look));
    look->line = line;
    return look;
}

void look_free(MarkerLook **look)
{
    free(*look);
    *look = NULL;
}
