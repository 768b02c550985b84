/* captured: the ordinary tables that the log tells of, by OID: which of them a mapping means, and
 * what their records look like.
 *
 * The log tells names and types of columns as they were when the change was written; what it does
 * not tell (which columns are the key, which may be NULL, defaults, labels of enums) is the
 * catalog's of now, as Debezium's. So the server is asked before the first row of a table in each
 * stream, and each time that it tells of the table again. Bounded: CAPTURED_MAX tables. */
#pragma once

#include "cdc/captured_relation.h"
#include "cdc/table_counts.h"
#include "change/change_table.h"
#include "config/config.h"
#include "rows/mapped.h"

enum { CAPTURED_MAX = 65536 };

typedef struct Captured Captured;

/* What is known of a table of the log. */
typedef struct CapturedTable {
    uint32_t oid;
    ChangeTable *table;           /* NULL: no mapping means it */
    const MappingConfig *mapping; /* the same */
    Slice topic;                  /* lives as long as the Captured does, as the next */
    Slice name;                   /* schema.table */
    TableCount *count;
    bool told;                  /* in this stream */
    bool met;                   /* columns that were renamed since it was told first are known */
    CapturedRelation *relation; /* as it was told last; NULL: it was not */
} CapturedTable;

/** metrics may be NULL. */
Captured *captured_new(const PipelineConfig *pipeline, Metrics *metrics);
void captured_free(Captured **captured);

/** Connected: the name of the database. */
void captured_set_database(Captured *captured, const char *database);
/** A new stream begins: relations are told anew. */
void captured_restart(Captured *captured);

/** Appends the questions about a relation that is told; their answers come back to
 * captured_read(). */
void captured_add_questions(const PipelineConfig *pipeline, const PgOutputRelation *relation,
                            Text *sql);
/** The same about one that was told before: what the catalog says of it now. */
void captured_add_questions_again(const Captured *captured, uint32_t oid, Text *sql);
/** Those about a table as it is now, for somebody who reads its rows; named as a letter names it.
 */
void captured_add_table_questions(const PipelineConfig *pipeline, const MappedTold *table,
                                  Text *sql);
/** True when it was an answer to one of them. */
bool captured_read(Captured *captured, const PGresult *result, Error *err);

/** Takes a Relation message whose questions were answered. RETRY / PG_PROTOCOL when it is
 * malformed, or of too many. */
Status captured_put(Captured *captured, const PgOutputRelation *relation, Error *err);
/** Takes what the catalog says now of a table that was told before; the same errors. */
Status captured_renew(Captured *captured, uint32_t oid, Error *err);
/** The table as its rows are read from now on, by somebody who asked the catalog about it: the same
 * as a Relation message with these columns. mapping: NULL: none means it. RETRY /
 * CHANGE_SCHEMA_STALE: the catalog does not know it. FATAL: the mapping cannot be followed. */
Status captured_set(Captured *captured, const MappingConfig *mapping,
                    const ChangeRelation *relation, Error *err);
/** Before captured_set(), for rows of now: a column that was renamed since the stream told of the
 * table stays as hidden as it was there. */
void captured_follow(Captured *captured, const Captured *stream, const ChangeRelation *now);
/** The mapping that means the table that was asked about last; NULL: none. */
const MappingConfig *captured_mapping(const Captured *captured);
/** What was read of each of them. */
const TableCounts *captured_counts(const Captured *captured);
/** NULL: neither this stream has told of it, nor was it set. */
const CapturedTable *captured_find(Captured *captured, uint32_t oid);
