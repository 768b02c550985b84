/* relation: what the columns of a row in the stream mean. Every Relation message replaces what was
 * known of its table.
 *
 * A partitioned outbox arrives under the names of its leaves, unless the publication publishes by
 * the root; so does one with inherited tables. Which OIDs are ours is in the tree (tree.h). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cdc/old_tables.h"
#include "cdc/pgoutput.h"
#include "config/config.h"
#include "flow/batch.h"
#include "rows/table.h"

/* What a stream tells of is kept within these, whatever it tells: some 10 MB in all with 20 columns
 * of events. Tables that are none of ours are forgotten, the first told first; more of the others
 * are a violation of the protocol, and the next stream begins with none. */
enum {
    RELATIONS_MAX = 16384, /* of ours: partitions */
    RELATIONS_STRANGERS_MAX = 65536,
    RELATIONS_TYPES_MAX = 4096, /* domains over the few types that are converted */
};

typedef struct Relation Relation;
typedef struct RelationType RelationType;

typedef struct Relations {
    const OutboxTable *table; /* borrowed */
    uint32_t table_oid;       /* of the outbox table */
    uint32_t absent;          /* columns, as OutboxTable has them: may be missing in the log, too */
    char *schema;
    char *name;
    Tree *tree;           /* borrowed: outlives the stream */
    const OldTables *old; /* are ours, too; borrowed; NULL: none */
    Relation **items;     /* ours */
    size_t count;
    uint32_t *strangers; /* ring of OIDs; those that were told first went first */
    size_t stranger_count;
    size_t stranger_next; /* where the next is put once it is full */
    bool forgot;          /* a stranger: who is not known is one */
    RelationType *types;  /* that are not built in, over one that is converted */
    size_t type_count;
} Relations;

/** Forgets every relation: a new stream begins. */
void relations_reset(Relations *relations);
void relations_release(Relations *relations);

/** True when the relation has every column that an event needs. */
bool relations_could_be_ours(const Relations *relations, const PgOutputRelation *message);

/** True when only the server can tell what the relation is: its OID is not known, it was none of
 * ours and could be by now, or it is ours and lacks a column that is used. */
bool relations_must_ask(const Relations *relations, const PgOutputRelation *message);

/** True when it is ours, and a message of this stream told of it before. The server tells again
 * after each change of its catalog entries (pgoutput.c: rel_sync_cache_publication_cb). */
bool relations_told_before(const Relations *relations, const PgOutputRelation *message);

/** The table of ours that a relation is, or is a part of, by its OID: the outbox table or an old
 * one; 0: none. */
uint32_t relations_owner(const Relations *relations, uint32_t id);

/** True when the relation is ours by its name alone: a table that had the configured name then. */
bool relations_own_by_name(const Relations *relations, const PgOutputRelation *message);

/** Takes a Relation message. RETRY / PG_PROTOCOL when it is malformed; FATAL / COLUMN_MISSING when
 * the outbox table has lost a column that an event cannot be without; FATAL / COLUMN_GENERATED when
 * one that is used is generated, and the server does not send it. */
Status relations_put(Relations *relations, const PgOutputRelation *message, Error *err);

/** Takes a Type message: what a domain stands for. It precedes the relations that use it. RETRY /
 * PG_PROTOCOL when there are too many. */
Status relations_put_type(Relations *relations, const PgOutputType *message, Error *err);

/** The relation, or NULL when it is not the outbox table. *ret_known is false when no Relation
 * message told of it, which is a violation of the protocol; one of ours is never forgotten. */
const Relation *relations_find(const Relations *relations, uint32_t id, bool *ret_known);

/** Adds the event of an inserted row to the batch, exactly as polling reads it: its bytes are
 * copied to the batch's arena; those of a large row are kept there with the whole *message, a
 * buffer of libpq that then is the arena's (*message is NULL). A row over event_bytes_max is
 * refused. *ret_event is NULL, and nothing was added, when the row was inserted
 * as published already (a restore, an archive). RETRY / PG_PROTOCOL when the row does not fit its
 * relation. */
Status relation_read_row(const Relation *relation, const PgOutputTuple *tuple, char **message,
                         Batch *batch, Event **ret_event, Error *err);
