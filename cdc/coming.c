#include "cdc/coming.h"

#include <stdlib.h>

#include "base/memory.h"
#include "cdc/known.h"

enum { COMING_BATCH = 1000 }; /* events read before their memory is given back */

struct Coming {
    Relations *relations;
    Tree *tree;
    PgOutputReader reader;
    MarkerPosition from; /* what lies before it does not come */
    uint32_t owner;
    uint64_t commit_lsn;
    uint64_t ordinal;
    Batch *batch;
    KnownSeqs seqs;
};

/* The slot may stand before the position: what lies between was acknowledged, and comes no more. */
static bool coming_is_done(const Coming *coming)
{
    const MarkerPosition *from = &coming->from;
    return coming->commit_lsn < from->lsn || coming->commit_lsn < from->tx_lsn ||
           (coming->commit_lsn == from->tx_lsn && coming->ordinal <= from->tx_ordinal);
}

static Status coming_insert(Coming *coming, const PgOutputChange *change, Error *err)
{
    const Relations *relations = coming->relations;
    bool known = false;
    const Relation *relation = relations_find(relations, change->relation, &known);
    coming->ordinal += relation != NULL; /* as in assemble.c */
    bool in_table = relations_owner(relations, change->relation) == coming->owner;
    if (relation == NULL || !in_table || coming_is_done(coming)) {
        return OK;
    }
    if (coming->batch == NULL) {
        coming->batch = batch_new();
    }
    Event *event = NULL;
    Status status =
        relation_read_row(relation, &change->new_tuple, NULL, coming->batch, &event, err);
    if (status == OK && event != NULL && event->seq != EVENT_NO_SEQ) {
        known_seqs_add(&coming->seqs, event->seq);
    }
    if (coming->batch->count >= COMING_BATCH) {
        batch_free(&coming->batch);
    }
    return status;
}

Status coming_take(Coming *coming, Slice data, Error *err)
{
    PgOutput message;
    if (pgoutput_read(&coming->reader, data, &message, err) != OK) {
        return FAILED;
    }
    switch (message.kind) {
    case PGOUTPUT_BEGIN:
        coming->commit_lsn = message.begin.final_lsn;
        coming->ordinal = 0;
        return OK;
    case PGOUTPUT_RELATION:
        return relations_put(coming->relations, &message.relation, err);
    case PGOUTPUT_TYPE:
        return relations_put_type(coming->relations, &message.type, err);
    case PGOUTPUT_INSERT:
        return coming_insert(coming, &message.change, err);
    default:
        return OK;
    }
}

bool coming_has(const Coming *coming, int64_t seq)
{
    return known_seqs_has(&coming->seqs, seq);
}

void coming_know(Coming *coming, const Relations *like, uint32_t table_oid, const PGresult *tree)
{
    relations_release(coming->relations);
    tree_release(coming->tree);
    *coming->relations = (Relations){.table = like->table,
                                     .table_oid = table_oid,
                                     .tree = coming->tree,
                                     .old = like->old,
                                     .schema = x_strdup(like->schema),
                                     .name = x_strdup(like->name)};
    (void)tree_read(coming->tree, tree, 0, false);
}

void coming_begin(Coming *coming, const MarkerPosition *from, uint32_t owner)
{
    coming->reader = (PgOutputReader){.protocol = 1};
    coming->from = *from;
    coming->owner = owner;
}

void coming_end(Coming *coming)
{
    batch_free(&coming->batch);
}

void coming_clear(Coming *coming)
{
    Relations *relations = coming->relations;
    Tree *tree = coming->tree;
    relations_release(relations);
    tree_release(tree);
    batch_free(&coming->batch);
    known_seqs_release(&coming->seqs);
    *coming = (Coming){.relations = relations, .tree = tree};
}

Coming *coming_new(void)
{
    Coming *coming = x_calloc(1, sizeof(*coming));
    coming->relations = x_calloc(1, sizeof(*coming->relations));
    coming->tree = x_calloc(1, sizeof(*coming->tree));
    return coming;
}

void coming_free(Coming **coming)
{
    if (*coming == NULL) {
        return;
    }
    coming_clear(*coming);
    free((*coming)->relations);
    free((*coming)->tree);
    free(*coming);
    *coming = NULL;
}
