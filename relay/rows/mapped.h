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
 * The query waits for no lock of a table, unless sizes or filters are asked for. */
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

/* What is known of the filter of its mapping (mapped_filter.h). */
typedef enum MappedFit {
    MAPPED_FITS, /* there is none, or it may stand in any publication */
    MAPPED_UNASKED,
    MAPPED_OUTSIDE, /* it uses columns outside of the replica identity: PostgreSQL would refuse the
                       application's UPDATE and DELETE in a publication of these */
    MAPPED_UNFIT,   /* PostgreSQL has no use for it */
} MappedFit;

typedef struct MappedFilter {
    char *has[MAPPED_PUBLICATIONS]; /* the row filters of the table's own entries, as PostgreSQL
                                       writes them; NULL: none, or not asked */
    char *columns;                  /* that it may use, as mapped_filter.c reads them; NULL: not
                                       asked */
    MappedFit fit;
    bool other[MAPPED_PUBLICATIONS]; /* the entry has not the filter of the mapping alone */
    bool listed;                     /* an entry has a column list */
} MappedFilter;

typedef struct MappedTable {
    uint32_t oid;
    char *schema;    /* not quoted */
    char *name;      /* likewise */
    char *sql;       /* both, as SQL */
    size_t mapping;  /* its place in TablesConfig.mappings: the first that means it */
    bool by_pattern; /* no mapping names it */
    char identity;   /* of replicas: d, n, f, i; of a partitioned table that of its partitions, m if
                        they differ */
    bool usable;     /* PostgreSQL lets UPDATE and DELETE pass when they are published */
    bool logged;     /* neither it nor a partition is unlogged */
    unsigned sends;  /* bits of OPERATION_: what one of the pipeline's publications sends of it */
    char *under;     /* a partition, whose rows come under this name, as SQL; NULL: under its own */
    bool selects;    /* the relay's role may SELECT all columns */
    bool hidden;     /* row security hides rows from it, or may do so */
    char *entries[MAPPED_PUBLICATIONS]; /* how it is in them; NULL: it is not */
    MappedFilter *filter;               /* NULL: the mapping has none */
    char *columns;                      /* that the lists of its mapping name, and their numbers:
                                           mapped_column_next(); NULL: none, or not asked */
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
    bool sizes;   /* rows and bytes, too: for people; waits for who locks a table exclusively */
    bool columns; /* that the lists of a mapping name */
    bool filters; /* of tables whose mapping has a filter: what mapped_filter.h tests; waits for who
                     locks one of these exclusively */
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
/** The next of MappedTable.columns, from *at on, which moves; its name is a part of it. 0: the end.
 */
uint16_t mapped_column_next(const char **at, Slice *ret_name);
/** NULL: it is not mapped, or not known. */
const MappedTable *mapped_find(const Mapped *mapped, uint32_t oid);
void mapped_clear(Mapped *mapped);

/** The filter of a mapping; NULL: it has none. */
const char *mapped_filter_of(const MappingConfig *mapping);
/** What is known of it for a table. */
MappedFit mapped_fit(const MappedTable *table);
/** The condition on the rows of a table that the publications send, as PostgreSQL has it; of a
 * table that is in none, the filter of its mapping; NULL: all rows. */
const char *mapped_row_filter(const PipelineConfig *pipeline, const MappedTable *table);
/** A mapping of the pipeline has one. */
bool mapped_has_filters(const PipelineConfig *pipeline);
/** What reads the tables themselves besides the stream, for people; NULL: nothing does. */
const char *mapped_reader(const PipelineConfig *pipeline);
/** The mapping captures updates or deletes. */
bool mapped_wants_changes(const MappingConfig *mapping);

/** The second publication: inserts and truncates. The first one's name and "_inserts", in at most
 * 63 bytes; malloc'd. */
char *mapped_second_publication(const PipelineConfig *pipeline);
