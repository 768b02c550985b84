/* wal_filling: what is published from the database before the stream: rows of the outbox from
 * before the slot (wal_fill.h), or the first snapshot of ordinary tables (wal_snapshot.h). */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "flow/batch.h"

typedef struct Filling Filling;

typedef struct FillingOps {
    /** Reads in this snapshot, which the creation of the slot exported. */
    void (*set_snapshot)(Filling *filling, const char *snapshot);
    void (*start)(Filling *filling);
    /** As start, after an interruption: only what is left. */
    void (*go_on)(Filling *filling);
    /** Compares the table with the log, publishes nothing: NEWS_COMPARED. NULL: rows do not tell.
     */
    void (*prove)(Filling *filling);
    /** Unpublished rows that the log does not bring, and the number of the first. */
    size_t (*missed)(const Filling *filling, int64_t *ret_first);
    /** Does what is due: NEWS_FILLED at the end. */
    void (*next)(Filling *filling);
    /** A batch came back, of the filling or of the stream. NULL: its rows tell. */
    void (*came_back)(Filling *filling, const Batch *batch);
    /** Its members in the pipeline's status. NULL: none. */
    void (*status)(const Filling *filling, json_t *pipeline);
    /** Sets its metrics, before a scrape. NULL: it has none. */
    void (*collect)(const Filling *filling);
    /** The last row was read ... */
    bool (*is_complete)(const Filling *filling);
    /** ... and that all is published is written down. */
    bool (*is_recorded)(const Filling *filling);
    /** The pipeline knows that it may begin. */
    bool (*is_announced)(const Filling *filling);
    /** The connections are gone, or the stream was left. */
    void (*close)(Filling *filling);
    /** Nothing of it counts any more. */
    void (*forget)(Filling *filling);
    void (*free)(Filling *filling);
} FillingOps;

struct Filling {
    const FillingOps *ops;
};

static inline void filling_set_snapshot(Filling *filling, const char *snapshot)
{
    filling->ops->set_snapshot(filling, snapshot);
}

static inline void filling_start(Filling *filling)
{
    filling->ops->start(filling);
}

static inline void filling_go_on(Filling *filling)
{
    filling->ops->go_on(filling);
}

static inline void filling_prove(Filling *filling)
{
    filling->ops->prove(filling);
}

static inline size_t filling_missed(const Filling *filling, int64_t *ret_first)
{
    return filling->ops->missed(filling, ret_first);
}

static inline void filling_next(Filling *filling)
{
    filling->ops->next(filling);
}

static inline void filling_came_back(Filling *filling, const Batch *batch)
{
    if (filling->ops->came_back != NULL) {
        filling->ops->came_back(filling, batch);
    }
}

static inline void filling_status(const Filling *filling, json_t *pipeline)
{
    if (filling->ops->status != NULL) {
        filling->ops->status(filling, pipeline);
    }
}

static inline void filling_collect(const Filling *filling)
{
    if (filling->ops->collect != NULL) {
        filling->ops->collect(filling);
    }
}

static inline bool filling_is_complete(const Filling *filling)
{
    return filling->ops->is_complete(filling);
}

static inline bool filling_is_recorded(const Filling *filling)
{
    return filling->ops->is_recorded(filling);
}

static inline bool filling_is_announced(const Filling *filling)
{
    return filling->ops->is_announced(filling);
}

static inline void filling_close(Filling *filling)
{
    filling->ops->close(filling);
}

static inline void filling_forget(Filling *filling)
{
    filling->ops->forget(filling);
}

static inline void filling_free(Filling **filling)
{
    if (*filling != NULL) {
        (*filling)->ops->free(*filling);
        *filling = NULL;
    }
}
