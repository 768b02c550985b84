/* The publisher's lock: its key is in pg_locks for everybody to see, so any role can take it, and
 * keep every relay on standby. Who lacks the rights that this pipeline needs is no relay of it. One
 * that has them, a relay or somebody who may do all that a relay does, is left to itself. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "rows/precondition_internal.h"

#define PG "pg_catalog."
/* PUBLISHER_LOCK_CLASS, and as of pg_locks for two keys. */
#define LOCK_CLASS "1869968482"

/* What a relay may do with the table, and with its rows once they are published. */
#define READS   PG "has_any_column_privilege(a.usesysid, c.oid, 'SELECT')"
#define MARKS   PG "has_column_privilege(a.usesysid, c.oid, pub.attnum, 'UPDATE')"
#define DELETES PG "has_table_privilege(a.usesysid, c.oid, 'DELETE')"
#define KEEPS   PG "has_table_privilege(a.usesysid, p.oid, 'UPDATE')"

/* Holder before waiters: granted, pid, role, application; a unit separator between them. Of those
 * that lack one of the two rights, the first; where nobody can say, they have it. */
static void add_stranger(const char *right, const char *name, Text *sql)
{
    text_printf(sql,
                "(" PG "array_agg(" PG "concat_ws(" PG "chr(31), l.granted, l.pid,"
                "  " PG "quote_ident(" PG "pg_get_userbyid(a.usesysid)), a.application_name)"
                "  ORDER BY l.granted DESC, l.pid) FILTER (WHERE NOT " READS
                "  OR NOT %s))[1] AS %s",
                right, name);
}

/* All who hold the lock or wait for it, looked for once. pg_stat_get_activity is what
 * pg_stat_activity stands on, of one process: the view would join two catalogs more. */
void precondition_add_strangers(Text *sql)
{
    text_add(sql, " LEFT JOIN LATERAL (SELECT ");
    add_stranger(MARKS, "no_marker, ", sql);
    add_stranger(DELETES, "no_deleter, ", sql);
    add_stranger(KEEPS, "no_keeper", sql);
    text_add(sql, " FROM " PG "pg_locks l CROSS JOIN LATERAL " PG "pg_stat_get_activity(l.pid) a"
                  " WHERE l.locktype = 'advisory' AND l.classid::bigint = " LOCK_CLASS
                  " AND l.objid = c.oid AND l.objsubid = 2 AND l.pid <> " PG "pg_backend_pid()"
                  " AND l.database = (SELECT o.oid FROM " PG "pg_database o WHERE o.datname ="
                  "  " PG "current_database()) AND a.usesysid IS NOT NULL) stranger ON true");
}

enum { GRANTED, PID, ROLE, APPLICATION, FIELDS };

static bool lock_is_held_by_stranger(const Facts *facts, Saying *say)
{
    const PipelineConfig *pipeline = facts->pipeline;
    const char *column = pipeline->outbox.on_publish == ON_PUBLISH_DELETE ? "lock_no_deleter"
                         : pipeline->outbox.on_publish == ON_PUBLISH_KEEP ? "lock_no_keeper"
                                                                          : "lock_no_marker";
    AUTO_TEXT all = x_strdup(facts_value(facts, column));
    char *rest = all;
    char *fields[FIELDS] = {0};
    size_t count = 0;
    while (count < FIELDS && rest != NULL) {
        fields[count++] = strsep(&rest, "\037");
    }
    if (count <= ROLE) {
        return false;
    }
    const char *application = count > APPLICATION ? fields[APPLICATION] : "";
    bool holds = *fields[GRANTED] == 't';
    text_printf(
        &say->message,
        "role %s, pid %s%s%.60s%s, %s the publisher's lock of %s, and lacks the rights of this "
        "pipeline's relay%s",
        fields[ROLE], fields[PID], *application != '\0' ? " (" : "", application,
        *application != '\0' ? ")" : "", holds ? "holds" : "waits for", facts->table,
        holds ? ": no relay can publish" : ": no relay could publish after it");
    text_printf(&say->remedy,
                "A superuser runs: SELECT pg_terminate_backend(%s); then ask role %s why it takes "
                "this lock.",
                fields[PID], fields[ROLE]);
    return true;
}

const Precondition PRECONDITIONS_LOCK[] = {
    {CODE_LOCK_HELD_BY_STRANGER, FOR_BOTH | PRECONDITION_RUNNING | PRECONDITION_CHECK | ALARMS,
     true,
     "stranger.no_marker AS lock_no_marker, stranger.no_deleter AS lock_no_deleter,"
     " stranger.no_keeper AS lock_no_keeper",
     lock_is_held_by_stranger},
};
const size_t PRECONDITIONS_LOCK_COUNT = sizeof(PRECONDITIONS_LOCK) / sizeof(Precondition);
