/* coming: the rows of one table that the log will bring, by their numbers, from messages that are
 * read ahead. */
#pragma once

#include "cdc/relation.h"
#include "rows/mark_positions.h"

typedef struct Coming Coming;

Coming *coming_new(void);
void coming_free(Coming **coming);
/** Nothing is known. */
void coming_clear(Coming *coming);

/** The outbox is `like`, with this OID and the parts that the row of tree_add_query() tells of. */
void coming_know(Coming *coming, const Relations *like, uint32_t table_oid, const PGresult *tree);
/** Messages follow. What is done by `from` does not come, and rows of other tables than `owner` do
 * not count. */
void coming_begin(Coming *coming, const MarkerPosition *from, uint32_t owner);
Status coming_take(Coming *coming, Slice data, Error *err);
/** That was the last. */
void coming_end(Coming *coming);
bool coming_has(const Coming *coming, int64_t seq);
