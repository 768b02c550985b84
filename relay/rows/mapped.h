/* mapped: which tables of the database the mappings of a pipeline mean (capture = "tables"), and
 * how each of them stands: its kind, its replica identity, what the pipeline's publications send of
 * it, what of it the relay may read.
 *
 * Names and patterns are compared by the server, in one query, so that whoever asks (the source,
 * the watch, `outboxd check`) means the same tables. A part of a mapping's name without quotes is
 * folded to lower case, as SQL does; one in double quotes is taken as it is. Tables of PostgreSQL
 * itself, of schema information_schema and of the outbox's own schema are never meant. Of a
 * partitioned table that is meant, the partitions are not, whatever pattern they match: their rows
 * come under the name of the root (publish_via_partition_root). */
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"
#include "base/vec.h"
#include "config/config.h"

typedef struct MappedTable {
    uint32_t oid;
    char *schema;   /* not quoted */
    char *name;     /* likewise */
    char *sql;      /* both, as SQL */
    size_t mapping; /* its place in TablesConfig.mappings */
    bool twice;     /* another mapping means it, too */
    char kind;      /* of pg_class: r, p */
    char identity;  /* of replicas: d, n, f, i */
    bool usable;    /* PostgreSQL lets UPDATE and DELETE pass when they are published */
    bool logged;    /* neither unlogged nor temporary */
    bool inserts;   /* the pipeline's publications send them ... */
    bool updates;
    bool deletes;
    bool truncates;
    bool readable; /* SELECT, and no row security that hides rows from the relay's role */
} MappedTable;

typedef struct Mapped {
    VEC(MappedTable) tables; /* by schema and name */
} Mapped;

/** Appends the query; only: of this table alone (an OID), 0: of all. */
void mapped_add_query(const PipelineConfig *pipeline, uint32_t only, int server_version, Text *sql);
/** True when it is an answer to that query. */
bool mapped_is(const PGresult *result);
/** Reads the answer; what was known before is replaced. RETRY / PG_PROTOCOL when it is none. */
Status mapped_read(const PGresult *result, Mapped *ret, Error *err);
/** NULL: it is not mapped, or not known. */
const MappedTable *mapped_find(const Mapped *mapped, uint32_t oid);
void mapped_clear(Mapped *mapped);

/** The second publication, of tables without a usable replica identity: inserts and truncates. */
char *mapped_second_publication(const PipelineConfig *pipeline);
