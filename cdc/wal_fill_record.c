#include "cdc/wal_fill_record.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/memory.h"

typedef enum Written { NOT_WRITTEN, BEING_WRITTEN, WRITTEN } Written;

struct FillRecord {
    const WalContext *wal;
    const WalBooks *books;
    FillRecordReader reader;
    Written end;
    Written whole;
    bool noting; /* that a table is done */
    size_t noted;
    bool keeps_position;
    uint64_t published;
};

void fill_record_begin(FillRecord *record)
{
    record->end = record->whole = NOT_WRITTEN;
    record->noting = record->keeps_position = false;
}

void fill_record_keep_position(FillRecord *record)
{
    record->keeps_position = true;
}

void fill_record_open(FillRecord *record)
{
    record->end = NOT_WRITTEN;
}

/* Where the reading ends. */

bool fill_record_has_end(const FillRecord *record)
{
    return record->end == WRITTEN;
}

static void on_end_written(void *arg, const Error *err)
{
    FillRecord *record = arg;
    if (wal_goes_on(record->wal, err)) {
        record->end = WRITTEN;
        record->reader.end_written(record->reader.arg);
    }
}

/* Also a commit of our own after the snapshot was taken: what the snapshot shows is on disk then,
 * even what was committed with synchronous_commit = off. */
void fill_record_end(FillRecord *record, int64_t end)
{
    if (record->end != NOT_WRITTEN) {
        return;
    }
    /* The position names the oldest table, and one end does not hold for several. */
    AUTO_TEXT value = tables_count(record->books->tables) > 0 ? x_strdup("NULL")
                                                              : x_format("%lld", (long long)end);
    record->end = BEING_WRITTEN;
    position_note(record->books->row, "backfill_end", value, record, on_end_written);
}

/* A table that is done. */

static void on_table_noted(void *arg, const Error *err)
{
    FillRecord *record = arg;
    if (wal_goes_on(record->wal, err)) {
        record->noting = false;
        tables_finish(record->books->tables, record->noted + 1);
        record->reader.table_noted(record->reader.arg);
    }
}

void fill_record_table(FillRecord *record, size_t at)
{
    if (record->noting) {
        return;
    }
    AUTO_TEXT next = x_format("%u, backfill_seq = NULL", tables_oid(record->books->tables, at + 1));
    record->noting = true;
    record->noted = at;
    position_note(record->books->row, "table_id", next, record, on_table_noted);
}

/* All of it. */

static void on_whole_written(void *arg, const Error *err)
{
    FillRecord *record = arg;
    const WalBooks *books = record->books;
    if (!wal_goes_on(record->wal, err)) {
        return;
    }
    verify_stored(books->verify);
    log_write(LOG_INFO, record->wal->pipeline->name, CODE_BACKFILL_COMPLETE,
              LOG_FIELDS(log_number("events", (long long)record->published)),
              record->keeps_position
                  ? "the rows that waited for a topic are read again; the WAL follows"
                  : "the rows from before the slot are published; the WAL follows");
    record->whole = WRITTEN;
    waiting_rows_know(books->rows);
    verify_adopt(books->verify); /* what was missed, if anything was, came from the table, too */
    acks_forget_filled(books->acks);
    wal_tell(record->wal, NEWS_FILLED);
}

void fill_record_all(FillRecord *record, uint64_t published)
{
    const WalBooks *books = record->books;
    if (record->whole != NOT_WRITTEN) {
        return;
    }
    record->whole = BEING_WRITTEN;
    record->published = published;
    PositionWrite write = {.read = true, .identity = verify_identity(books->verify)};
    write.position = record->keeps_position
                         ? books->start->given.stored->position
                         : (MarkerPosition){.lsn = progress_start(books->progress)};
    position_save(books->row, &write, record, on_whole_written);
}

bool fill_record_is_whole(const FillRecord *record)
{
    return record->whole == WRITTEN;
}

FillRecord *fill_record_new(const WalContext *wal, const WalBooks *books, FillRecordReader reader)
{
    FillRecord *record = x_calloc(1, sizeof(*record));
    record->wal = wal;
    record->books = books;
    record->reader = reader;
    return record;
}

void fill_record_free(FillRecord **record)
{
    free(*record);
    *record = NULL;
}
