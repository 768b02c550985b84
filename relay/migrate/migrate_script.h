/* migrate_script: the SQL that applies a migration or takes it back, as text. `outboxd migrate`
 * runs these texts; `outboxd migrate --print` writes the same ones, each in a block that looks
 * first whether it was run already, so both leave the same database.
 *
 * A script is migrate_script_begin, one or more of the others, migrate_script_end.
 * Pure functions; no database. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/text.h"
#include "sql/migrations.h"

enum { MIGRATE_GRANTEES_MAX = 32 };

/* What becomes of the migrations that make the cluster-wide group roles. */
typedef enum MigrateRoles {
    MIGRATE_ROLES_AS_NOTED, /* made, unless --no-roles left them out before */
    MIGRATE_ROLES_SKIP,     /* noted as left out, unless they are there */
    MIGRATE_ROLES_MAKE,     /* made, also where they were left out before */
} MigrateRoles;

/* Roles that get the rights of the group roles in this database alone. */
typedef struct MigrateGrantees {
    const char *writers[MIGRATE_GRANTEES_MAX];
    size_t writer_count;
    const char *relays[MIGRATE_GRANTEES_MAX];
    size_t relay_count;
} MigrateGrantees;

/* What --print writes. */
typedef struct MigratePrint {
    const char *schema;
    int from; /* first version */
    int last;
    MigrateRoles roles;
    bool wal; /* with the publication */
    const MigrateGrantees *grantees;
} MigratePrint;

/** FAILED (exit code 1) unless schema can be a schema of ours: 1 to 63 bytes of UTF-8 without
 * control characters, '$' and '\', and neither public nor one of PostgreSQL's own names. */
Status migrate_script_check_schema(const char *schema, Error *err);

/** Appends a template of sql/ with the schema's name put in. */
void migrate_script_template(Text *out, const char *template, const char *schema);

/** The schema's name as the templates write it: bare where that is certainly no keyword. */
void migrate_script_identifier(Text *out, const char *name);

/** Opens a transaction with its lock time-out, search_path and the schema's migration lock. */
void migrate_script_begin(Text *out, const char *schema);

/** Applies one migration and notes it in the table `migration`. */
void migrate_script_up(Text *out, const char *schema, const Migration *migration);

/** Notes one migration in the table `migration` without running it: as applied, or as left out. */
void migrate_script_note(Text *out, const char *schema, const Migration *migration, bool skipped);

/** Deletes that note. */
void migrate_script_forget(Text *out, const char *schema, const Migration *migration);

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

/** The remedy for a migration of another checksum, which outboxd `made_by` applied. */
void migrate_script_changed_hint(Text *out, const char *schema, const char *made_by);

/** The rights of the group roles for these roles: the GRANT lines of the migrations up to `last`
 * that make roles, each with another role at its end. */
void migrate_script_grants(Text *out, const char *schema, int last,
                           const MigrateGrantees *grantees);
/** Those of one migration. */
void migrate_script_grants_of(Text *out, const char *schema, const Migration *migration,
                              const MigrateGrantees *grantees);

/** A block that warns, with the statement for the schema's owner, when one of these roles may not
 * use the schema: GRANT by somebody else than its owner is no error. Without grantees it is about
 * the group roles, where the database has them. */
void migrate_script_check_usage(Text *out, const char *schema, const MigrateGrantees *grantees);

/** Closes pg_logical_emit_message to PUBLIC. */
void migrate_script_guard(Text *out, const char *schema);

/** Everything that --print writes on the way forward: a transaction for each migration, which does
 * nothing but say so where that migration is applied already. */
void migrate_print_up(Text *out, const MigratePrint *print);

/** The way back from the newest migration to version `to`, in one transaction. */
void migrate_print_down(Text *out, const char *schema, int to);

/** What --guard-messages --print writes. */
void migrate_print_guard(Text *out, const char *schema);

/** Name for people: "outbox_table" becomes "outbox table". */
void migrate_script_title(Text *out, const Migration *migration);
