/* relation: what the columns of a row in the stream mean. Every Relation message replaces what was
 * known of its table. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cdc/pgoutput.h"
#include "config/config.h"
#include "flow/batch.h"

typedef struct Relation Relation;
typedef struct RelationType RelationType;

typedef struct Relations {
    const PipelineConfig *pipeline;
    uint32_t table_oid; /* of the outbox table */
    char *schema;
    char *name;
    Relation **items;
    size_t count;
    RelationType *types; /* that are not built in */
    size_t type_count;
} Relations;

/** Forgets every relation: a new stream begins. */
void relations_reset(Relations *relations);
void relations_release(Relations *relations);

/** Takes a Relation message. RETRY / PG_PROTOCOL when it is malformed; FATAL / COLUMN_MISSING when
 * the outbox table has lost a column that an event cannot be without. */
Status relations_put(Relations *relations, const PgOutputRelation *message, Error *err);

/** Takes a Type message: what a domain stands for. It precedes the relations that use it. */
void relations_put_type(Relations *relations, const PgOutputType *message);

/** The relation, or NULL when it is not the outbox table. *ret_known is false when no Relation
 * message told of it, which is a violation of the protocol. */
const Relation *relations_find(const Relations *relations, uint32_t id, bool *ret_known);

/** Adds the event of an inserted row to the batch, exactly as polling reads it: its bytes are
 * copied to the batch's arena. RETRY / PG_PROTOCOL when the row does not fit its relation. */
Status relation_read_row(const Relation *relation, const PgOutputTuple *tuple, Batch *batch,
                         Event **ret_event, Error *err);
