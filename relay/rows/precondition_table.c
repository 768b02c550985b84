/* The server and the table: what it is, where its rows are, who sees them all. */
#include <stdlib.h>
#include <string.h>

#include "rows/precondition_internal.h"

/* The server. What `check` says of it, it says once for all pipelines. */

static bool server_is_standby(const Facts *facts, Saying *say)
{
    text_add(&say->message,
             "the server is a standby, where the relay can neither mark rows nor write positions");
    text_add(&say->remedy, "Connect to the primary: correct database.dsn, or add "
                           "target_session_attrs=read-write to it.");
    say->heals = true;
    return facts_say(facts, "in_recovery");
}

static bool wal_level_is_low(const Facts *facts, Saying *say)
{
    const char *level = facts_value(facts, "wal_level");
    text_printf(&say->message, "wal_level is not logical but %s, and capture = \"%s\" needs it",
                level, facts->pipeline->capture == CAPTURE_WAL ? "wal" : "tables");
    text_add(&say->remedy, "ALTER SYSTEM SET wal_level = 'logical'; then restart PostgreSQL");
    return *level != '\0' && strcmp(level, "logical") != 0;
}

const Precondition PRECONDITIONS_SERVER[] = {
    {CODE_POSTGRES_READ_ONLY, FOR_ALL | BY_START | ENDS, false,
     "pg_catalog.pg_is_in_recovery() AS in_recovery", server_is_standby},
    {CODE_WAL_LEVEL, FOR_LOG | BY_ALL, false,
     "pg_catalog.current_setting('wal_level') AS wal_level", wal_level_is_low},
};
const size_t PRECONDITIONS_SERVER_COUNT = sizeof(PRECONDITIONS_SERVER) / sizeof(Precondition);

/* The table. */

static bool table_is_missing(const Facts *facts, Saying *say)
{
    text_printf(&say->message, "table %s does not exist in database \"%s\"",
                facts->pipeline->outbox.table, facts_value(facts, "database"));
    if (facts->pipeline->capture == CAPTURE_TABLES) {
        text_add(&say->remedy, "outboxd migrate");
    } else {
        text_printf(
            &say->remedy,
            "create the outbox: outboxd migrate%s; or name your own table in pipelines.table",
            facts->pipeline->capture == CAPTURE_WAL ? " --capture wal" : "");
    }
    return *facts_value(facts, "table_oid") == '\0';
}

static bool table_is_of_other_kind(const Facts *facts, Saying *say)
{
    char kind = *facts_value(facts, "kind");
    text_printf(&say->message, "%s is not a table but a %s: it has no rows of its own to publish",
                facts->table,
                kind == 'v'   ? "view"
                : kind == 'm' ? "materialized view"
                : kind == 'f' ? "foreign table"
                              : "relation of another kind");
    text_add(&say->remedy, "name in pipelines.table the table that the application inserts into");
    return kind != '\0' && kind != 'r' && kind != 'p';
}

static bool table_is_unlogged(const Facts *facts, Saying *say)
{
    const char *which = facts_value(facts, "unlogged");
    const char *remedy = facts_value(facts, "set_logged");
    bool wal = facts->pipeline->capture == CAPTURE_WAL;
    text_printf(&say->message, "%s is %s: %s", which, *remedy != '\0' ? "unlogged" : "temporary",
                wal ? "the WAL does not contain its rows" : "a crash of PostgreSQL empties it");
    text_add(&say->remedy, *remedy != '\0'
                               ? remedy
                               : "name in pipelines.table a permanent table that all sessions see");
    return *which != '\0';
}

static bool table_has_foreign_parts(const Facts *facts, Saying *say)
{
    const char *which = facts_value(facts, "foreigners");
    text_printf(&say->message,
                "%s belongs to %s and is a foreign table: its locks and its WAL do not show what "
                "is committed there",
                which, facts->table);
    text_printf(&say->remedy, "%s and publish that server's outbox with a separate relay",
                facts_value(facts, "detach_foreigners"));
    return *which != '\0';
}

/* Not even a policy that shows everything helps: with row_security = off, without which a row could
 * be hidden unseen between two looks, PostgreSQL refuses the query whatever the policies say. */
static bool are_hidden(const Facts *facts, const char *prefix, const char *what_follows,
                       Saying *say)
{
    AUTO_TEXT hidden_in = x_format("%shidden_in", prefix);
    AUTO_TEXT unhide = x_format("%sunhide", prefix);
    const char *tables = facts_value(facts, hidden_in);
    text_printf(&say->message,
                "row-level security hides rows of %s from role %s, or may do so when a policy "
                "changes: %s",
                tables, facts->role, what_follows);
    if (!facts_say(facts, "forced")) { /* else the role is the owner */
        text_printf(&say->remedy, "ALTER ROLE %s BYPASSRLS; or ", facts->role);
    }
    text_add(&say->remedy, facts_value(facts, unhide));
    return *tables != '\0';
}

static bool rows_are_hidden(const Facts *facts, Saying *say)
{
    return are_hidden(facts, "", "these rows would never be published, or never be marked", say);
}

/* A position that is hidden is one that is not there, and a pause that is hidden has no effect. */
static bool own_rows_are_hidden(const Facts *facts, Saying *say)
{
    return are_hidden(facts, "own_",
                      "the relay would not find its position, its finished tables, or a pause",
                      say);
}

/* Rules: what is done instead of our statements, or besides. */

/* A mark that stores a position with it is one statement, which counts what it hit and may not be
 * taken apart by rules (rows/mark_sql.h). Alone it may: what a rule does besides is its owner's
 * matter, and so is what it does instead, unless that is nothing. */
static bool rules_take_marks(const Facts *facts, Saying *say)
{
    const PipelineConfig *pipeline = facts->pipeline;
    bool wal = pipeline->capture == CAPTURE_WAL;
    bool deletes = pipeline->outbox.on_publish == ON_PUBLISH_DELETE;
    bool marks = deletes || pipeline->outbox.on_publish == ON_PUBLISH_MARK;
    AUTO_TEXT all = x_strdup(facts_value(facts, "rules"));
    char *rest = marks && *all != '\0' ? all : NULL;
    for (size_t said = 0; rest != NULL && say->message.length == 0;) {
        const char *rule = strsep(&rest, "\037"); /* of which command, what becomes of it, name */
        bool discards = rule[0] != '\0' && rule[1] == '!';
        if (rule[0] != (deletes ? 'd' : 'u') || !(wal || discards) || said++ != facts->nth) {
            continue;
        }
        text_printf(&say->message, "rule %s of %s %s, so the relay cannot %s published rows%s",
                    rule + 2, facts->table,
                    discards  ? deletes ? "discards every DELETE" : "discards every UPDATE"
                    : deletes ? "applies to DELETE"
                              : "applies to UPDATE",
                    deletes ? "delete" : "mark",
                    discards ? "" : " together with its position in the WAL");
        text_printf(&say->remedy, "DROP RULE %s ON %s; then do in a trigger what the rule did",
                    rule + 2, facts->table);
    }
    return say->message.length > 0;
}

/* ev_type is of CmdType (nodes.h); ev_qual without a condition is printed as <>. */
#define RULES                                                                                      \
    "(SELECT pg_catalog.string_agg(CASE r.ev_type WHEN '2' THEN 'u' ELSE 'd' END || CASE WHEN"     \
    " r.ev_qual::pg_catalog.text = '<>' AND pg_catalog.pg_get_ruledef(r.oid) LIKE"                 \
    " '% DO INSTEAD NOTHING;' THEN '!' ELSE '-' END || pg_catalog.quote_ident(r.rulename),"        \
    " pg_catalog.chr(31) ORDER BY r.rulename) FROM pg_catalog.pg_rewrite r WHERE r.ev_class ="     \
    " c.oid AND r.ev_type IN ('2', '4') AND r.ev_enabled IN ('O', 'A')) AS rules"

/* Ours beside it, too: a mark that waits for a position that is hidden waits for ever. That of the
 * dead letters is no matter of all rows: precondition_rights.c. */
#define HIDES(alias) "(" alias ".oid, " alias ".sql, pg_catalog.row_security_active(" alias ".oid))"
#define HIDDEN(tables, prefix)                                                                     \
    "(SELECT pg_catalog.string_agg(h.name, ', ') FROM (VALUES " tables                             \
    ") AS h(oid, name, hides) WHERE h.hides) AS " prefix "hidden_in,"                              \
    " (SELECT pg_catalog.string_agg('ALTER TABLE ' || h.name || CASE WHEN"                         \
    "  k.relforcerowsecurity AND pg_catalog.pg_has_role(k.relowner, 'USAGE')"                      \
    "  THEN ' NO FORCE' ELSE ' DISABLE' END || ' ROW LEVEL SECURITY;', ' ') FROM (VALUES " tables  \
    ") AS h(oid, name, hides) JOIN pg_catalog.pg_class k ON k.oid = h.oid WHERE h.hides) "         \
    "AS " prefix                                                                                   \
    "unhide, c.relforcerowsecurity AND pg_catalog.pg_has_role(c.relowner, 'USAGE') AS"             \
    " forced"

const Precondition PRECONDITIONS_TABLE[] = {
    {CODE_POSTGRES_NO_TABLE, FOR_ALL | BY_ALL | ENDS, false,
     "c.oid AS table_oid, pg_catalog.current_database() AS database, c.relname AS table_name,"
     " c.nspname AS table_schema, d.sql AS dead_letter, p.sql AS position, u.sql AS publisher",
     table_is_missing},
    {CODE_TABLE_KIND, FOR_BOTH | BY_ALL | ENDS, false, "c.relkind AS kind", table_is_of_other_kind},
    {CODE_TABLE_UNLOGGED, FOR_ALL | BY_ALL, false, "tree.unlogged, tree.set_logged",
     table_is_unlogged},
    {CODE_TABLE_FOREIGN_PART, FOR_BOTH | BY_ALL, false, "tree.foreigners, tree.detach_foreigners",
     table_has_foreign_parts},
    {CODE_ROW_SECURITY, FOR_BOTH | BY_ALL, false,
     HIDDEN(HIDES("c") ", " HIDES("p") ", " HIDES("u") ", " HIDES("z"), ""), rows_are_hidden},
    {CODE_ROW_SECURITY, FOR_TABLES | BY_ALL, false,
     HIDDEN(HIDES("p") ", " HIDES("z") ", " HIDES("done"), "own_"), own_rows_are_hidden},
    {CODE_TABLE_RULE, FOR_BOTH | BY_ALL | REPEATS, false, RULES, rules_take_marks},
};
const size_t PRECONDITIONS_TABLE_COUNT = sizeof(PRECONDITIONS_TABLE) / sizeof(Precondition);
