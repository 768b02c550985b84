/* Functions of others that our statements fire: they run as our role by nature of SQL, with the
 * search_path of our session (pg/open.h) where they have none of their own. What they name without
 * a schema is not found then; and who owns them can do what the relay can. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "rows/companion.h"
#include "rows/precondition_internal.h"

#define PG "pg_catalog."
/* A schema as SQL writes it, behind its oid: pg_namespace is not joined for it, as each join makes
 * the plan of all that stands beside it dearer. */
#define SCHEMA "::" PG "regnamespace::text"

/* The events that fire it (i, u, d), what it is called by, the function, its owner, the path that
 * it would need at least; a unit separator between them, a record separator behind each but the
 * last.
 *
 * tgtype is of pg_trigger.h: 1 FOR EACH ROW, 4 INSERT, 8 DELETE, 16 UPDATE. A statement names the
 * table at the root, so those of partitions that are for statements do not fire. What is in C looks
 * no name up, and a body that was parsed when it was made (prosqlbody, since 14) does not, either.
 */
static const char FIRED[] =
    "(WITH RECURSIVE t(oid) AS (SELECT c.oid UNION SELECT h.inhrelid FROM " PG "pg_inherits h"
    "  JOIN t ON h.inhparent = t.oid)"
    " SELECT " PG "string_agg(" PG "concat_ws(" PG "chr(31), f.event, f.what, f.sql, f.owner,"
    "  f.path), " PG "chr(30) ORDER BY f.sql) FROM (SELECT DISTINCT ON (p.oid, w.event) w.event,"
    "   w.what || ' of ' || x.relnamespace" SCHEMA " || '.' || " PG "quote_ident(x.relname)"
    "    AS what,"
    "   p.pronamespace" SCHEMA " || '.' || " PG "quote_ident(p.proname) || '(' ||"
    "   " PG "pg_get_function_identity_arguments(p.oid) || ')' AS sql,"
    "   " PG "quote_ident(" PG "pg_get_userbyid(p.proowner)) AS owner,"
    "   " PG "concat_ws(', ', p.pronamespace" SCHEMA ","
    "    CASE WHEN x.relnamespace <> p.pronamespace THEN x.relnamespace" SCHEMA " END) AS path"
    "   FROM t JOIN " PG "pg_class x ON x.oid = t.oid CROSS JOIN LATERAL ("
    "    SELECT g.tgfoid AS function, 'trigger ' || " PG "quote_ident(g.tgname) AS what,"
    "     " PG "concat(CASE WHEN g.tgtype & 4 <> 0 THEN 'i' END, CASE WHEN g.tgtype & 16 <> 0"
    "      AND (g.tgattr::text = '' OR EXISTS (SELECT FROM " PG "pg_attribute a"
    "       JOIN " PG "pg_attribute r ON r.attrelid = c.oid AND r.attnum = pub.attnum"
    "       WHERE a.attrelid = g.tgrelid AND a.attnum = ANY (g.tgattr)"
    "       AND a.attname = r.attname)) THEN 'u' END,"
    "      CASE WHEN g.tgtype & 8 <> 0 THEN 'd' END) AS event"
    "     FROM " PG "pg_trigger g WHERE g.tgrelid = t.oid AND g.tgenabled IN ('O', 'A')"
    "     AND (g.tgtype & 1 = 1 OR g.tgrelid = c.oid)"
    "    UNION ALL SELECT d.refobjid, o.what, o.event FROM ("
    "      SELECT 'pg_catalog.pg_attrdef'::regclass AS class, f.oid, 'default of column ' ||"
    "       " PG "quote_ident(a.attname) AS what, 'i' AS event FROM " PG "pg_attrdef f"
    "       JOIN " PG "pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum"
    "       WHERE f.adrelid = t.oid"
    "      UNION ALL SELECT 'pg_catalog.pg_constraint'::regclass, k.oid,"
    "       'constraint ' || " PG "quote_ident(k.conname), 'iu' FROM " PG "pg_constraint k"
    "       WHERE k.conrelid = t.oid AND k.contype = 'c'"
    "      UNION ALL SELECT 'pg_catalog.pg_class'::regclass, i.oid,"
    "       'index ' || " PG "quote_ident(i.relname), 'iu' FROM " PG "pg_index e"
    "       JOIN " PG "pg_class i ON i.oid = e.indexrelid WHERE e.indrelid = t.oid) o"
    "     JOIN " PG "pg_depend d ON d.classid = o.class AND d.objid = o.oid"
    "     AND d.refclassid = 'pg_catalog.pg_proc'::regclass) w"
    /* Behind OFFSET 0 one function is looked up at a time: else all of the database are read. */
    "   CROSS JOIN LATERAL (SELECT p.oid, p.proname, p.pronamespace, p.proowner"
    "    FROM " PG "pg_proc p WHERE p.oid = w.function"
    "    AND p.prolang NOT IN (12, 13)" /* internal, c: the same everywhere */
    "    AND NOT EXISTS (SELECT FROM " PG "unnest(p.proconfig) AS s(setting)"
    "     WHERE s.setting LIKE 'search_path=%')"
    "    AND " PG "to_jsonb(p) ->> 'prosqlbody' IS NULL"
    /* ours qualify all that they name */
    "    AND NOT EXISTS (SELECT FROM " PG "pg_class m WHERE m.relnamespace = p.pronamespace"
    "     AND m.relowner = p.proowner AND " COMPANION_IS_MIGRATION(
        "m") ")"
             "    OFFSET 0) p"
             "   WHERE w.event <> ''"
             "   ORDER BY p.oid, w.event, t.oid <> c.oid, w.what) f) AS fired_without_path";

enum { EVENT, WHAT, FUNCTION, OWNER, SEARCHED, FIELDS };

static void say_function(const Facts *facts, char *const *fields, const char *done, Saying *say)
{
    text_printf(&say->message,
                "%s runs %s of role %s whenever rows are %s, as role %s: it has no search_path of "
                "its own, and with that of the relay (pg_catalog, pg_temp) it finds nothing that "
                "it names without a schema",
                fields[WHAT], fields[FUNCTION], fields[OWNER], done, facts->role);
    text_printf(&say->remedy,
                "ALTER FUNCTION %s SET search_path = %s, pg_temp; and list each schema that the "
                "function needs",
                fields[FUNCTION], fields[SEARCHED]);
}

static bool functions_have_no_path(const Facts *facts, Saying *say)
{
    const PipelineConfig *pipeline = facts->pipeline;
    bool marks = pipeline->outbox.on_publish == ON_PUBLISH_MARK;
    bool prunes = pipeline->outbox.retain_ms != DURATION_FOREVER;
    bool deletes = pipeline->outbox.on_publish == ON_PUBLISH_DELETE || prunes;
    /* No relay inserts: the command does, where events are set aside. */
    bool requeues = (facts->reader & PRECONDITION_CHECK) != 0 &&
                    (pipeline->on_poison == ON_POISON_DEAD_LETTER ||
                     pipeline->route.on_unrouted == ON_UNROUTED_DEAD_LETTER ||
                     pipeline->route.on_missing_topic == ON_MISSING_TOPIC_DEAD_LETTER);
    AUTO_TEXT all = x_strdup(facts_value(facts, "fired_without_path"));
    char *rest = *all != '\0' ? all : NULL;
    for (size_t said = 0; rest != NULL && say->message.length == 0;) {
        char *one = strsep(&rest, "\036");
        char *fields[FIELDS] = {0};
        size_t count = 0;
        while (count < FIELDS && one != NULL) {
            fields[count++] = strsep(&one, "\037");
        }
        if (count < FIELDS) {
            continue;
        }
        bool by_insert = requeues && strchr(fields[EVENT], 'i') != NULL;
        bool by_mark = marks && strchr(fields[EVENT], 'u') != NULL;
        bool by_delete = deletes && strchr(fields[EVENT], 'd') != NULL;
        if ((by_mark || by_delete || by_insert) && said++ == facts->nth) {
            say_function(facts, fields,
                         by_mark     ? "marked"
                         : by_delete ? prunes ? "pruned" : "deleted"
                                     : "requeued (outboxd dead requeue)",
                         say);
        }
    }
    return say->message.length > 0;
}

const Precondition PRECONDITIONS_PATH[] = {
    {CODE_TRIGGER_PATH, FOR_BOTH | BY_ALL | REPEATS | FIRST, true, FIRED, functions_have_no_path},
};
const size_t PRECONDITIONS_PATH_COUNT = sizeof(PRECONDITIONS_PATH) / sizeof(Precondition);
