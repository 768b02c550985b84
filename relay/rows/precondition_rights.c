/* Rights: what reading, marking, setting aside and remembering need. has_..._privilege() counts
 * what the role inherits; a membership that is not inherited gives nothing. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "pg/ident.h"
#include "rows/companion.h"
#include "rows/precondition_internal.h"

void remedy_add_grant(const Facts *facts, const char *relay_has, const char *right,
                      const char *object, bool ours, Text *remedy)
{
    bool uses = facts_say(facts, "relay_used");
    const char *login = facts_value(facts, "login");
    if (!uses && *login != '\0') { /* ALTER ROLE ... SET role: who logs in has the rights */
        AUTO_TEXT literal = ident_literal(login);
        text_printf(remedy,
                    "ALTER ROLE %s RESET role; SELECT pg_catalog.pg_terminate_backend(pid) FROM "
                    "pg_catalog.pg_stat_activity WHERE usesysid = %s::pg_catalog.regrole;",
                    login, literal);
        return;
    }
    if (!uses && facts_say(facts, relay_has)) {
        if (!facts_say(facts, "relay_member")) {
            text_printf(remedy, "GRANT outbox_relay TO %s;", facts->role);
        } else if (facts->version >= POSTGRES_16) {
            text_printf(remedy, "GRANT outbox_relay TO %s WITH INHERIT TRUE;", facts->role);
        } else {
            text_printf(remedy, "ALTER ROLE %s INHERIT;", facts->role);
        }
        return;
    }
    text_printf(remedy, "GRANT %s ON %s TO %s;", right, object,
                uses && ours ? "outbox_relay" : facts->role);
}

/* USAGE. */

static bool schema_is_closed(const Facts *facts, Saying *say)
{
    const char *schema = facts_value(facts, "closed_schema");
    text_printf(&say->message, "role %s may not use schema %s", facts->role, schema);
    AUTO_TEXT object = x_format("SCHEMA %s", schema);
    remedy_add_grant(facts, "relay_uses_schema", "USAGE", object,
                     facts_say(facts, "closed_is_ours"), &say->remedy);
    return *schema != '\0';
}

/* SELECT on each column that is read. */

static bool columns_are_unreadable(const Facts *facts, Saying *say)
{
    const char *readable = facts_value(facts, "readable");
    AUTO_BUFFER names = TEXT_EMPTY;
    AUTO_BUFFER right = TEXT_EMPTY;
    size_t count = 0;
    NeededColumn *needed = needed_columns(facts->pipeline, &count);
    for (size_t i = 0; i < count && readable[i] != '\0'; i++) {
        if (readable[i] == '-') {
            AUTO_TEXT quoted = ident_quote(needed[i].name);
            text_printf(&names, "%s%s", names.length > 0 ? ", " : "", needed[i].name);
            text_printf(&right, "%s%s", right.length > 0 ? ", " : "", quoted);
        }
    }
    free(needed);
    /* Of a table that lacks some, others may be named next. */
    bool lacks = strchr(facts_value(facts, "present"), '-') != NULL;
    bool all = lacks || strchr(readable, '+') == NULL || right.length > 200;
    AUTO_TEXT select = x_format(all ? "SELECT" : "SELECT (%s)", text_string(&right));
    text_printf(&say->message, "role %s may not SELECT %s (%s)", facts->role, facts->table,
                text_string(&names));
    remedy_add_grant(facts, "relay_selects", select, facts->table, facts_say(facts, "ours"),
                     &say->remedy);
    return names.length > 0;
}

/* What becomes of rows that are published. */

static bool rows_cannot_be_marked(const Facts *facts, Saying *say)
{
    AUTO_TEXT column = ident_quote(facts->pipeline->outbox.columns[FIELD_PUBLISHED_AT]);
    AUTO_TEXT right = x_format("UPDATE (%s)", column);
    text_printf(&say->message, "role %s may not UPDATE %s, needed by on_publish = \"mark\"",
                facts->role, facts->table);
    remedy_add_grant(facts, "relay_updates", right, facts->table, facts_say(facts, "ours"),
                     &say->remedy);
    return facts->pipeline->outbox.on_publish == ON_PUBLISH_MARK && facts_deny(facts, "updates");
}

static bool rows_cannot_be_deleted(const Facts *facts, Saying *say)
{
    const PipelineConfig *pipeline = facts->pipeline;
    bool prunes = pipeline->outbox.retain_ms != DURATION_FOREVER &&
                  pipeline->outbox.on_publish == ON_PUBLISH_MARK;
    text_printf(&say->message, "role %s may not DELETE from %s, needed by %s", facts->role,
                facts->table, prunes ? "retain" : "on_publish = \"delete\"");
    remedy_add_grant(facts, "relay_deletes", "DELETE", facts->table, facts_say(facts, "ours"),
                     &say->remedy);
    return (prunes || pipeline->outbox.on_publish == ON_PUBLISH_DELETE) &&
           facts_deny(facts, "deletes");
}

/* Dead letters. */

/* A message that is no event is set aside whatever the policies are. */
static const char *letters_are_needed_by(const PipelineConfig *pipeline)
{
    return pipeline->on_poison == ON_POISON_DEAD_LETTER ? "on_poison = \"dead_letter\""
           : pipeline->route.on_unrouted == ON_UNROUTED_DEAD_LETTER
               ? "on_unrouted = \"dead_letter\""
           : pipeline->route.on_missing_topic == ON_MISSING_TOPIC_DEAD_LETTER
               ? "on_missing_topic = \"dead_letter\""
           : pipeline->capture != CAPTURE_TABLES && pipeline->wal.messages ? "messages = true"
                                                                           : NULL;
}

static bool letters_have_no_table(const Facts *facts, Saying *say)
{
    const char *option = letters_are_needed_by(facts->pipeline);
    text_printf(&say->message, "table outbox.dead_letter does not exist, needed by %s",
                option != NULL ? option : "");
    text_add(&say->remedy, "outboxd migrate");
    bool told = PQfnumber(facts->result, "dead_letter") >= 0;
    return option != NULL && told && *facts_value(facts, "dead_letter") == '\0';
}

static bool letters_cannot_be_written(const Facts *facts, Saying *say)
{
    const char *option = letters_are_needed_by(facts->pipeline);
    const char *table = facts_value(facts, "dead_letter");
    text_printf(&say->message, "role %s may not INSERT into %s, needed by %s", facts->role, table,
                option != NULL ? option : "");
    remedy_add_grant(facts, "relay_sets_aside", "INSERT", table, true, &say->remedy);
    return option != NULL && facts_deny(facts, "sets_aside");
}

/* As rows_are_hidden() of precondition_table.c says, no policy helps. */
static bool letters_are_hidden(const Facts *facts, Saying *say)
{
    const char *option = letters_are_needed_by(facts->pipeline);
    const char *table = facts_value(facts, "dead_letter");
    text_printf(
        &say->message,
        "row-level security of %s applies to role %s: no dead letter can be stored, needed by %s",
        table, facts->role, option != NULL ? option : "");
    bool forced = facts_say(facts, "letters_forced"); /* the role is the owner */
    if (!forced) {
        text_printf(&say->remedy, "ALTER ROLE %s BYPASSRLS; or ", facts->role);
    }
    text_printf(&say->remedy, "ALTER TABLE %s %s ROW LEVEL SECURITY;", table,
                forced ? "NO FORCE" : "DISABLE");
    return option != NULL && facts_say(facts, "letters_hidden");
}

/* What we remember. */

static bool position_has_no_table(const Facts *facts, Saying *say)
{
    text_add(&say->message, "table outbox.position does not exist");
    text_printf(&say->remedy, "outboxd migrate%s",
                facts->pipeline->capture == CAPTURE_WAL ? " --capture wal" : "");
    bool told = PQfnumber(facts->result, "position") >= 0;
    return told && *facts_value(facts, "position") == '\0';
}

static bool position_is_closed(const Facts *facts, Saying *say)
{
    text_printf(&say->message, "role %s may not read and write %s", facts->role,
                facts_value(facts, "position"));
    remedy_add_grant(facts, "relay_positions", "SELECT, INSERT, UPDATE",
                     facts_value(facts, "position"), true, &say->remedy);
    return facts_deny(facts, "positions");
}

static bool needs_captured(const Facts *facts)
{
    return facts->pipeline->tables.snapshot != SNAPSHOT_MODE_NEVER &&
           PQfnumber(facts->result, "captured") >= 0;
}

static bool captured_has_no_table(const Facts *facts, Saying *say)
{
    text_add(&say->message,
             "table outbox.captured_table, which the first snapshot needs, does not exist");
    text_add(&say->remedy, "outboxd migrate");
    return needs_captured(facts) && *facts_value(facts, "captured") == '\0';
}

static bool captured_is_closed(const Facts *facts, Saying *say)
{
    text_printf(&say->message, "role %s may not read and write %s, which the first snapshot needs",
                facts->role, facts_value(facts, "captured"));
    remedy_add_grant(facts, "relay_captures", "SELECT, INSERT, UPDATE",
                     facts_value(facts, "captured"), true, &say->remedy);
    return needs_captured(facts) && facts_deny(facts, "captures");
}

static bool publisher_is_closed(const Facts *facts, Saying *say)
{
    text_printf(
        &say->message,
        "role %s may not read and write %s, where the relay proves that it is the only publisher",
        facts->role, facts_value(facts, "publisher"));
    remedy_add_grant(facts, "relay_claims", "SELECT, INSERT, UPDATE, DELETE",
                     facts_value(facts, "publisher"), true, &say->remedy);
    return facts_deny(facts, "claims");
}

static bool history_is_unproven(const Facts *facts, Saying *say)
{
    text_add(&say->message,
             "table outbox.publisher does not exist: the relay cannot detect that this server was "
             "restored to an older copy, that another relay published in between, or, after a "
             "restart, that the table was renamed and created again with unpublished rows");
    text_add(&say->remedy, "outboxd migrate");
    bool told = PQfnumber(facts->result, "publisher") >= 0;
    return told && *facts_value(facts, "publisher") == '\0';
}

static bool message_is_forbidden(const Facts *facts, Saying *say)
{
    text_printf(&say->message,
                "role %s may not execute pg_logical_emit_message, which the relay calls once "
                "before it reads the rows from before the slot",
                facts->role);
    text_printf(&say->remedy,
                "GRANT EXECUTE ON FUNCTION pg_catalog.pg_logical_emit_message(boolean, text, "
                "text%s) TO %s;",
                facts->version >= 170000 ? ", boolean" : "", facts->role);
    return facts_deny(facts, "flushes");
}

/* Every role that can connect could make an event. */
static bool messages_are_open(const Facts *facts, Saying *say)
{
    const PipelineConfig *pipeline = facts->pipeline;
    text_add(&say->message,
             "every role of this database may execute pg_logical_emit_message, and so write "
             "messages that messages = true publishes as events");
    text_add(&say->remedy,
             "a superuser runs: outboxd migrate --guard-messages; or accept it in the "
             "configuration: messages_from = \"anyone\"");
    return pipeline->wal.messages && pipeline->wal.messages_from == MESSAGES_FROM_GRANTED &&
           facts_say(facts, "messages_open");
}

static bool pauses_are_unreadable(const Facts *facts, Saying *say)
{
    const char *table = facts_value(facts, "pause");
    text_printf(&say->message, "role %s may not SELECT %s: outboxd pause would have no effect",
                facts->role, table);
    remedy_add_grant(facts, "relay_pauses", "SELECT", table, true, &say->remedy);
    return facts_deny(facts, "pauses");
}

#define TABLE_RIGHT(alias, right) "pg_catalog.has_table_privilege(" alias ".oid, '" right "')"
#define RELAY_TABLE_RIGHT(alias, right)                                                            \
    "pg_catalog.has_table_privilege(relay.oid, " alias ".oid, '" right "')"
#define THREE_RIGHTS(macro, alias)                                                                 \
    macro(alias, "SELECT") " AND " macro(alias, "INSERT") " AND " macro(alias, "UPDATE")

#define FOUR_RIGHTS(macro, alias) THREE_RIGHTS(macro, alias) " AND " macro(alias, "DELETE")

/* Of our own schemas: they carry the table that says what was migrated. */
#define IS_OURS(schema)                                                                            \
    "EXISTS (SELECT FROM pg_catalog.pg_class g WHERE g.relnamespace = " schema                     \
    " AND " COMPANION_IS_OUR_MIGRATION("g") ")"

const Precondition PRECONDITIONS_RIGHTS[] = {
    {CODE_RIGHT_USAGE, FOR_ALL | BY_ALL, false,
     "relay.oid IS NOT NULL AND pg_catalog.pg_has_role(relay.oid, 'USAGE') AS relay_used,"
     " relay.oid IS NOT NULL AND pg_catalog.pg_has_role(relay.oid, 'MEMBER') AS "
     "relay_member, " IS_OURS(
         "c.relnamespace") " AS ours,"
                           " shut.sql AS closed_schema, shut.ours AS closed_is_ours,"
                           " pg_catalog.has_schema_privilege(relay.oid, shut.oid, 'USAGE') AS "
                           "relay_uses_schema",
     schema_is_closed},
    {CODE_RIGHT_SELECT, FOR_BOTH | BY_ALL, false,
     "col.readable, " RELAY_TABLE_RIGHT("c", "SELECT") " AS relay_selects", columns_are_unreadable},
    {CODE_RIGHT_UPDATE, FOR_BOTH | BY_ALL, false,
     "pg_catalog.has_column_privilege(c.oid, pub.attnum, 'UPDATE') AS updates,"
     " pg_catalog.has_column_privilege(relay.oid, c.oid, pub.attnum, 'UPDATE') AS relay_updates",
     rows_cannot_be_marked},
    {CODE_RIGHT_DELETE, FOR_BOTH | BY_ALL, false,
     TABLE_RIGHT("c", "DELETE") " AS deletes, " RELAY_TABLE_RIGHT("c",
                                                                  "DELETE") " AS relay_deletes",
     rows_cannot_be_deleted},
    {CODE_NO_DEAD_LETTER_TABLE, FOR_ALL | BY_ALL | LATER, false, NULL, letters_have_no_table},
    {CODE_RIGHT_INSERT, FOR_ALL | BY_ALL | LATER, false,
     TABLE_RIGHT("d", "INSERT") " AS sets_aside, " RELAY_TABLE_RIGHT(
         "d", "INSERT") " AS relay_sets_aside",
     letters_cannot_be_written},
    {CODE_DEAD_LETTER_SECURITY, FOR_ALL | BY_ALL | LATER, false,
     "pg_catalog.row_security_active(d.oid) AS letters_hidden, (SELECT k.relforcerowsecurity AND"
     " pg_catalog.pg_has_role(k.relowner, 'USAGE') FROM pg_catalog.pg_class k WHERE k.oid = d.oid)"
     " AS letters_forced",
     letters_are_hidden},
    {CODE_NO_POSITION_TABLE, FOR_LOG | BY_ALL, false, NULL, position_has_no_table},
    {CODE_RIGHT_POSITION, FOR_LOG | BY_ALL, false,
     THREE_RIGHTS(TABLE_RIGHT, "p") " AS positions, " THREE_RIGHTS(RELAY_TABLE_RIGHT,
                                                                   "p") " AS relay_positions",
     position_is_closed},
    {CODE_NO_POSITION_TABLE, FOR_TABLES | BY_START | BY_CHECK, false, "done.sql AS captured",
     captured_has_no_table},
    {CODE_RIGHT_POSITION, FOR_TABLES | BY_START | BY_CHECK, false,
     THREE_RIGHTS(TABLE_RIGHT, "done") " AS captures, " THREE_RIGHTS(RELAY_TABLE_RIGHT,
                                                                     "done") " AS relay_captures",
     captured_is_closed},
    {CODE_RIGHT_PUBLISHER, FOR_POLL | BY_ALL, false,
     FOUR_RIGHTS(TABLE_RIGHT, "u") " AS claims, " FOUR_RIGHTS(RELAY_TABLE_RIGHT,
                                                              "u") " AS relay_claims",
     publisher_is_closed},
    {CODE_HISTORY_UNPROVEN, FOR_POLL | BY_CHECK, true, NULL, history_is_unproven},
    {CODE_RIGHT_MESSAGE, FOR_WAL | BY_START | BY_CHECK, false,
     "(SELECT pg_catalog.bool_and(pg_catalog.has_function_privilege(f.oid, 'EXECUTE')) FROM"
     " pg_catalog.pg_proc f WHERE f.proname = 'pg_logical_emit_message' AND f.pronamespace ="
     " 'pg_catalog'::regnamespace AND f.proargtypes[2] = 'pg_catalog.text'::regtype) AS flushes",
     message_is_forbidden},
    {CODE_MESSAGES_OPEN, FOR_WAL | BY_ALL, false,
     "(SELECT pg_catalog.bool_or(a.grantee = 0) FROM pg_catalog.pg_proc f CROSS JOIN LATERAL"
     " pg_catalog.aclexplode(coalesce(f.proacl, pg_catalog.acldefault('f', f.proowner))) a WHERE"
     " f.proname = 'pg_logical_emit_message' AND f.pronamespace = 'pg_catalog'::regnamespace"
     " AND a.privilege_type = 'EXECUTE') AS messages_open",
     messages_are_open},
    {CODE_RIGHT_PAUSE, FOR_ALL | BY_ALL, true,
     "z.sql AS pause, " TABLE_RIGHT("z", "SELECT") " AS pauses, " RELAY_TABLE_RIGHT(
         "z", "SELECT") " AS relay_pauses",
     pauses_are_unreadable},
};
const size_t PRECONDITIONS_RIGHTS_COUNT = sizeof(PRECONDITIONS_RIGHTS) / sizeof(Precondition);
