/* publisher: who may publish an outbox table, and the session that holds that right.
 *
 * The right is a session advisory lock, one for each table: two relays with different
 * configurations of the same table exclude each other, too. Sources that leave rows as they are
 * (on_publish = "keep") share it. Here are what both sides of a lock agree on, the settings of our
 * sessions, and statements about the row that tells who publishes; trying the lock, and ending a
 * holder that was silent for too long, is claim/claim_lock.c. */
#pragma once

#include <stdint.h>

#include "base/text.h"
#include "config/config.h"
#include "pg/conn.h"
#include "rows/history.h"

enum {
    /* "outb": first key of the advisory lock; the second is the table's OID. */
    PUBLISHER_LOCK_CLASS = 0x6F757462,
    PUBLISHER_MARGIN_MS = 2000,
    PUBLISHER_HOLDER_MAX = 240,
};

/** Appends the SETs that make texts independent of the server's configuration. lease: the session
 * is given up by the server when it is silent longer than that (and a margin), and its name tells
 * others the host and the process that hold the lock. */
void publisher_add_settings(const Config *config, const PipelineConfig *pipeline, bool lease,
                            const PGconn *raw, Text *sql);

/** Appends the statement whose row tells by whom we are served, in its column "backend_pid", and
 * what it knows of a pooled session of ours, in "session_mark". */
void publisher_add_pooler_query(Text *sql);
/** Judges it. Behind a pooler the session must still be ours alone, and what needs a replication
 * connection beside it must have a connection string for that. POSTGRES_POOLER: it is not so. */
Status publisher_check_pooler(const Config *config, const PgConn *conn, const PGresult *result,
                              bool replication, Error *err);
/** What it says of the connection string that is missing: always FAILED, with POSTGRES_POOLER. */
Status publisher_refuse_replication(Error *err);
/** How long a statement waits for the lock of another session before it gives up. */
int64_t publisher_lock_timeout_ms(const PipelineConfig *pipeline);
/** Appends the SET for it: for sessions whose statements are tried again. */
void publisher_add_lock_timeout(const PipelineConfig *pipeline, Text *sql);

/** Appends a statement that makes this generation the owner of a table that is polled, and raises
 * the count. Its row has `claimed`, 0 if the row is not as it was found (`found`; NULL: it may be
 * as it likes), and the `ctid`. */
void publisher_add_claim(const PipelineConfig *pipeline, const char *row_table, uint32_t table_oid,
                         const char *generation, const History *found, Text *sql);

/** Appends a statement that gives up the lock of a table. */
void publisher_add_unlock(uint32_t table_oid, Text *sql);
