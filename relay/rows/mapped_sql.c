/* The query of mapped.h. Its parts, by name:
 *
 *   own       the schema of the pipeline's own tables
 *   b         the pipeline's publications
 *   rel       tables that can be meant
 *   named     exact names, by mapping;  pattern  expressions, by mapping
 *   listed    columns that the lists of a mapping name
 *   hit       a table and a mapping that means it
 *   meant     a table, the first mapping that means it, the second
 *   c         a table that is meant, and whose root is not
 *   up        the table and what it is a partition of
 *   leaf      the partitions that have rows, together
 *   sent      what the publications send of it
 *   t         all that is asked, a row for each table
 *
 * Everything is qualified. What only later versions have is asked only of these. Names are joined,
 * not searched for, as a configuration may name thousands. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "pg/ident.h"
#include "rows/companion.h"
#include "rows/mapped_internal.h"
#include "rows/mapped_name.h"
#include "rows/precondition_internal.h"

#define PG     "pg_catalog."
#define SCHEMA "::" PG "regnamespace::" PG "text"

/* PostgreSQL lets updates and deletes of x pass when they are published. */
#define USABLE(x)                                                                                  \
    "(" x ".relreplident = 'f' OR EXISTS (SELECT FROM " PG "pg_index i WHERE i.indrelid = " x      \
    ".oid AND i.indisvalid AND i.indimmediate AND CASE " x ".relreplident WHEN 'd' THEN"           \
    " i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END))"

/* A transaction that has not ended yet changes or drops the catalog row x. */
#define OPEN(x)                                                                                    \
    "(" x ".xmax <> '0'::" PG "xid AND EXISTS (SELECT FROM " PG "pg_locks l WHERE l.locktype ="    \
    " 'transactionid' AND l.granted AND l.transactionid = " x ".xmax))"

/* A schema that patterns may mean: none of PostgreSQL itself. */
#define MAY_BE_MEANT(x) "(" x " NOT LIKE 'pg\\_%' AND " x " <> 'information_schema')"

enum { NAME_BYTES_MAX = 63 };

char *mapped_second_publication(const PipelineConfig *pipeline)
{
    static const char SUFFIX[] = "_inserts";
    const char *first = pipeline->wal.publication;
    size_t length = strlen(first);
    if (length > NAME_BYTES_MAX - strlen(SUFFIX)) {
        length = NAME_BYTES_MAX - strlen(SUFFIX);
        while (length > 0 && ((unsigned char)first[length] & 0xC0) == 0x80) {
            length--; /* whole characters */
        }
    }
    return x_format("%.*s%s", (int)length, first, SUFFIX);
}

static void add_publications(const PipelineConfig *pipeline, Text *sql)
{
    AUTO_TEXT name = mapped_second_publication(pipeline);
    AUTO_TEXT first = ident_literal(pipeline->wal.publication);
    AUTO_TEXT second = ident_literal(name);
    text_printf(
        sql,
        "b AS MATERIALIZED (SELECT p.oid, p.puballtables, p.pubviaroot, p.pubinsert,"
        " p.pubupdate, p.pubdelete, p.pubtruncate, p.pubname = %s AS first,"
        " p.oid || ':' || p.xmin AS identity, " OPEN(
            "p") " AS open,"
                 " " PG "concat(CASE WHEN p.pubinsert THEN 'i' END, CASE WHEN p.pubupdate THEN 'u'"
                 " END, CASE WHEN p.pubdelete THEN 'd' END, CASE WHEN p.pubtruncate THEN 't' END)"
                 " AS operations FROM " PG "pg_publication p WHERE p.pubname IN (%s, %s)), ",
        first, first, second);
}

static void add_own(const PipelineConfig *pipeline, Text *sql)
{
    AUTO_TEXT quoted = NULL;
    AUTO_ERROR err = {0};
    text_add(sql, "own AS MATERIALIZED (SELECT c.relnamespace AS oid FROM (SELECT 1) one");
    AUTO_TEXT name = ident_quote_table(pipeline->outbox.table, &quoted, &err) == OK
                         ? ident_literal(quoted)
                         : x_strdup("'outbox.position'");
    companion_add_table(name, sql);
    text_add(sql, "), ");
}

static void add_tables(const PipelineConfig *pipeline, Text *sql)
{
    add_own(pipeline, sql);
    text_add(sql, "rel AS MATERIALIZED (SELECT k.oid, k.relname, n.nspname, k.relispartition FROM"
                  " " PG "pg_class k JOIN " PG "pg_namespace n ON n.oid = k.relnamespace"
                  " WHERE k.relkind IN ('r', 'p') AND k.relpersistence <> 't'"
                  " AND " MAY_BE_MEANT("n.nspname") " AND n.oid NOT IN (SELECT own.oid FROM own"
                                                    " WHERE own.oid IS NOT NULL)");
    text_add(sql, "), ");
}

/* The VALUES of the mappings that are of this kind; without any, no row. */
static void add_names(const PipelineConfig *pipeline, bool patterns, Text *sql)
{
    text_printf(sql, "%s(i, s, s_like, t, t_like, wants, has_filter) AS MATERIALIZED (",
                patterns ? "pattern" : "named");
    bool some = false;
    for (size_t i = 0; i < pipeline->tables.mapping_count; i++) {
        const MappingConfig *mapping = &pipeline->tables.mappings[i];
        MappedName name = {0};
        if (!mapped_name_read(mapping->table, &name)) {
            continue; /* the configuration refuses it */
        }
        if ((name.schema.is_pattern || name.table.is_pattern) == patterns) {
            AUTO_TEXT schema = ident_literal(name.schema.text);
            AUTO_TEXT table = ident_literal(name.table.text);
            text_printf(sql, "%s(%zu, %s, %s, %s, %s, %u, %s)", some ? ", " : "VALUES ", i, schema,
                        name.schema.is_pattern ? "true" : "false", table,
                        name.table.is_pattern ? "true" : "false", mapping->operations,
                        mapped_filter_of(mapping) != NULL ? "true" : "false");
            some = true;
        }
        mapped_name_clear(&name);
    }
    text_add(sql, some ? "), " : "SELECT 0, '', false, '', false, 0, false WHERE false), ");
}

typedef struct Listed {
    size_t mapping;
    bool some;
    Text *sql;
} Listed;

static void add_listed(void *arg, const char *option, const char *column)
{
    Listed *listed = arg;
    AUTO_TEXT name = ident_literal(column);
    text_printf(listed->sql, "%s(%zu, '%s', %s)", listed->some ? ", " : "VALUES ", listed->mapping,
                option, name);
    listed->some = true;
}

static void add_columns(const PipelineConfig *pipeline, Text *sql)
{
    Listed listed = {.sql = sql};
    text_add(sql, "listed(i, option, name) AS MATERIALIZED (");
    for (size_t i = 0; i < pipeline->tables.mapping_count; i++) {
        listed.mapping = i;
        mapping_each_column(&pipeline->tables.mappings[i], add_listed, &listed);
    }
    text_add(sql, listed.some ? "), " : "SELECT 0, '', '' WHERE false), ");
}

void mapped_add_name_query(const PipelineConfig *pipeline, const MappedTold *told, Text *sql)
{
    AUTO_TEXT schema = ident_literal(told->schema);
    AUTO_TEXT name = ident_literal(told->name);
    text_add(sql, "WITH ");
    add_own(pipeline, sql);
    add_names(pipeline, false, sql);
    add_names(pipeline, true, sql);
    text_printf(sql,
                "told(turn, s, t) AS (SELECT 0, %s, %s UNION ALL SELECT 1, n.nspname::" PG
                "text, k.relname::" PG "text FROM " PG "pg_class k JOIN " PG "pg_namespace n"
                " ON n.oid = k.relnamespace WHERE k.oid = %u AND k.relkind IN ('r', 'p') AND NOT"
                " k.relispartition), ",
                schema, name, told->oid);
    text_add(sql, "r AS (SELECT * FROM told WHERE " MAY_BE_MEANT(
                      "told.s") " AND NOT EXISTS"
                                " (SELECT FROM own JOIN " PG "pg_namespace n ON n.oid = own.oid"
                                " WHERE n.nspname = told.s)) SELECT (SELECT h.i FROM"
                                " (SELECT r.turn, m.i FROM r JOIN named m USING (s, t) UNION ALL "
                                "SELECT r.turn, m.i"
                                " FROM r JOIN pattern m ON CASE WHEN m.s_like THEN r.s ~ m.s ELSE "
                                "r.s = m.s END AND"
                                " CASE WHEN m.t_like THEN r.t ~ m.t ELSE r.t = m.t END) h ORDER BY "
                                "h.turn, h.i"
                                " LIMIT 1) AS " MAPPED_BY_NAME);
}

static void add_meant(Text *sql)
{
    text_add(
        sql,
        "hit AS MATERIALIZED (SELECT r.oid, m.i, m.wants, m.has_filter, false AS by_pattern"
        "  FROM rel r JOIN named m"
        "  ON m.s = r.nspname AND m.t = r.relname"
        "  UNION ALL SELECT r.oid, m.i, m.wants, m.has_filter, true FROM rel r JOIN pattern m ON"
        "  CASE WHEN m.s_like THEN r.nspname ~ m.s ELSE r.nspname = m.s END AND"
        "  CASE WHEN m.t_like THEN r.relname ~ m.t ELSE r.relname = m.t END),"
        " meant AS MATERIALIZED (SELECT h.oid, " PG "min(h.i) AS mapping,"
        "  (" PG "array_agg(h.i ORDER BY h.i))[2] AS second,"
        "  (" PG "array_agg(h.wants ORDER BY h.i))[1] AS wants,"
        "  (" PG "array_agg(h.has_filter ORDER BY h.i))[1] AS has_filter,"
        "  " PG "bool_and(h.by_pattern) AS by_pattern"
        "  FROM hit h GROUP BY h.oid),"
        " c AS MATERIALIZED (SELECT k.oid, k.relname, k.relnamespace, k.relkind,"
        "  k.relreplident, k.relpersistence, k.relispartition, k.relowner, k.reltuples,"
        "  k.relrowsecurity, k.relforcerowsecurity, r.nspname, m.mapping, m.second,"
        "  m.wants, m.has_filter, m.by_pattern,"
        "  " PG "quote_ident(r.nspname) || '.' || " PG "quote_ident(k.relname) AS sql"
        "  FROM meant m JOIN rel r ON r.oid = m.oid JOIN " PG "pg_class k ON k.oid = m.oid"
        "  WHERE NOT (r.relispartition AND EXISTS (SELECT FROM"
        "   " PG "pg_partition_ancestors(m.oid) a JOIN meant o ON o.oid = a.relid"
        "   WHERE a.relid <> m.oid))), ");
}

/* Its entries, of which each has its identity; of a schema also what tells that the table is in it,
 * as SET SCHEMA takes it out. What is unlogged is in no publication of all tables. */
static void add_entries(int version, Text *sql)
{
    bool fifteen = version >= POSTGRES_15;
    text_printf(sql,
                " CROSS JOIN LATERAL (SELECT " PG "string_agg(r.oid || ':' || r.xmin, '+' ORDER BY"
                "  r.oid) AS own, " PG "bool_or(%s) AS filtered, " PG "bool_or(%s) AS listed,"
                "  " PG "bool_or(" OPEN("r") ") AS open, " PG "bool_or(r.prrelid <> c.oid) AS above"
                                             "  FROM " PG
                                             "pg_publication_rel r WHERE r.prrelid = ANY (up.oids)"
                                             "  AND r.prpubid = b.oid) e",
                fifteen ? "r.prqual IS NOT NULL" : "false",
                fifteen ? "r.prattrs IS NOT NULL" : "false");
    /* By the table, which is in one schema: by the schema, all that is in it would be read for each
     * of its tables. */
    text_add(sql, fifteen ? " CROSS JOIN LATERAL (SELECT " PG
                            "string_agg(m.oid || ':' || m.xmin || "
                            " '.' || (SELECT d.xmin FROM " PG "pg_depend d WHERE d.classid ="
                            "   'pg_catalog.pg_class'::" PG "regclass AND d.objid = x.oid AND"
                            "   d.objsubid = 0 AND d.refclassid = 'pg_catalog.pg_namespace'::" PG
                            "regclass), '+' ORDER BY m.oid) AS schemas,"
                            "  " PG "bool_or(x.oid <> c.oid) AS above FROM " PG "pg_class x"
                            "  JOIN " PG "pg_publication_namespace m ON m.pnnspid = x.relnamespace"
                            "  AND m.pnpubid = b.oid WHERE x.oid = ANY (up.oids)) s"
                          : " CROSS JOIN (SELECT NULL::" PG "text AS schemas, false AS above) s");
}

#define FIRST_TEXT(value, which) PG "min(" value ") FILTER (WHERE " which ")"

static void add_sent(int version, Text *sql)
{
    text_add(
        sql,
        " LEFT JOIN LATERAL (SELECT " PG "bool_or(b.pubinsert) AS inserts, " PG
        "bool_or(b.pubupdate) AS updates, " PG "bool_or(b.pubdelete) AS deletes, " PG
        "bool_or(b.pubtruncate) AS truncates, " PG "bool_or(e.filtered) AS filtered, " PG
        "bool_or(e.listed) AS listed, " PG "bool_or(b.open OR e.open) AS open,"
        " " PG "bool_or(b.pubviaroot) AS via_root,"
        " " PG "bool_or(b.pubviaroot AND c.relispartition AND (b.puballtables OR e.above OR"
        "  s.above)) AS above,"
        " " FIRST_TEXT("entry.text", "b.first") " AS first_entry,"
                                                " " FIRST_TEXT("entry.text",
                                                               "NOT b.first") " AS second_entry"
                                                                              " FROM b");
    add_entries(version, sql);
    text_add(sql,
             " CROSS JOIN LATERAL (SELECT CASE WHEN b.puballtables AND c.relpersistence = 'p' THEN"
             "  'all' ELSE nullif(" PG "concat_ws('+', e.own, s.schemas), '') END AS text)"
             " entry WHERE entry.text IS NOT NULL) sent ON true");
}

static void add_leaves(bool sizes, Text *sql)
{
    text_printf(sql,
                " LEFT JOIN LATERAL (WITH RECURSIVE t(oid) AS (SELECT h.inhrelid FROM"
                "  " PG "pg_inherits h WHERE h.inhparent = c.oid UNION SELECT h.inhrelid FROM"
                "  " PG "pg_inherits h JOIN t ON h.inhparent = t.oid)"
                " SELECT " PG "bool_and(" USABLE(
                    "l") ") FILTER (WHERE"
                         "  l.relkind = 'r') AS usable,"
                         " " PG "bool_and(l.relpersistence = 'p') AS logged,"
                         " " PG "bool_or(l.relkind = 'f') AS is_foreign,"
                         " " PG "string_agg(DISTINCT l.relreplident::" PG "text, '') FILTER (WHERE"
                         "  l.relkind = 'r') AS identity%s"
                         " FROM t JOIN " PG "pg_class l ON l.oid = t.oid WHERE l.relkind <> 'p' AND"
                         "  c.relkind = 'p') leaf"
                         " ON c.relkind = 'p'",
                sizes ? ", " PG "sum(l.reltuples) FILTER (WHERE l.reltuples >= 0) AS tuples,"
                        " " PG "sum(" PG "pg_table_size(l.oid)) AS bytes"
                      : "");
}

void mapped_add_parts(const PipelineConfig *pipeline, const MappedQuestion *question,
                      int server_version, Text *sql)
{
    text_add(sql, "WITH ");
    add_publications(pipeline, sql);
    add_tables(pipeline, sql);
    add_names(pipeline, false, sql);
    add_names(pipeline, true, sql);
    add_columns(pipeline, sql);
    add_meant(sql);
    text_add(sql,
             "t AS MATERIALIZED (SELECT c.oid AS mapped_oid, c.nspname AS schema, c.relname AS "
             "name, c.sql,"
             " c.mapping, c.second, c.relkind AS kind,"
             " CASE WHEN leaf.identity IS NULL THEN c.relreplident::" PG "text WHEN " PG
             "length(leaf.identity) > 1 THEN 'm' ELSE leaf.identity END AS identity,"
             " CASE WHEN c.relkind = 'p' THEN coalesce(leaf.usable, true) ELSE " USABLE(
                 "c") " END AS usable,"
                      " c.relpersistence = 'p' AND coalesce(leaf.logged, true) AS logged,"
                      " coalesce(leaf.is_foreign, false) AS is_foreign,"
                      " coalesce(sent.inserts, false) AS inserts,"
                      " coalesce(sent.updates, false) AS updates,"
                      " coalesce(sent.deletes, false) AS deletes,"
                      " coalesce(sent.truncates, false) AS truncates,"
                      " coalesce(sent.filtered, false) AS filtered,"
                      " coalesce(sent.listed, false) AS listed,"
                      " coalesce(sent.open, false) AS open,"
                      " c.relkind = 'p' AND coalesce(NOT sent.via_root, false) AS by_parts,"
                      " CASE WHEN sent.above THEN up.root END AS under,"
                      " sent.first_entry, sent.second_entry,"
                      " " PG "has_schema_privilege(c.relnamespace, 'USAGE') AND (" PG
                      "has_table_privilege(c.oid, 'SELECT') OR NOT EXISTS (SELECT FROM " PG
                      "pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT"
                      " a.attisdropped AND NOT " PG
                      "has_column_privilege(c.oid, a.attnum, 'SELECT'))) AS selects,"
                      " c.relrowsecurity AND " PG "row_security_active(c.oid) AS hidden,"
                      " " PG "has_schema_privilege(c.relnamespace, 'USAGE') AS uses,"
                      " " PG "pg_has_role(c.relowner, 'USAGE') AS owned,"
                      " c.relforcerowsecurity AND " PG "pg_has_role(c.relowner, 'USAGE') AS forced,"
                      " c.wants, c.has_filter, c.by_pattern,"
                      " (SELECT b.identity FROM b WHERE b.first) AS first_identity,"
                      " (SELECT b.operations FROM b WHERE b.first) AS first_operations,"
                      " (SELECT b.identity FROM b WHERE NOT b.first) AS second_identity,"
                      " (SELECT b.operations FROM b WHERE NOT b.first) AS second_operations");
    text_add(sql, question->sizes
                      ? ", CASE WHEN c.relkind = 'p' THEN coalesce(leaf.tuples, -1) ELSE "
                        "c.reltuples END::" PG "int8 AS rows, CASE WHEN c.relkind = 'p' THEN "
                        "coalesce(leaf.bytes, 0) ELSE " PG "pg_table_size(c.oid) END::" PG
                        "int8 AS bytes"
                      : "");
    text_add(sql,
             " FROM c CROSS JOIN LATERAL (SELECT CASE WHEN c.relispartition THEN ARRAY(SELECT"
             "  a.relid::" PG "oid FROM " PG "pg_partition_ancestors(c.oid) a) ELSE ARRAY[c.oid]"
             "  END AS oids, CASE WHEN c.relispartition THEN (SELECT x.relnamespace" SCHEMA
             "  || '.' || " PG "quote_ident(x.relname) FROM " PG "pg_class x WHERE x.oid ="
             "  " PG "pg_partition_root(c.oid)) END AS root) up");
    add_leaves(question->sizes, sql);
    add_sent(server_version, sql);
    text_add_char(sql, ')');
}

/* What PostgreSQL allows in a row filter: columns of its own types and collations. A number as the
 * first OID of others is in no catalog. */
#define FIRST_OID_OF_OTHERS "16384"

/* Of each column its name, a value of its type, whether it is in the replica identity. */
static void add_filter_columns(Text *sql)
{
    static const char IS_IN[] = IN_IDENTITY("t.mapped_oid", "t.kind", "a.attname");
    text_printf(sql,
                "(SELECT coalesce(" PG "string_agg(" PG "quote_ident(a.attname) || " PG "chr(31) ||"
                " 'NULL::' || " PG "format_type(a.atttypid, a.atttypmod) || CASE WHEN"
                " a.attcollation IN (0, y.typcollation) THEN '' ELSE ' COLLATE ' ||"
                " a.attcollation::" PG "regcollation END || " PG "chr(31) || %s, " PG "chr(30)"
                " ORDER BY a.attnum), '') FROM " PG "pg_attribute a JOIN " PG "pg_type y ON y.oid ="
                " a.atttypid WHERE a.attrelid = t.mapped_oid AND a.attnum > 0 AND NOT"
                " a.attisdropped AND a.atttypid < " FIRST_OID_OF_OTHERS " AND a.attcollation <"
                " " FIRST_OID_OF_OTHERS ") AS filter_columns",
                IS_IN);
}

static void add_filters(Text *sql)
{
    static const char *const NAMES[][2] = {{"b.first", "first_filter"},
                                           {"NOT b.first", "second_filter"}};
    text_add(sql, " LEFT JOIN LATERAL (SELECT ");
    for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++) {
        text_printf(sql,
                    "(SELECT " PG "pg_get_expr(r.prqual, r.prrelid) FROM " PG "pg_publication_rel r"
                    " JOIN b ON b.oid = r.prpubid AND %s WHERE r.prrelid = t.mapped_oid) AS %s, ",
                    NAMES[i][0], NAMES[i][1]);
    }
    add_filter_columns(sql);
    text_add(sql, ") f ON t.has_filter");
}

void mapped_add_query(const PipelineConfig *pipeline, const MappedQuestion *question,
                      int server_version, Text *sql)
{
    bool filters = question->filters && server_version >= POSTGRES_15;
    mapped_add_parts(pipeline, question, server_version, sql);
    text_add(sql, " SELECT *");
    text_add(sql, question->columns
                      ? ", (SELECT " PG "string_agg(DISTINCT a.attnum || " PG "chr(31) || "
                        "a.attname, " PG "chr(30)) FROM listed l JOIN " PG "pg_attribute a ON "
                        "a.attrelid = t.mapped_oid AND a.attname = l.name AND a.attnum > 0 AND NOT "
                        "a.attisdropped WHERE l.i = t.mapping) AS named_columns"
                      : "");
    text_add(sql, " FROM t");
    if (filters && mapped_has_filters(pipeline)) {
        add_filters(sql);
    }
    text_add(sql, " ORDER BY t.schema, t.name");
}
