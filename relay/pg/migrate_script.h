/* migrate_script: the SQL that applies a migration or takes it back, as text. `outboxd migrate`
 * runs exactly this text and `outboxd migrate --print` writes it, so both leave the same database.
 *
 * A script is migrate_script_begin, one or more migrate_script_up or _down, migrate_script_end.
 * Pure functions; no database. */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "base/text.h"
#include "sql/migrations.h"

/** FAILED (exit code 1) unless schema can be a schema of ours: 1 to 63 bytes of UTF-8 without
 * control characters, '$' and '\', and not one of PostgreSQL's own names. */
Status migrate_script_check_schema(const char *schema, Error *err);

/** Opens a transaction with its lock time-out, search_path and the schema's migration lock. */
void migrate_script_begin(Text *out, const char *schema);

/** Applies one migration and notes it in the table `migration`. */
void migrate_script_up(Text *out, const char *schema, const Migration *migration);

/** Takes one migration back and its note with it. */
void migrate_script_down(Text *out, const char *schema, const Migration *migration);

/** Makes the publication that capture = "wal" reads. */
void migrate_script_publication(Text *out, const char *schema);

/** What an administrator runs besides for capture = "wal", a line each behind `indent`; wal_level
 * is the server's, or NULL when unknown. */
void migrate_script_wal_advice(Text *out, const char *schema, const char *indent,
                               const char *wal_level);

void migrate_script_end(Text *out);

/** SQL expression (bigint) with the key of the schema's migration lock. */
void migrate_script_lock_key(Text *out, const char *schema);

/** Everything that --print writes: migrations 1 to last with a transaction each, without those that
 * make roles unless roles is set; with wal, the publication behind them. */
void migrate_script_print_up(Text *out, const char *schema, int last, bool roles, bool wal);

/** The way back from the newest migration to version `to`, in one transaction. */
void migrate_script_print_down(Text *out, const char *schema, int to);

/** Name for people: "outbox_table" becomes "outbox table". */
void migrate_script_title(Text *out, const Migration *migration);
