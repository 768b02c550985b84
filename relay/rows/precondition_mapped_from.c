/* What the list asks of the mapped tables, as one row: "mapped" of precondition_from.c. Most of its
 * columns are lists (precondition_some.h) over the parts of the query of mapped_sql.c; of tables
 * it is told how many are named, and not only meant by a pattern. */
#include "rows/mapped_internal.h"
#include "rows/precondition_internal.h"

#define PG "pg_catalog."

/* A unit separator between the fields of one name. */
#define AND_FIELD " || " PG "chr(31) || "

/* An exact name that means no table, and the relation that has it. */
#define NAMELESS                                                                                   \
    "(SELECT m.i, k.relkind FROM named m LEFT JOIN " PG "pg_namespace n ON n.nspname = m.s"        \
    " LEFT JOIN " PG "pg_class k ON k.relnamespace = n.oid AND k.relname = m.t"                    \
    " WHERE NOT EXISTS (SELECT FROM hit h WHERE h.i = m.i)) m"

#define PUBLISHED "(t.first_entry IS NOT NULL OR t.second_entry IS NOT NULL)"
#define UNHEARD   "t.logged AND t.under IS NULL AND NOT " PUBLISHED
#define HEARD     "t.logged AND " PUBLISHED

/* A column that a mapping's lists name, and that none of the tables it means has. */
#define COLUMNLESS                                                                                 \
    "EXISTS (SELECT FROM hit h WHERE h.i = m.i) AND NOT EXISTS (SELECT FROM hit h JOIN " PG        \
    "pg_attribute a ON a.attrelid = h.oid AND a.attname = m.name AND a.attnum > 0 WHERE h.i = "    \
    "m.i)"

/* wants: bits OPERATION_, 1 to create, 2 to update, 4 to delete, 8 to truncate. */
#define UNCHANGED "((t.wants & 2 <> 0 AND NOT t.updates) OR (t.wants & 4 <> 0 AND NOT t.deletes))"
#define UNSENT                                                                                     \
    "((t.wants & 1 <> 0 AND NOT t.inserts) OR (t.wants & 8 <> 0 AND NOT t.truncates)"              \
    " OR (t.first_entry IS NOT NULL AND t.usable AND " UNCHANGED "))"

/* Columns of a row filter that an old row lacks. */
#define UNCOVERED                                                                                  \
    "(SELECT " PG "string_agg(DISTINCT " PG "quote_ident(a.attname), ', ') FROM"                   \
    " " PG "pg_publication_rel r JOIN b ON b.oid = r.prpubid AND (b.pubupdate OR b.pubdelete)"     \
    " JOIN " PG "pg_depend d ON d.classid = 'pg_catalog.pg_publication_rel'::" PG "regclass AND"   \
    " d.objid = r.oid AND d.refclassid = 'pg_catalog.pg_class'::" PG "regclass AND d.refobjid ="   \
    " r.prrelid AND d.refobjsubid > 0 JOIN " PG "pg_attribute a ON a.attrelid = r.prrelid AND"     \
    " a.attnum = d.refobjsubid WHERE r.prrelid = t.mapped_oid AND "                                \
    "NOT " IN_IDENTITY("t.mapped_oid", "t.kind", "a.attname") ")"

/* Where it may be put in again; of one that may not, that is said first. One with a filter is
 * compared with it (mapped_filter.h). */
#define RENEWABLE       "(t.usable OR t.first_entry IS NULL) AND NOT t.has_filter"
#define TABLE_AND_FIRST "t.sql" AND_FIELD "(t.first_entry IS NOT NULL)"

typedef struct List {
    const char *name;
    const char *value; /* NULL: the table */
    const char *from;  /* NULL: the tables for which `condition` holds */
    const char *condition;
} List;

static const List LISTS[] = {
    {"mapped_nameless", "m.i", NAMELESS, "m.relkind IS NULL"},
    {"mapped_private", "m.i", NAMELESS, "m.relkind IN ('r', 'p')"},
    {"mapped_kinds", "m.i" AND_FIELD "m.relkind::" PG "text", NAMELESS,
     "m.relkind NOT IN ('r', 'p')"},
    {"mapped_unmatched", "m.i", "pattern m", "NOT EXISTS (SELECT FROM hit h WHERE h.i = m.i)"},
    {"mapped_columnless", "m.i" AND_FIELD "m.option" AND_FIELD "m.name", "listed m", COLUMNLESS},
    {"mapped_twice", "t.sql" AND_FIELD "t.mapping" AND_FIELD "t.second", NULL,
     "t.second IS NOT NULL"},
    {"mapped_parts", "m.i", "named m JOIN hit h ON h.i = m.i",
     "NOT EXISTS (SELECT FROM t WHERE t.mapped_oid = h.oid)"},
    {"mapped_under", "t.sql" AND_FIELD "t.under", NULL, "t.under IS NOT NULL"},
    {"mapped_absent", NULL, NULL, UNHEARD},
    {"mapped_absent_usable", NULL, NULL, UNHEARD " AND NOT t.has_filter AND t.usable"},
    {"mapped_absent_unusable", NULL, NULL, UNHEARD " AND NOT t.has_filter AND NOT t.usable"},
    {"mapped_refused", NULL, NULL, "NOT t.usable AND (t.updates OR t.deletes)"},
    {"mapped_unsent", NULL, NULL, HEARD " AND " UNSENT},
    {"mapped_inserts_only", NULL, NULL, HEARD " AND NOT t.usable AND " UNCHANGED},
    {"mapped_could_change", NULL, NULL,
     HEARD " AND t.first_entry IS NULL AND t.usable AND " UNCHANGED},
    {"mapped_listed", TABLE_AND_FIRST, NULL, "t.listed AND " RENEWABLE},
    {"mapped_filtered", TABLE_AND_FIRST, NULL, "t.filtered AND " RENEWABLE},
    {"mapped_by_parts", NULL, NULL, "t.by_parts"},
    {"mapped_unlogged", NULL, NULL, "NOT t.logged"},
    {"mapped_foreign", NULL, NULL, "t.is_foreign"},
    {"mapped_unreadable", NULL, NULL, "NOT t.selects"},
    {"mapped_hidden", NULL, NULL, "t.hidden"},
    {"mapped_forced", NULL, NULL, "t.hidden AND t.forced"},
};

/* Of no meaning where no mapping has a filter; planning it takes time. */
static const List FILTERS = {"mapped_uncovered", "t.sql" AND_FIELD UNCOVERED, NULL,
                             "t.has_filter AND t.usable AND (t.updates OR t.deletes) AND " UNCOVERED
                             " IS NOT NULL"};

static void add_list(const List *list, Text *sql)
{
    const char *value = list->value != NULL ? list->value : "t.sql";
    bool tables = list->from == NULL;
    text_printf(sql,
                "(SELECT " PG "count(*) || %5$s" PG "chr(30) || " PG "array_to_string((" PG
                "array_agg(%1$s ORDER BY %1$s))[1:5], " PG "chr(30)) FROM %2$s WHERE %3$s"
                " HAVING " PG "count(*) > 0) AS %4$s, ",
                value, tables ? "t" : list->from, list->condition, list->name,
                tables ? "'/' || " PG "count(*) FILTER (WHERE NOT t.by_pattern) || " : "");
}

void precondition_add_mapped(const PipelineConfig *pipeline, int server_version, Text *sql)
{
    text_add(sql, " CROSS JOIN LATERAL (");
    mapped_add_parts(pipeline, &(MappedQuestion){0}, server_version, sql);
    text_add(sql, " SELECT ");
    for (size_t i = 0; i < sizeof(LISTS) / sizeof(LISTS[0]); i++) {
        add_list(&LISTS[i], sql);
    }
    if (mapped_has_filters(pipeline)) {
        add_list(&FILTERS, sql);
    } else {
        text_printf(sql, "NULL::" PG "text AS %s, ", FILTERS.name);
    }
    text_add(sql, "(SELECT " PG "string_agg(DISTINCT " PG "quote_ident(t.schema), ', ') FROM t"
                  "  WHERE NOT t.uses) AS mapped_closed,"
                  " (SELECT b.identity FROM b WHERE b.first) AS publication_oid,"
                  " (SELECT b.identity FROM b WHERE NOT b.first) AS mapped_second,"
                  " " PG "has_database_privilege(" PG "current_database(), 'CREATE') AND NOT EXISTS"
                  "  (SELECT FROM t WHERE NOT t.owned) AS may_create,");
    /* An entry of a schema, or of everything, cannot be taken out for one table; one with a filter
     * is not put in by what knows nothing of it. */
    text_add(sql, " EXISTS (SELECT FROM t WHERE NOT t.usable AND (t.updates OR t.deletes) AND"
                  "  (t.has_filter OR t.first_entry = 'all' OR"
                  "   " PG "strpos(t.first_entry, '.') > 0)) AS mapped_refused_wide,"
                  " (SELECT " PG "concat_ws(' ', 'publications', (SELECT " PG
                  "string_agg(b.identity, ' ' ORDER BY b.oid) FROM b), 'tables', " PG "count(*),"
                  "  " PG "hashtextextended(" PG "string_agg(" PG "concat_ws(' ', t.mapped_oid,"
                  "   t.first_entry, '/', t.second_entry), ',' ORDER BY t.mapped_oid), 0))"
                  "  FROM t) AS identity,"
                  " coalesce((SELECT " PG "bool_or(t.open) FROM t), false) AS pending) mapped");
}
