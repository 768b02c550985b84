/* wal_fill_record: what is written down of a filling, so that an interruption costs little: where
 * the reading of a table ends, which table is done, and that all of them are. */
#pragma once

#include "cdc/wal_books.h"

typedef struct FillRecord FillRecord;

typedef struct FillRecordReader {
    void (*end_written)(void *arg);
    void (*table_noted)(void *arg);
    void *arg;
} FillRecordReader;

FillRecord *fill_record_new(const WalContext *wal, const WalBooks *books, FillRecordReader reader);
void fill_record_free(FillRecord **record);

/** A filling begins: nothing of it is written. */
void fill_record_begin(FillRecord *record);
/** It brings rows that waited for their topic: the position stays where it is. */
void fill_record_keep_position(FillRecord *record);
/** A table begins. */
void fill_record_open(FillRecord *record);

/** What the snapshot shows is flushed, and where the reading ends is in the position row. */
bool fill_record_has_end(const FillRecord *record);
/** Writes that, once: end_written(). */
void fill_record_end(FillRecord *record, int64_t end);
/** Kept rows do not show that they are published: writes that old table `at` is done, once:
 * table_noted(). */
void fill_record_table(FillRecord *record, size_t at);
/** Writes that all is published, once: NEWS_FILLED. published: rows. */
void fill_record_all(FillRecord *record, uint64_t published);
bool fill_record_is_whole(const FillRecord *record);
