/* companion: the tables and views of ours that stand beside an outbox table: which relation is
 * one, for everybody who looks for it.
 *
 * It is in the schema of the outbox table, else in schema outbox, has the name, and has the columns
 * that ours has: an application may well have a relation of that name in its own schema, and then
 * that of schema outbox is meant. Comments do not tell, since a dump may leave them out. Its owner
 * tells that it is ours, and not of somebody who may create tables there. */
#pragma once

#include "base/text.h"
#include "pg/session.h"

typedef enum Companion {
    COMPANION_DEAD_LETTER,
    COMPANION_POSITION,
    COMPANION_PUBLISHER,
    COMPANION_PAUSE,
    COMPANION_CAPTURED, /* captured_table */
    COMPANION_BACKLOG,  /* a view */
    COMPANION_COUNT
} Companion;

/* SQL, a constant: the pg_class row `k` is a relation of ours, of that name. */
#define COMPANION_IS(k, name, kinds, columns, count)                                               \
    k ".relname = '" name "' AND " k ".relkind IN (" kinds ") AND " count                          \
      " = (SELECT pg_catalog.count(*) FROM pg_catalog.pg_attribute w WHERE w.attrelid = " k        \
      ".oid AND NOT w.attisdropped AND w.attname IN (" columns "))"

/* Columns that tell one of ours; later versions of it may have more. */
#define COMPANION_IS_DEAD_LETTER(k)                                                                \
    COMPANION_IS(k, "dead_letter", "'r', 'p'", "'id', 'pipeline', 'reason', 'at'", "4")
#define COMPANION_IS_POSITION(k)                                                                   \
    COMPANION_IS(k, "position", "'r', 'p'", "'pipeline', 'slot', 'lsn', 'timeline'", "4")
#define COMPANION_IS_PUBLISHER(k)                                                                  \
    COMPANION_IS(k, "publisher", "'r', 'p'", "'table_id', 'table_name', 'generation', 'writes'",   \
                 "4")
#define COMPANION_IS_PAUSE(k)                                                                      \
    COMPANION_IS(k, "pause", "'r', 'p'", "'pipeline', 'paused_at', 'paused_by', 'reason'", "4")
#define COMPANION_IS_CAPTURED(k)                                                                   \
    COMPANION_IS(k, "captured_table", "'r', 'p'",                                                  \
                 "'pipeline', 'table_id', 'start_lsn', 'finished_at'", "4")
#define COMPANION_IS_BACKLOG(k)                                                                    \
    COMPANION_IS(k, "backlog", "'v'", "'aggregate_type', 'pending', 'oldest'", "3")
#define COMPANION_IS_ANY(k)                                                                        \
    COMPANION_IS_DEAD_LETTER(k)                                                                    \
    " OR " COMPANION_IS_POSITION(k) " OR " COMPANION_IS_PUBLISHER(k) " OR " COMPANION_IS_PAUSE(    \
        k) " OR " COMPANION_IS_CAPTURED(k) " OR " COMPANION_IS_BACKLOG(k)

/* The table that says which migrations made a schema: a schema with it is ours. */
#define COMPANION_IS_MIGRATION(k)                                                                  \
    COMPANION_IS(k, "migration", "'r', 'p'",                                                       \
                 "'version', 'checksum', 'applied_by', 'outboxd_version'", "4")

/* Of the outbox table `c`: whoever may create a relation beside it must not pass for us, as we
 * would run their triggers, views and policies. So the owner of `k` is that of the table or of the
 * schema of `k`, or a member of one of these, who may do as they do; or, in schema outbox, who
 * migrated it, which others may have prepared, unless everybody may create there. */
#define COMPANION_IS_BY_US(k)                                                                      \
    "(pg_catalog.pg_has_role(" k ".relowner, c.relowner, 'MEMBER')"                                \
    " OR pg_catalog.pg_has_role(" k ".relowner, (SELECT o.nspowner FROM"                           \
    " pg_catalog.pg_namespace o WHERE o.oid = " k ".relnamespace), 'MEMBER')"                      \
    " OR (" k ".relnamespace = (SELECT o.oid FROM pg_catalog.pg_namespace o WHERE o.nspname ="     \
    " 'outbox') AND NOT pg_catalog.has_schema_privilege('public', " k ".relnamespace, 'CREATE')"   \
    " AND " k ".relowner ="                                                                        \
    " (SELECT m.relowner FROM pg_catalog.pg_class m WHERE m.relname = 'migration'"                 \
    " AND m.relnamespace = " k ".relnamespace AND m.relkind IN ('r', 'p'))))"

/* The same, beside the outbox table `c`, and by us. */
#define COMPANION_IS_OUR_MIGRATION(k) COMPANION_IS_MIGRATION(k) " AND " COMPANION_IS_BY_US(k)

/** Appends a join: "configured", whose `part` are the parts of a table's name, which the SQL
 * expression `name` gives; and "c", the table, by its name in the catalog, as to_regclass() would
 * refuse a schema that we may not use: oid, relname, relnamespace, relkind, relowner,
 * relrowsecurity, relforcerowsecurity, relispartition, nspname, sql (its name); or NULLs. */
void companion_add_table(const char *name, Text *sql);

/** Appends a join behind that: as `alias`, the companion of c: oid, nsp (oid of its schema), sql
 * (its name); or NULLs. */
void companion_add(Companion companion, const char *alias, Text *sql);

/** Looks one up: *ret_name is its name as SQL, which the caller frees, or NULL: there is none.
 * table: as in the configuration; beside: only in its schema. */
Status companion_find(PgSession *session, const char *table, Companion companion, bool beside,
                      char **ret_name, Error *err);
