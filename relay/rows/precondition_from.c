/* The FROM clause of the query: one row, whatever is missing. Its parts, by alias:
 *
 *   relay        the role outbox_relay, if there is one
 *   c            the table (rows/companion.h), or NULL
 *   d p u z      its companions dead_letter, position, publisher, pause
 *   done         likewise captured_table
 *   tree         the table with its partitions, or with what inherits from it
 *   col          the columns that are needed, one character (or one word) for each
 *   pub          published_at
 *   sq           the sequence that numbers the rows
 *   b, entry     the publication, and its entries that carry the table
 *   shut         a schema that the role may not use
 *   s            the slot
 *   stranger     who has the publisher's lock, or waits for it, and is no relay
 *   mapped       the mapped tables
 *
 * Of these col, pub and sq are of the outbox alone, b and entry of the log alone, mapped and done
 * of tables alone.
 *
 * Planning is most of what a look costs: of a session's first some 80 %, and there are two of those
 * whenever a relay starts. So a schema's name is written by regnamespace instead of a join, and
 * where a view of the system joins what is not asked for, its function is asked.
 *
 * Everything is qualified. Columns that only later versions have are reached through to_jsonb. */
#include <stdlib.h>

#include "base/memory.h"
#include "config/columns.h"
#include "pg/ident.h"
#include "rows/companion.h"
#include "rows/precondition_internal.h"

#define PG "pg_catalog."
/* A schema as SQL writes it: what an oid, behind which it stands, is cast to. */
#define SCHEMA "::" PG "regnamespace::text"

NeededColumn *needed_columns(const PipelineConfig *pipeline, size_t *ret_count)
{
    NeededColumn *needed =
        x_calloc(COLUMN_COUNT + pipeline->outbox.header_columns.count, sizeof(*needed));
    size_t used = 0;
    for (size_t i = 0; i < COLUMN_COUNT; i++) {
        const char *name = column_name(pipeline, i);
        if (*name != '\0') {
            needed[used++] =
                (NeededColumn){.path = OUTBOX_COLUMNS[i].path, .name = name, .index = i};
        }
    }
    for (size_t i = 0; i < pipeline->outbox.header_columns.count; i++) {
        needed[used++] =
            (NeededColumn){.name = pipeline->outbox.header_columns.items[i], .index = COLUMN_COUNT};
    }
    *ret_count = used;
    return needed;
}

static void add_table(const OutboxTable *table, Text *sql)
{
    AUTO_TEXT name = ident_literal(table->configured);
    text_add(sql, " FROM (SELECT " PG "to_regrole('outbox_relay')::oid AS oid) relay");
    companion_add_table(name, sql);
}

/* Whether publication `publication` sends the rows of k: its own entry, that of a partitioned table
 * above it, of their schemas (15 and later), or everything. */
static char *covers(const char *publication, int version)
{
    const char *schemas =
        version < POSTGRES_15
            ? ""
            : " OR EXISTS (SELECT FROM " PG "pg_publication_namespace m JOIN " PG "pg_class x"
              " ON x.relnamespace = m.pnnspid WHERE x.oid = ANY (up.oids) AND m.pnpubid = ";
    return x_format("(%1$s.puballtables OR EXISTS (SELECT FROM " PG "pg_publication_rel r"
                    " WHERE r.prpubid = %1$s.oid AND r.prrelid = ANY (up.oids))%2$s%3$s%4$s)",
                    publication, schemas, *schemas != '\0' ? publication : "",
                    *schemas != '\0' ? ".oid)" : "");
}

/* What UPDATE and DELETE of ours would meet: somebody's publication of them. The pipeline's own one
 * would stop the application's, too. */
static char *changes(const PipelineConfig *pipeline)
{
    bool tables = pipeline->capture == CAPTURE_TABLES; /* it is asked of each, not of this one */
    bool marks = !tables && pipeline->outbox.on_publish == ON_PUBLISH_MARK;
    bool deletes = !tables && (pipeline->outbox.on_publish == ON_PUBLISH_DELETE ||
                               pipeline->outbox.retain_ms != DURATION_FOREVER);
    AUTO_TEXT own =
        ident_literal(pipeline->wal.publication != NULL ? pipeline->wal.publication : "");
    const char *ours = pipeline->capture == CAPTURE_WAL ? "q.pubupdate OR q.pubdelete" : "false";
    return x_format("(%s OR %s OR (q.pubname = %s AND (%s)))", marks ? "q.pubupdate" : "false",
                    deletes ? "q.pubdelete" : "false", own, ours);
}

/* Up to three names, or statements, of those that match. */
#define SOME(expression, filter)                                                                   \
    PG "array_to_string((" PG "array_agg(" expression " ORDER BY k.oid = c.oid DESC, k.oid)"       \
       " FILTER (WHERE " filter "))[1:3], '%s')"

static void add_tree(const PipelineConfig *pipeline, int version, Text *sql)
{
    bool wal = pipeline->capture == CAPTURE_WAL;
    AUTO_TEXT covered = wal ? covers("b", version) : x_strdup("true");
    AUTO_TEXT breaking = covers("q", version);
    AUTO_TEXT operations = changes(pipeline);
    AUTO_TEXT hidden =
        wal && version >= POSTGRES_15
            ? x_strdup("EXISTS (SELECT FROM " PG "pg_publication_rel r WHERE r.prpubid = b.oid AND"
                       " r.prrelid = ANY (up.oids) AND r.")
            : NULL;
    text_add(sql,
             " LEFT JOIN LATERAL (WITH RECURSIVE t(oid) AS (SELECT c.oid UNION SELECT h.inhrelid"
             "  FROM " PG "pg_inherits h JOIN t ON h.inhparent = t.oid) SELECT ");
    text_printf(sql, SOME("k.sql", "k.relpersistence <> 'p' AND k.relkind <> 'p'") " AS unlogged, ",
                ", ");
    text_printf(sql,
                SOME("'ALTER TABLE ' || k.sql || ' SET LOGGED;'",
                     "k.relpersistence = 'u' AND k.relkind <> 'p'") " AS set_logged, ",
                " ");
    text_printf(sql, SOME("k.sql", "k.relkind = 'f' AND k.oid <> c.oid") " AS foreigners, ", ", ");
    text_printf(sql,
                SOME("CASE WHEN k.relispartition THEN 'ALTER TABLE ' || k.parent || ' DETACH"
                     " PARTITION ' || k.sql ELSE 'ALTER TABLE ' || k.sql || ' NO INHERIT ' ||"
                     " k.parent END || ';'",
                     "k.relkind = 'f' AND k.oid <> c.oid") " AS detach_foreigners, ",
                " ");
    text_add(sql, PG "bool_or(k.oid = c.oid AND k.covered) AS covers_root, ");
    text_printf(sql, SOME("k.sql", "NOT k.covered AND k.relkind <> 'p'") " AS uncovered, ", ", ");
    text_add(sql, PG "bool_or(k.filtered) AS filtered, " PG "bool_or(k.listed) AS listed, " PG
                     "min(k.breaking) AS breaking, " PG
                     "min(k.sql) FILTER (WHERE k.breaking IS NOT NULL) AS breaks"
                     " FROM (SELECT k.oid, k.relkind, k.relpersistence, k.relispartition,"
                     " CASE WHEN k.relkind = 'f' THEN (SELECT x.relnamespace" SCHEMA
                     " || '.' || " PG "quote_ident(x.relname)"
                     " FROM " PG "pg_inherits h JOIN " PG "pg_class x ON x.oid = h.inhparent"
                     "  WHERE h.inhrelid = k.oid LIMIT 1) END AS parent,");
    text_printf(sql, " %s AS covered, %s%s AS filtered, %s%s AS listed,", covered,
                hidden != NULL ? hidden : "", hidden != NULL ? "prqual IS NOT NULL)" : "false",
                hidden != NULL ? hidden : "", hidden != NULL ? "prattrs IS NOT NULL)" : "false");
    text_printf(
        sql,
        " CASE WHEN k.relkind = 'r' AND k.relreplident <> 'f' AND NOT EXISTS (SELECT FROM"
        "  " PG "pg_index i WHERE i.indrelid = k.oid AND i.indisvalid AND i.indimmediate AND"
        "  CASE k.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident"
        "  ELSE false END) THEN (SELECT " PG "min(q.pubname::text) FROM " PG "pg_publication q"
        "  WHERE %s AND %s) END AS breaking,"
        " k.relnamespace" SCHEMA " || '.' || " PG "quote_ident(k.relname)"
        " AS sql FROM t JOIN " PG "pg_class k ON k.oid = t.oid"
        " CROSS JOIN LATERAL (SELECT ARRAY(SELECT k.oid UNION SELECT a.relid::oid FROM"
        "  " PG "pg_partition_ancestors(k.oid) a) AS oids) up) k) tree ON true",
        operations, breaking);
}

static void add_columns(const PipelineConfig *pipeline, Text *sql)
{
    size_t count = 0;
    NeededColumn *needed = needed_columns(pipeline, &count);
    text_add(sql,
             " LEFT JOIN LATERAL (SELECT"
             " " PG "string_agg(CASE WHEN a.attnum IS NULL THEN '-' ELSE '+' END, '' ORDER BY v.i)"
             "  AS present,"
             " " PG "string_agg(CASE WHEN a.attnum IS NULL OR " PG
             "has_column_privilege(c.oid, a.attnum, 'SELECT') THEN '+' ELSE '-' END, '' ORDER BY"
             "  v.i) AS readable,"
             " " PG "string_agg(CASE WHEN a.attgenerated IN ('s', 'v') THEN a.attgenerated::text"
             "  ELSE '-' END, '' ORDER BY v.i) AS generated,"
             " " PG "string_agg(coalesce(" PG "format_type(a.atttypid, NULL), ''), '/' ORDER BY"
             "  v.i) AS types"
             " FROM (VALUES ");
    for (size_t i = 0; i < count; i++) {
        AUTO_TEXT name = ident_literal(needed[i].name);
        text_printf(sql, "%s(%zu, %s)", i > 0 ? ", " : "", i, name);
    }
    free(needed);
    text_add(sql, ") AS v(i, name) LEFT JOIN " PG "pg_attribute a ON a.attrelid = c.oid"
                  " AND a.attname = v.name AND a.attnum > 0 AND NOT a.attisdropped) col ON true");
    AUTO_TEXT published = ident_literal(pipeline->outbox.columns[FIELD_PUBLISHED_AT]);
    AUTO_TEXT seq = ident_literal(pipeline->outbox.columns[FIELD_SEQ]);
    text_printf(
        sql,
        " LEFT JOIN LATERAL (SELECT a.attnum, a.attnotnull, a.attgenerated,"
        "  " PG "pg_get_expr(f.adbin, f.adrelid) AS value FROM " PG "pg_attribute a"
        "  LEFT JOIN " PG "pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum"
        "  WHERE a.attrelid = c.oid AND a.attname = %s AND NOT a.attisdropped) pub ON true"
        " LEFT JOIN LATERAL (SELECT a.attnum, a.attnotnull, a.attidentity, q.seqrelid, q.seqcache,"
        "  q.seqincrement, q.seqcycle, coalesce(w.drawn, false) AS drawn,"
        "  x.relnamespace" SCHEMA " || '.' || " PG "quote_ident(x.relname)"
        " AS sql FROM " PG "pg_attribute a"
        "  LEFT JOIN LATERAL (SELECT o.oid, o.drawn FROM (SELECT d.objid AS oid,"
        "    a.attidentity <> '' AS drawn FROM " PG "pg_depend d WHERE d.refobjid = c.oid"
        "    AND d.refobjsubid = a.attnum AND d.refclassid = 'pg_catalog.pg_class'::regclass"
        "    AND d.classid = 'pg_catalog.pg_class'::regclass AND d.deptype IN ('a', 'i')"
        "   UNION ALL SELECT d.refobjid, true FROM " PG "pg_attrdef f JOIN " PG "pg_depend d"
        "    ON d.objid = f.oid AND d.classid = 'pg_catalog.pg_attrdef'::regclass"
        "    AND d.refclassid = 'pg_catalog.pg_class'::regclass WHERE f.adrelid = c.oid"
        "    AND f.adnum = a.attnum) o WHERE EXISTS (SELECT FROM " PG "pg_sequence q"
        "    WHERE q.seqrelid = o.oid) ORDER BY o.drawn DESC LIMIT 1) w ON true"
        "  LEFT JOIN " PG "pg_sequence q ON q.seqrelid = w.oid"
        "  LEFT JOIN " PG "pg_class x ON x.oid = q.seqrelid"
        "  WHERE a.attrelid = c.oid AND a.attname = %s AND NOT a.attisdropped) sq ON true",
        published, seq);
}

/* The entries of the publication that carry the table: for its rows those of the table itself and
 * of what it is a partition of; those that inherit from it have their own. Of a schema also what
 * tells that the table is in it: it leaves such a publication with SET SCHEMA. */
static void add_publication(const PipelineConfig *pipeline, int version, Text *sql)
{
    AUTO_TEXT publication = ident_literal(pipeline->wal.publication);
    bool schemas = version >= POSTGRES_15;
    text_printf(
        sql,
        " LEFT JOIN " PG "pg_publication b ON b.pubname = %s"
        " LEFT JOIN LATERAL (SELECT " PG "string_agg(e.oid || ':' || e.xmin, ',' ORDER BY e.oid)"
        "  AS identity, coalesce(" PG "bool_or(e.open), false) AS open FROM (SELECT r.oid, r.xmin,"
        "   CASE WHEN r.xmax <> '0'::xid THEN EXISTS (SELECT FROM " PG "pg_locks l WHERE"
        "   l.locktype = 'transactionid' AND l.granted AND l.transactionid = r.xmax) END AS open"
        "   FROM " PG "pg_publication_rel r WHERE r.prpubid = b.oid AND (r.prrelid = c.oid"
        "   OR r.prrelid IN (SELECT a.relid FROM " PG "pg_partition_ancestors(c.oid) a)"
        "   OR (c.relkind = 'r' AND r.prrelid IN (WITH RECURSIVE t(oid) AS (SELECT h.inhrelid FROM"
        "    " PG "pg_inherits h WHERE h.inhparent = c.oid UNION SELECT h.inhrelid FROM"
        "    " PG "pg_inherits h JOIN t ON h.inhparent = t.oid) SELECT t.oid FROM t)))",
        publication);
    if (schemas) {
        text_add(sql, "   UNION ALL SELECT m.oid, m.xmin, CASE WHEN m.xmax <> '0'::xid THEN EXISTS"
                      "   (SELECT FROM " PG "pg_locks l WHERE l.locktype = 'transactionid' AND"
                      "   l.granted AND l.transactionid = m.xmax) END FROM"
                      "   " PG "pg_publication_namespace m WHERE m.pnpubid = b.oid"
                      "   AND m.pnnspid = c.relnamespace"
                      "   UNION ALL SELECT d.refobjid, d.xmin, CASE WHEN d.xmax <> '0'::xid THEN"
                      "   EXISTS (SELECT FROM " PG "pg_locks l WHERE l.locktype = 'transactionid'"
                      "   AND l.granted AND l.transactionid = d.xmax) END FROM"
                      "   " PG "pg_publication_namespace m JOIN " PG "pg_depend d ON d.classid ="
                      "   'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0"
                      "   AND d.refclassid = 'pg_catalog.pg_namespace'::regclass AND d.refobjid ="
                      "   m.pnnspid WHERE m.pnpubid = b.oid");
    }
    text_add(sql, "  ) e) entry ON true");
}

static void add_slot(const PipelineConfig *pipeline, Text *sql)
{
    AUTO_TEXT slot = ident_literal(pipeline->wal.slot != NULL ? pipeline->wal.slot : "");
    text_printf(sql, " LEFT JOIN " PG "pg_replication_slots s ON s.slot_name = %s", slot);
}

/* A schema of one of these tables that the role may not use. */
static void add_closed_schema(const PipelineConfig *pipeline, Text *sql)
{
    bool log = pipeline->capture != CAPTURE_POLL;
    bool letters = pipeline->on_poison == ON_POISON_DEAD_LETTER ||
                   pipeline->route.on_unrouted == ON_UNROUTED_DEAD_LETTER ||
                   pipeline->route.on_missing_topic == ON_MISSING_TOPIC_DEAD_LETTER ||
                   pipeline->wal.messages;
    text_printf(sql,
                " LEFT JOIN LATERAL (SELECT w.oid, w.oid" SCHEMA " AS sql,"
                "  EXISTS (SELECT FROM " PG "pg_class g WHERE g.relnamespace = w.oid"
                "   AND " COMPANION_IS_MIGRATION(
                    "g") ") AS ours"
                         "  FROM (VALUES (1, c.relnamespace)%s%s) AS w(i, oid)"
                         "  WHERE NOT " PG
                         "has_schema_privilege(w.oid, 'USAGE') ORDER BY w.i LIMIT 1)"
                         " shut ON true",
                log ? ", (2, p.nsp)" : ", (2, u.nsp)", letters ? ", (3, d.nsp)" : "");
}

/* PUBLISHER_LOCK_CLASS, and as of pg_locks for two keys. */
#define LOCK_CLASS "1869968482"

/* What somebody may do with the table, and with its rows once they are published. */
#define THEY            "a.usesysid, "
#define WE              ""
#define MAY_READ(who)   PG "has_any_column_privilege(" who "c.oid, 'SELECT')"
#define MAY_MARK(who)   PG "has_column_privilege(" who "c.oid, pub.attnum, 'UPDATE')"
#define MAY_DELETE(who) PG "has_table_privilege(" who "c.oid, 'DELETE')"
#define MAY_KEEP(who)   PG "has_table_privilege(" who "p.oid, 'UPDATE')"
/* What we lack ourselves is said of us: whoever lacks it, too, may be a relay like us. */
#define THEY_LACK(may)                                                                             \
    "(NOT " MAY_READ(THEY) " OR NOT " may(THEY) ") AND " MAY_READ(WE) " AND " may(WE)

/* Holder before waiters: granted, pid, role, application; a unit separator between them. Of those
 * that lack one of the two rights, the first; where nobody can say, they have it. */
static void add_stranger(const char *lack, const char *name, Text *sql)
{
    text_printf(sql,
                "(" PG "array_agg(" PG "concat_ws(" PG "chr(31), l.granted, l.pid,"
                "  " PG "quote_ident(" PG "pg_get_userbyid(a.usesysid)), a.application_name)"
                "  ORDER BY l.granted DESC, l.pid) FILTER (WHERE %s))[1] AS %s",
                lack, name);
}

/* All who hold the lock or wait for it, looked for once. pg_stat_get_activity is what
 * pg_stat_activity stands on, of one process: the view would join two catalogs more. */
static void add_strangers(const PipelineConfig *pipeline, Text *sql)
{
    text_add(sql, " LEFT JOIN LATERAL (SELECT ");
    if (pipeline->capture != CAPTURE_TABLES) { /* which neither marks nor deletes */
        add_stranger(THEY_LACK(MAY_MARK), "no_marker, ", sql);
        add_stranger(THEY_LACK(MAY_DELETE), "no_deleter, ", sql);
    }
    add_stranger(THEY_LACK(MAY_KEEP), "no_keeper", sql);
    text_add(sql, " FROM " PG "pg_locks l CROSS JOIN LATERAL " PG "pg_stat_get_activity(l.pid) a"
                  " WHERE l.locktype = 'advisory' AND l.classid::bigint = " LOCK_CLASS
                  " AND l.objid = c.oid AND l.objsubid = 2 AND l.pid <> " PG "pg_backend_pid()"
                  " AND l.database = (SELECT o.oid FROM " PG "pg_database o WHERE o.datname ="
                  "  " PG "current_database()) AND a.usesysid IS NOT NULL) stranger ON true");
}

void precondition_add_from(const PipelineConfig *pipeline, const OutboxTable *table,
                           int server_version, Text *sql)
{
    add_table(table, sql);
    companion_add(COMPANION_DEAD_LETTER, "d", sql);
    companion_add(COMPANION_POSITION, "p", sql);
    companion_add(COMPANION_PUBLISHER, "u", sql);
    companion_add(COMPANION_PAUSE, "z", sql);
    if (pipeline->capture == CAPTURE_WAL) {
        add_publication(pipeline, server_version, sql);
    }
    add_tree(pipeline, server_version, sql);
    if (pipeline->capture == CAPTURE_TABLES) {
        companion_add(COMPANION_CAPTURED, "done", sql);
        precondition_add_mapped(pipeline, server_version, sql);
    } else {
        add_columns(pipeline, sql);
    }
    add_closed_schema(pipeline, sql);
    add_slot(pipeline, sql);
    add_strangers(pipeline, sql);
}
