/* Rows from before the slot, a part at a time.
 *
 * A row may be unreadable (rows/unreadable.h): what came before it is read again, then it alone,
 * without what cannot be read. The snapshot stays: the failure is rolled back to a savepoint. */
#include "cdc/wal_fill_read.h"

#include <stdlib.h>
#include <string.h>

#include "base/failpoint.h"
#include "base/memory.h"
#include "cdc/copy_rows.h"
#include "flow/refusal.h"
#include "pg/sqlstate.h"
#include "rows/row.h"
#include "rows/unreadable.h"

struct FillRead {
    const WalContext *wal;
    const Filler *filler;
    FillReader reader;
    const char *table;
    const char *shown;
    bool running;
    size_t limit;
    size_t count;     /* of this fetch */
    int64_t last_seq; /* up to here they were read */
    int64_t from;     /* ... before this fetch */
    bool chosen;      /* a row could not be read: rows are chosen before values */
    Unreadable *unreadable;
    CopyRows *rows;
    Batch *batch;
};

static void read_on_row(void *arg, const char *bytes, size_t length)
{
    FillRead *read = arg;
    Slice row = SLICE_NULL;
    Event *event = NULL;
    if (!copy_rows_next(read->rows, bytes, length, &row) ||
        row_read(row.data, row.length, read->wal->table->schema, read->batch, &event,
                 copy_rows_error(read->rows)) != OK) {
        return;
    }
    read->count++;
    read->last_seq = event->seq;
    if (read->unreadable->lean != LEAN_NONE) {
        refusal_set_unreadable(event, read->shown, &read->unreadable->error);
    }
    if (!read->reader.keeps(read->reader.arg, event)) {
        batch_take_back(read->batch);
    }
}

/* A row that the server cannot print, not even its name: a human has to. */
static void read_name_rows(const FillRead *read, Error *err)
{
    AUTO_ERROR copy = error_of(err);
    error_set_as(err, ERROR_FATAL, EXIT_POSTGRES, CODE_EVENT_UNREADABLE,
                 "the server cannot read the row of %s after number %lld, nor its event id: %s",
                 read->table, (long long)read->last_seq, error_message(&copy));
    error_hint(err,
               "Correct or delete the row, then start again. The row is damaged, or its text would "
               "be larger than 1 GB. %s",
               slot_cannot_send(&copy) ? SLOT_FIND_HUGE_NUMBERS : "");
}

static void on_rolled_back(void *arg, const Error *err)
{
    FillRead *read = arg;
    read->running = false;
    if (wal_goes_on(read->wal, err)) {
        read->reader.done(read->reader.arg, NULL, false);
    }
}

/* A row cannot be read. What came before it is read again, then it alone; it comes without what
 * cannot be read, and is refused. The snapshot stays. False: not even its name can be read. */
static bool read_isolates(FillRead *read, const Error *err)
{
    PgConn *conn = filler_conn(read->filler);
    if (!pg_conn_is_open(conn) ||
        !unreadable_failed(read->unreadable, err, read->limit, read->count)) {
        return false;
    }
    read->last_seq = read->from;
    read->chosen = true;
    batch_free(&read->batch);
    read->running = true;
    pg_conn_send(conn, &(PgQuery){.step = "roll back fill",
                                  .sql = "ROLLBACK TO SAVEPOINT outboxd_fill",
                                  .arg = read,
                                  .done = on_rolled_back});
    return true;
}

static void read_on_done(void *arg, const Error *err)
{
    FillRead *read = arg;
    const WalContext *wal = read->wal;
    read->running = false;
    if (err != NULL && read_isolates(read, err)) {
        return;
    }
    const Error *failed = err != NULL ? err : copy_rows_error(read->rows);
    if (failed->class != ERROR_NONE) {
        AUTO_ERROR copy = error_of(failed);
        if (copy.class == ERROR_FATAL && sqlstate_is_of_data(&copy)) {
            read_name_rows(read, &copy);
        }
        claim_lose(wal->claim, &copy);
        return;
    }
    unreadable_passed(read->unreadable, read->count, (size_t)wal->pipeline->limits.batch_events);
    AUTO_ERROR injected = {0};
    if (FAILPOINT_FAILS("fetched", &injected)) {
        claim_lose(wal->claim, &injected);
        return;
    }
    Batch *batch = read->batch;
    read->batch = NULL;
    read->reader.done(read->reader.arg, batch, read->count < read->limit);
}

/* The next rows. A plan that sorts the table reads the values of all its rows, and one that cannot
 * be read fails them all: behind a failure the rows are chosen by number first. */
static void read_add_range(const FillRead *read, Text *sql)
{
    const OutboxTable *table = read->wal->table;
    if (read->chosen) {
        text_printf(sql, "%s = ANY(ARRAY(SELECT k.%s FROM %s AS k WHERE ", table->seq, table->seq,
                    read->table);
    }
    text_printf(sql, "%s > %lld AND %s <= %lld%s", table->seq, (long long)read->last_seq,
                table->seq, (long long)filler_end(read->filler), table->unpublished);
    if (read->chosen) {
        text_printf(sql, " ORDER BY k.%s LIMIT %zu))%s", table->seq, read->limit,
                    table->unpublished);
    }
}

void fill_read_next(FillRead *read, size_t limit)
{
    const OutboxTable *table = read->wal->table;
    read->limit = unreadable_limit(read->unreadable, limit);
    read->from = read->last_seq;
    read->count = 0;
    read->running = true;
    copy_rows_begin(read->rows);
    read->batch = batch_new();
    TableLean how = read->unreadable->lean;
    AUTO_TEXT lean = how != LEAN_NONE ? table_lean_list(table, how) : NULL;
    AUTO_BUFFER range = TEXT_EMPTY;
    read_add_range(read, &range);
    AUTO_TEXT sql = x_format(
        "COPY (%sSELECT %s FROM %s AS o WHERE %s ORDER BY o.%s LIMIT %zu%s) TO STDOUT (FORMAT "
        "binary)",
        lean != NULL ? "" : table->rows_begin, lean != NULL ? lean : table->select_list,
        read->table, text_string(&range), table->seq, read->limit,
        lean != NULL ? "" : table->rows_end);
    pg_conn_send(filler_conn(read->filler), &(PgQuery){.step = "fetch before the slot",
                                                       .sql = sql,
                                                       .arg = read,
                                                       .row = read_on_row,
                                                       .done = read_on_done});
}

bool fill_read_is_running(const FillRead *read)
{
    return read->running;
}

void fill_read_begin(FillRead *read, const char *table, const char *shown)
{
    fill_read_drop(read);
    error_clear(&read->unreadable->error);
    memset(read->unreadable, 0, sizeof(*read->unreadable));
    read->table = table;
    read->shown = shown;
    read->chosen = false;
    read->last_seq = INT64_MIN;
}

void fill_read_skip_to(FillRead *read, int64_t seq)
{
    read->last_seq = seq;
}

void fill_read_drop(FillRead *read)
{
    batch_free(&read->batch);
    copy_rows_begin(read->rows);
    read->running = false;
}

FillRead *fill_read_new(const WalContext *wal, const Filler *filler, FillReader reader)
{
    FillRead *read = x_calloc(1, sizeof(*read));
    read->wal = wal;
    read->filler = filler;
    read->reader = reader;
    read->unreadable = x_calloc(1, sizeof(*read->unreadable));
    read->rows = copy_rows_new();
    return read;
}

void fill_read_free(FillRead **read)
{
    if (*read == NULL) {
        return;
    }
    fill_read_drop(*read);
    error_clear(&(*read)->unreadable->error);
    free((*read)->unreadable);
    copy_rows_free(&(*read)->rows);
    free(*read);
    *read = NULL;
}
