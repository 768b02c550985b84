/* What those share who ask which tables are mapped; nobody else includes this. */
#pragma once

#include "rows/mapped.h"

/* Whether the replica identity of a table (of kind p: that of each of its partitions) contains a
 * column of this name. Columns that an index only INCLUDEs are not in an old row. */
#define IN_IDENTITY(table, kind, column)                                                           \
    "(NOT EXISTS (WITH RECURSIVE l(oid) AS (SELECT " table " UNION SELECT h.inhrelid FROM"         \
    " pg_catalog.pg_inherits h JOIN l ON h.inhparent = l.oid WHERE " kind " = 'p') SELECT FROM l"  \
    " JOIN pg_catalog.pg_class k ON k.oid = l.oid AND k.relkind = 'r' AND k.relreplident <> 'f'"   \
    " WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_index i JOIN pg_catalog.pg_attribute x ON"       \
    " x.attrelid = k.oid AND x.attnum = ANY ((i.indkey::pg_catalog.int2[])[0:i.indnkeyatts - 1])"  \
    " WHERE i.indrelid = k.oid AND i.indisvalid AND i.indimmediate AND CASE k.relreplident"        \
    " WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END"                  \
    " AND x.attname = " column ")))"

/** Appends "WITH ...": the parts of the query (mapped_sql.c), of which `t` has a row for each
 * table. A SELECT follows. */
void mapped_add_parts(const PipelineConfig *pipeline, const MappedQuestion *question,
                      int server_version, Text *sql);
