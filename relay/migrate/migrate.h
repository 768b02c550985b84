/* migrate: brings the outbox schema of a database to a version and back.
 *
 * Used by one command on one thread; calls block. A Migrate owns its connection and, from
 * migrate_lock on, the schema's migration lock. Nothing is changed unless everything that can be
 * checked beforehand was found right. Errors carry exit code 2 (1 for a malformed connection
 * string), the place, and the remedy as hint. */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "migrate/migrate_script.h"
#include "sql/migrations.h"

typedef struct Migrate Migrate;

/* What the database says about one migration. */
typedef struct MigrateRecord {
    bool applied;
    bool skipped;             /* noted as left out: not applied, and not pending */
    char at[32];              /* UTC, "2026-11-21 09:12:44Z" */
    char by[64];              /* role, cut at 63 bytes */
    char outboxd_version[32]; /* that applied it */
} MigrateRecord;

/* One migration was "applied", "skipped", "removed" or "recorded"; notices are the server's, a line
 * each, or "". */
typedef void MigrateStep(void *context, const Migration *migration, const char *outcome,
                         long duration_ms, const char *notices);

/** Connects. text is a connection string or URI, or NULL for libpq's own environment; pooled: a
 * pooler in session mode may be in between; schema was checked by migrate_script_check_schema.
 * *ret_migrate is freed with migrate_close. */
Status migrate_open(const char *text, bool pooled, const char *schema, Migrate **ret_migrate,
                    Error *err);

/** Waits (up to 30 s) until no other migration of this schema runs. */
Status migrate_lock(Migrate *migrate, Error *err);

/** Reads what is applied and refuses what this program must not touch: tables that are not ours, a
 * newer database, changed migrations. */
Status migrate_read(Migrate *migrate, Error *err);

/** The same for migrate_baseline: a table `migration` without rows is no error. */
Status migrate_read_bare(Migrate *migrate, Error *err);

/** "shop at db:5432 (15.20)"; owned by migrate. */
const char *migrate_place(const Migrate *migrate);

/** Valid after migrate_read, for 0 <= index < MIGRATION_COUNT; owned by migrate. */
const MigrateRecord *migrate_record(const Migrate *migrate, size_t index);

/** True when the migration at index is not applied and was not left out; roles = false passes over
 * those that make roles. */
bool migrate_pending(const Migrate *migrate, size_t index, int last, bool roles);

/** True when migrate_up has something to do for the migration at index. */
bool migrate_due(const Migrate *migrate, size_t index, int last, MigrateRoles roles);

/** Does what is due up to version `last`, each in its own transaction. What was applied before an
 * error stays. */
Status migrate_up(Migrate *migrate, int last, MigrateRoles roles, MigrateStep *step, void *context,
                  Error *err);

/** Records what a copy without rows (pg_dump -s) holds already, after comparing it with a schema
 * that is made and rolled back: all that is whole, or nothing. FAILED when a migration is there in
 * part, or none is. */
Status migrate_baseline(Migrate *migrate, MigrateStep *step, void *context, Error *err);

/** Takes back everything above version `to` in one transaction, or nothing. */
Status migrate_down(Migrate *migrate, int to, MigrateStep *step, void *context, Error *err);

/** Makes the publication outboxd_outbox of inserts into the table event, unless it is there;
 * migration 1 must be applied. Refuses another one of that name. *ret_wal_level, the server's
 * setting, is freed by the caller. */
Status migrate_publish(Migrate *migrate, bool *ret_created, char **ret_wal_level, Error *err);

/** FAILED unless each of these roles exists. */
Status migrate_check_grantees(Migrate *migrate, const MigrateGrantees *grantees, Error *err);

/** Gives these roles the rights of the group roles in a schema with the migrations up to `last`, in
 * one transaction; twice changes nothing. */
Status migrate_grant(Migrate *migrate, int last, const MigrateGrantees *grantees, Error *err);

/** Closes pg_logical_emit_message to PUBLIC; migrate_notices says for whom it stays open. */
Status migrate_guard(Migrate *migrate, Error *err);

/** Looks for what the migrations could not see to: roles that may not use the schema, of grantees
 * or (NULL) the group roles, and row security on our tables. *ret_text has a line for each, with
 * the statement that mends it, or is empty; freed by the caller. */
Status migrate_look_around(Migrate *migrate, const MigrateGrantees *grantees, char **ret_text,
                           Error *err);

/** Whether the connected role may make others members of both group roles. */
Status migrate_may_grant(Migrate *migrate, bool *ret_may, Error *err);

/** The server's notices of the last step, a line each; owned by migrate. */
const char *migrate_notices(const Migrate *migrate);

/** The owner of the schema when the connected role is not a member of it, else NULL; valid after
 * migrate_read, owned by migrate. */
const char *migrate_foreign_owner(const Migrate *migrate);

/** The connected role; owned by migrate. */
const char *migrate_user(const Migrate *migrate);

/** Takes NULL and half-built objects. */
void migrate_close(Migrate **migrate);
