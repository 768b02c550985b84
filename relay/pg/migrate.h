/* migrate: brings the outbox schema of a database to a version and back.
 *
 * Used by one command on one thread; calls block. A Migrate owns its connection and, from
 * migrate_lock on, the schema's migration lock. Nothing is changed unless everything that can be
 * checked beforehand was found right. Errors carry exit code 2 (1 for a malformed connection
 * string), the place, and the remedy as hint. */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "sql/migrations.h"

typedef struct Migrate Migrate;

/* What the database says about one migration. */
typedef struct MigrateRecord {
    bool applied;
    char at[32];              /* UTC, "2026-11-21 09:12:44Z" */
    char by[64];              /* role, cut at 63 bytes */
    char outboxd_version[32]; /* that applied it */
} MigrateRecord;

/* One migration was applied or taken back; notices are the server's, a line each, or "". */
typedef void MigrateStep(void *context, const Migration *migration, long duration_ms,
                         const char *notices);

/** Connects. text is a connection string or URI, or NULL for libpq's own environment; schema
 * was checked by migrate_script_check_schema. *ret_migrate is freed with migrate_close. */
Status migrate_open(const char *text, const char *schema, Migrate **ret_migrate, Error *err);

/** Waits (up to 30 s) until no other migration of this schema runs. */
Status migrate_lock(Migrate *migrate, Error *err);

/** Reads what is applied and refuses what this program must not touch: tables that are not ours, a
 * newer database, changed migrations. */
Status migrate_read(Migrate *migrate, Error *err);

/** "shop at db:5432 (15.20)"; owned by migrate. */
const char *migrate_place(const Migrate *migrate);

/** Valid after migrate_read, for 0 <= index < MIGRATION_COUNT; owned by migrate. */
const MigrateRecord *migrate_record(const Migrate *migrate, size_t index);

/** True when the migration at index is to be applied to reach `last`; roles as for migrate_up. */
bool migrate_pending(const Migrate *migrate, size_t index, int last, bool roles);

/** Applies what is pending up to version `last`, each in its own transaction; roles = false leaves
 * out the migrations that make roles. What was applied before an error stays. */
Status migrate_up(Migrate *migrate, int last, bool roles, MigrateStep *step, void *context,
                  Error *err);

/** Takes back everything above version `to` in one transaction, or nothing. */
Status migrate_down(Migrate *migrate, int to, MigrateStep *step, void *context, Error *err);

/** Makes the publication outboxd_outbox of inserts into the table event, unless it is there;
 * migration 1 must be applied. Refuses another one of that name. *ret_wal_level, the server's
 * setting, is freed by the caller. */
Status migrate_publish(Migrate *migrate, bool *ret_created, char **ret_wal_level, Error *err);

/** Takes NULL and half-built objects. */
void migrate_close(Migrate **migrate);
