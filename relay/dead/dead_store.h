/* dead_store: the table of events that were set aside, as `outboxd dead` uses it. Blocks, with time
 * limits. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "config/config.h"
#include "pg/session.h"

typedef struct DeadStore {
    const Config *config; /* borrowed */
    PgSession *session;
    char *table;                     /* schema.dead_letter as SQL */
    char *role;                      /* current_user as SQL */
    const PipelineConfig *looked_at; /* the last whose table was looked at; NULL: none yet */
    uint32_t absent;                 /* columns that it does not have */
} DeadStore;

/* NULL: any. */
typedef struct DeadFilter {
    const char *pipeline;
    const char *code;
} DeadFilter;

/* Columns of what dead_store_list finds. */
enum {
    DEAD_ID,
    DEAD_AT, /* ISO 8601, UTC */
    DEAD_PIPELINE,
    DEAD_EVENT_TYPE,
    DEAD_KEY, /* aggregate_id, else the record's key where it is text */
    DEAD_CODE,
    DEAD_REASON,
    DEAD_ATTEMPTS,
    DEAD_EVENT_ID,
    DEAD_LSN,    /* of an event that has no row to be found by, else NULL */
    DEAD_LISTED, /* number of these */
    /* Further ones of dead_store_find. */
    DEAD_SEQ = DEAD_LISTED,
    DEAD_EVENT, /* a JSON object, or NULL */
    DEAD_TOPIC, /* what follows is the record, as far as it was made */
    DEAD_RECORD_KEY,
    DEAD_RECORD_VALUE, /* both as bytea in hex */
    DEAD_RECORD_HEADERS,
    DEAD_RECORD_TIMESTAMP,
    DEAD_CLASS,
    DEAD_AGE,      /* seconds */
    DEAD_WHOLE,    /* false: the event could not be stored whole */
    DEAD_ASKED_AT, /* ISO 8601, UTC: the relay was asked to read its row again; or NULL */
    DEAD_LARGE, /* a JSON object: octets of each value that stands apart of DEAD_EVENT; or NULL */
};

/** Connects and finds the table: in the schema of the table of the pipelines (of `pipeline`, if it
 * is configured; NULL: all of them), else in "outbox". FATAL with EXIT_CONFIG when they keep theirs
 * in different tables; errors of PostgreSQL have EXIT_POSTGRES. */
Status dead_store_open(const Config *config, const char *pipeline, DeadStore *ret_store,
                       Error *err);
void dead_store_close(DeadStore *store);

/** The newest `limit` (0: all, oldest first); *ret_total counts all that match. To be freed with
 * PQclear. */
Status dead_store_list(const DeadStore *store, const DeadFilter *filter, int64_t limit,
                       PGresult **ret_rows, int64_t *ret_total, Error *err);

/** One with all columns; no row when there is none of that id, which is a number, or the id of an
 * event: then its newest one. lock: it cannot go away until the
 * end of the transaction. */
Status dead_store_find(const DeadStore *store, const char *id, bool lock, PGresult **ret_row,
                       Error *err);

/** Deletes one; the columns are those of dead_store_list, no row when it is not there. */
Status dead_store_discard(const DeadStore *store, const char *id, PGresult **ret_row, Error *err);

/** For a statement (`what`: its first words) that changed nothing of a row that is there: FAILED,
 * POISON / DEAD_LETTER_IGNORED. */
Status dead_store_ignored(const char *what, const char *table, Error *err);

typedef enum DeadOutcome {
    DEAD_REQUEUED,
    DEAD_ASKED,    /* a change: the relay reads its row again, and deletes the dead letter */
    DEAD_REPLACED, /* as well, and the row it came from is gone: event_id is unique there */
    DEAD_GONE,     /* not there, or not any more */
    DEAD_REFUSED,  /* it stays; err says why */
} DeadOutcome;

/** In one transaction: a row for the event in its pipeline's table, and the dead letter is deleted;
 * or, of a change of a table, the relay is asked to read its row again.
 * FAILED only when nothing further can succeed (connection, rights). *ret_row as by
 * dead_store_find, to be freed with PQclear; NULL unless it was there. */
Status dead_store_requeue(DeadStore *store, const char *id, DeadOutcome *ret_outcome,
                          PGresult **ret_row, Error *err);
