/* snapshot_sql: the statements of a snapshot, and their answers.
 *
 * A table is compared with itself: what the catalog says of it in the snapshot with what it is now.
 * pg_class and pg_attribute, as any table, show the snapshot's state; pg_relation_filenode() tells
 * of now. A table that was rewritten or truncated since would show no row in the snapshot, or other
 * ones at the places that are read. */
#pragma once

#include <libpq-fe.h>

#include "base/text.h"
#include "cdc/snapshot_tables.h"
#include "change/change_table.h"

/** The session of a connection that reads. */
void snapshot_add_session(Text *sql);

/** Takes a snapshot, or keeps the one of that name, and exports it: one row. */
void snapshot_add_hold(const char *exported, Text *sql);

/** Asks what the table is, in the snapshot and now. */
void snapshot_add_description(const PipelineConfig *pipeline, const SnapshotTable *table,
                              const char *snapshot, int server_version, Text *sql);
/** Asks only what its columns are now, and which of them are read. */
void snapshot_add_columns(const PipelineConfig *pipeline, uint32_t oid, int server_version,
                          Text *sql);
/** Reads a chunk, and looks that the table is still the same. filter: "" for none. */
void snapshot_add_chunk(const SnapshotTable *table, const SnapshotChunk *chunk,
                        const char *snapshot, const char *filter, Text *sql);

/* What the answers tell. */
typedef struct SnapshotAnswer {
    bool told;                 /* the table is there now */
    bool changed;              /* it is another one than the snapshot shows */
    char *shape;               /* of now */
    VEC(ChangeColumn) columns; /* those that are read; their names are in `names` */
    VEC(char *) names;
    Text list; /* the same as SQL */
    VEC(SnapshotPart) parts;
    int64_t rows;
    int64_t bytes;
    Error failed; /* what was wrong with it, or with a row behind it */
} SnapshotAnswer;

/** True when it was an answer to one of these statements. */
bool snapshot_read_answer(const PGresult *result, SnapshotAnswer *answer);
/** The table is what the description says: its chunks may be read. The answer is used up. */
void snapshot_table_describe(SnapshotTable *table, SnapshotAnswer *answer);
SnapshotAnswer *snapshot_answer_new(void);
void snapshot_answer_clear(SnapshotAnswer *answer);
void snapshot_answer_free(SnapshotAnswer **answer);
