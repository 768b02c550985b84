/* watch_rows: the look at the rows of one outbox table: its query, the net, and what others ask
 * about the oldest row. Loop thread. */
#pragma once

#include <libpq-fe.h>

#include "base/text.h"
#include "rows/table.h"
#include "watch/watch.h"

typedef struct WatchRows WatchRows;

/** Of the pipeline with this index. found: the counter of events that were looked for again. All of
 * it must outlive the rows. */
WatchRows *rows_new(const WatchOptions *options, size_t index, const OutboxTable *table,
                    uint64_t *found);
void rows_free(WatchRows **rows);

/** Whether the table is there. */
void rows_set_table(WatchRows *p, bool is_there);

/** A look begins: appends its query. False: there is none, since its rows tell nothing, or a slow
 * query is put off. */
bool rows_begin(WatchRows *p, int64_t now_us, Text *sql);
void rows_read(WatchRows *p, const PGresult *r);
/** The look failed. True: the next asks for less, and may pass. */
bool rows_lean(WatchRows *p, const Error *err);
/** After the look, whether or not it succeeded; the next one not before next_us. */
void rows_end(WatchRows *p, int64_t next_us);

/** When to look again, if sooner than at the next whole look; -1: not. */
int64_t rows_again_ms(const WatchRows *p);
/** The same as a time, by what was put off, too; INT64_MAX: with the next whole look. */
int64_t rows_due_us(const WatchRows *p, int64_t now_us);

/** A slow query is put off until then, monotonic; 0: none was asked. */
int64_t rows_next_us(const WatchRows *p);

/** Rows that the relay has not seen although it has read everything. */
size_t rows_unseen(const WatchRows *p);

/* As watch.h has them. */
void rows_settled(WatchRows *p, int64_t seq, Slice event_id);
void rows_parked(WatchRows *p, const Event *event);
double rows_event_age(const WatchRows *p, const Event *event);
bool rows_oldest(WatchRows *p, bool owner, int64_t published_us, WatchOldest *ret);
bool rows_have_looked(const WatchRows *p);
