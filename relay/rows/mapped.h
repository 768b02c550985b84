/* mapped: which tables of the database the mappings of a pipeline mean (capture = "tables"), and
 * how each of them stands: its kind, its replica identity, what the pipeline's publications send of
 * it, what of it the relay may read.
 *
 * Names and patterns (mapped_name.h) are compared by the server, in one query, so that whoever asks
 * (the source, the watch, `outboxd check`) means the same tables. Tables of PostgreSQL itself, of
 * schema information_schema and of the outbox's own schema are never meant, nor are temporary ones.
 * Of a partitioned table that is meant, the partitions are not, whatever mapping names them: their
 * rows come under the name of the root (publish_via_partition_root). What inherits from a table
 * without being a partition of it is a table of its own.
 *
 * The query waits for no lock of a table, unless sizes are asked for. */
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"
#include "base/vec.h"
#include "config/config.h"

/* The pipeline's own publication, and that of tables without a usable replica identity. */
enum { MAPPED_FIRST, MAPPED_SECOND, MAPPED_PUBLICATIONS };

typedef struct MappedTable {
    uint32_t oid;
    char *schema;   /* not quoted */
    char *name;     /* likewise */
    char *sql;      /* both, as SQL */
    size_t mapping; /* its place in TablesConfig.mappings: the first that means it */
    char identity;  /* of replicas: d, n, f, i; of a partitioned table that of its partitions, m if
                       they differ */
    bool usable;    /* PostgreSQL lets UPDATE and DELETE pass when they are published */
    bool logged;    /* neither it nor a partition is unlogged */
    unsigned sends; /* bits of OPERATION_: what one of the pipeline's publications sends of it */
    char *under;    /* a partition, whose rows come under this name, as SQL; NULL: under its own */
    bool selects;   /* the relay's role may SELECT all columns */
    bool hidden;    /* row security hides rows from it, or may do so */
    char *entries[MAPPED_PUBLICATIONS]; /* how it is in them; NULL: it is not */
    int64_t rows;                       /* as the planner counts; -1: not asked, or not known */
    int64_t bytes;                      /* with what is out of line; -1: not asked */
} MappedTable;

/* One of the publications, as it was when the server looked. */
typedef struct MappedPublication {
    char *identity;      /* differs when it was dropped and made again, or altered; NULL: there is
                            none, or no table is meant */
    unsigned operations; /* bits of OPERATION_ */
} MappedPublication;

typedef struct MappedPlace {
    uint32_t oid;
    size_t at; /* in Mapped.tables */
} MappedPlace;

typedef struct Mapped {
    VEC(MappedTable) tables; /* by schema and name */
    VEC(MappedPlace) places; /* by OID */
    MappedPublication publications[MAPPED_PUBLICATIONS];
} Mapped;

/* Of what is asked. */
typedef struct MappedQuestion {
    bool sizes; /* rows and bytes, too: for people; waits for who locks a table exclusively */
} MappedQuestion;

/** Appends the query. */
void mapped_add_query(const PipelineConfig *pipeline, const MappedQuestion *question,
                      int server_version, Text *sql);
/* A table as a message of the log tells of it. */
typedef struct MappedTold {
    uint32_t oid;
    const char *schema; /* of then, as the name */
    const char *name;
} MappedTold;

/** Appends another query: which mapping means the table by the name that it had then, or, when none
 * does, by the name that it has now? One row with its place in column MAPPED_BY_NAME, or NULL. */
void mapped_add_name_query(const PipelineConfig *pipeline, const MappedTold *told, Text *sql);
#define MAPPED_BY_NAME "mapping_of_name"
/** True when it is an answer to that query. */
bool mapped_is(const PGresult *result);
/** Reads the answer; what was known before is replaced. RETRY / PG_PROTOCOL when it is none. */
Status mapped_read(const PGresult *result, Mapped *ret, Error *err);
/** NULL: it is not mapped, or not known. */
const MappedTable *mapped_find(const Mapped *mapped, uint32_t oid);
void mapped_clear(Mapped *mapped);

/** The second publication: inserts and truncates. The first one's name and "_inserts", in at most
 * 63 bytes; malloc'd. */
char *mapped_second_publication(const PipelineConfig *pipeline);
