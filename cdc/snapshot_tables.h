/* snapshot_tables: which tables a snapshot reads, in which parts, and how far each is.
 *
 * A table is read in chunks: ranges of blocks of one of its parts (itself, or the leaves of its
 * partitions), as they were counted in the snapshot that reads it. Several chunks may be under way,
 * of one table or of several. A table that is another one than the snapshot shows (rewritten,
 * truncated, altered, dropped) waits for the next round, in a snapshot of then. Knows no
 * connection.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/vec.h"
#include "rows/mapped.h"

enum { SNAPSHOT_CHUNK_BLOCKS = 2048 }; /* 16 MiB, as blocks usually are */

/* In the order of a table's life. */
typedef enum TableState {
    TABLE_WAITS,    /* for its round, or its turn in it */
    TABLE_ASKED,    /* what it is, and of which parts */
    TABLE_READS,    /* its chunks are read */
    TABLE_READ,     /* the last one was: not all rows are acknowledged */
    TABLE_RECORDED, /* they are, and that is written down */
    TABLE_GONE,     /* it was dropped, or taken out of sight, before it was read */
} TableState;

/* What holds rows. */
typedef struct SnapshotPart {
    uint32_t oid;
    char *sql; /* what stands behind FROM */
    uint32_t blocks;
} SnapshotPart;

typedef struct SnapshotTable {
    uint32_t oid;
    char *schema;
    char *name;
    char *sql;      /* both, as SQL */
    size_t mapping; /* its place in TablesConfig.mappings */
    TableState state;
    bool again;     /* it belongs to the next round */
    size_t running; /* chunks that are under way */
    VEC(SnapshotPart) parts;
    size_t part;    /* of the next chunk ... */
    uint32_t block; /* ... which begins there */
    char *columns;  /* as SQL, with commas between */
    char *shape;    /* of its columns, when it was asked last: differs when one was altered */
    uint64_t lsn;   /* of the snapshot that reads it, or read it */
    uint64_t rows;  /* that were read of it in this round */
    uint64_t bytes;
    int64_t rows_expected;  /* as the planner counts; -1: not known */
    int64_t bytes_expected; /* its size on disk; -1: not known */
    size_t out;             /* batches with rows of it that did not come back */
    bool unsettled;         /* one came back with rows that are not published */
} SnapshotTable;

typedef struct SnapshotTables {
    VEC(SnapshotTable) items; /* by schema and name; they never move once planned */
} SnapshotTables;

/* What a worker reads at a time. */
typedef struct SnapshotChunk {
    size_t table;             /* its place */
    const SnapshotPart *part; /* the table's */
    uint32_t from;            /* block ... */
    uint32_t to;              /* ... before this one; 0: to the end */
} SnapshotChunk;

/** All of these tables wait. */
void snapshot_tables_plan(SnapshotTables *tables, const Mapped *mapped);
void snapshot_tables_clear(SnapshotTables *tables);

/** The place of the table; SIZE_MAX: it is none of these. */
size_t snapshot_tables_find(const SnapshotTables *tables, uint32_t oid);
/** The next one that nobody has asked about; SIZE_MAX: none in this round. */
size_t snapshot_tables_next(const SnapshotTables *tables);
/** A new round: those that were put off wait. False: there is none, all are read. */
bool snapshot_tables_begin_round(SnapshotTables *tables);
/** Nothing is asked or read in this round, and nothing waits. */
bool snapshot_tables_round_is_over(const SnapshotTables *tables);

/** What is known of its parts is forgotten, and what was counted. */
void snapshot_table_forget(SnapshotTable *table);
/** It is another one than the snapshot shows: it belongs to the next round, once no chunk of it is
 * under way. */
void snapshot_table_put_off(SnapshotTable *table);
/** All its rows were read and nothing of it is out: it may be written down. */
bool snapshot_table_is_acknowledged(const SnapshotTable *table);

/** There is a chunk that was not taken. */
bool snapshot_table_has_more(const SnapshotTable *table);
/** All of them are, or gone. */
bool snapshot_tables_are_recorded(const SnapshotTables *tables);

/** Takes the next chunk of a table that is read; whole: not by ranges (PostgreSQL 13). False: there
 * is none. */
bool snapshot_tables_take(SnapshotTables *tables, bool whole, SnapshotChunk *ret);
/** A chunk was read, or given up. True: it was the last of its table in this round. */
bool snapshot_tables_return(SnapshotTables *tables, const SnapshotChunk *chunk);
