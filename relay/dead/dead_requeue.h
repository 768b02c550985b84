/* dead_requeue: the INSERT that makes an event again from what its dead letter kept. */
#pragma once

#include "base/error.h"
#include "base/vec.h"
#include "config/config.h"

typedef struct DeadInsert {
    char *sql;
    const char **values; /* texts for the columns' own types; NULL entry: SQL NULL */
    int count;
    char *table; /* quoted */
    void *json;  /* owns the texts */
} DeadInsert;

/* Values that stand apart of the JSON: SQL that makes each again, without its bytes coming here. */
typedef struct DeadLarge {
    char *name; /* as in event_large */
    char *sql;
} DeadLarge;

typedef VEC(DeadLarge) DeadLarges;

/** event: the JSON object that rows/dead_letter.c wrote, or NULL; large: what stands apart of it,
 * or NULL. absent: columns that the table does not have, as OutboxTable has them. Every column that
 * was kept is set; seq and published_at are left to the table. POISON / EXIT_CONFIG when it holds
 * no event, or a value for which the table has no column. */
Status dead_insert_build(const PipelineConfig *pipeline, uint32_t absent, const char *event,
                         const DeadLarges *large, DeadInsert *ret_insert, Error *err);
void dead_insert_free(DeadInsert *insert);
