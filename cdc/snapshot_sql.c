#include "cdc/snapshot_sql.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cdc/captured_answers.h"
#include "pg/ident.h"
#include "pg/result.h"
#include "rows/mapped.h"

enum { GENERATED_COLUMNS = 180000 /* may be published */ };

/* Whatever of the columns changes what is read, or what it means. */
#define SHAPE(oid)                                                                                 \
    "(SELECT pg_catalog.string_agg(s.attnum || ':' || s.attname || ':' || s.atttypid || ':' || "   \
    "s.atttypmod || s.attgenerated::pg_catalog.text, ',' ORDER BY s.attnum) FROM "                 \
    "pg_catalog.pg_attribute s WHERE "                                                             \
    "s.attrelid = " oid " AND s.attnum > 0 AND NOT s.attisdropped)"

/* pg_class c shows what the snapshot does. */
#define SAME "coalesce(c.relfilenode = pg_catalog.pg_relation_filenode(c.oid), false)"

/* The table, and the leaves of its partitions. A leaf that the role may not read by its own name is
 * read by that of its root, the same blocks of all leaves at a time. */
#define TREE                                                                                       \
    "t(oid) AS (SELECT %u::pg_catalog.oid UNION ALL SELECT h.inhrelid FROM t"                      \
    " JOIN pg_catalog.pg_class p ON p.oid = t.oid AND p.relkind = 'p'"                             \
    " JOIN pg_catalog.pg_inherits h ON h.inhparent = t.oid)"

void snapshot_add_session(Text *sql)
{
    /* The relay reads no faster than the broker takes records, which is no fault of the session. A
     * chunk is read by its place, and rows in their order. */
    text_add(sql, "SET statement_timeout = 0; SET lock_timeout = 0; SET tcp_user_timeout = 0; "
                  "SET enable_seqscan = on; SET synchronize_seqscans = off");
}

static void add_begin(const char *snapshot, Text *sql)
{
    text_add(sql, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; ");
    if (*snapshot != '\0') {
        AUTO_TEXT name = ident_literal(snapshot);
        text_printf(sql, "SET TRANSACTION SNAPSHOT %s; ", name);
    }
}

void snapshot_add_hold(const char *exported, Text *sql)
{
    add_begin(exported, sql);
    text_add(sql,
             "SELECT pg_catalog.pg_export_snapshot() AS snapshot,"
             " pg_catalog.pg_current_wal_insert_lsn() AS lsn,"
             " (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::pg_catalog.int8"
             " AS at_us, pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()) AS xid");
}

/* Before PostgreSQL 18 no generated column is in the stream, from there on as the publication says;
 * never one that is not stored. */
static void add_is_read(const PipelineConfig *pipeline, int server_version, Text *sql)
{
    if (server_version < GENERATED_COLUMNS) {
        text_add(sql, "a.attgenerated = ''");
        return;
    }
    AUTO_TEXT second_name = mapped_second_publication(pipeline);
    AUTO_TEXT first = ident_literal(pipeline->wal.publication);
    AUTO_TEXT second = ident_literal(second_name);
    text_printf(
        sql,
        "(a.attgenerated = '' OR (a.attgenerated = 's' AND EXISTS (SELECT FROM"
        " pg_catalog.pg_publication p WHERE p.pubname IN (%s, %s) AND p.pubgencols = 's')))",
        first, second);
}

void snapshot_add_columns(const PipelineConfig *pipeline, uint32_t oid, int server_version,
                          Text *sql)
{
    text_add(sql, "SELECT a.attname AS column_name, pg_catalog.quote_ident(a.attname) AS"
                  " column_sql, a.atttypid, a.atttypmod, coalesce(");
    add_is_read(pipeline, server_version, sql);
    text_printf(
        sql,
        ", false) AS is_read, " SHAPE("c.oid") " AS shape_now"
                                               " FROM pg_catalog.pg_class c LEFT JOIN "
                                               "pg_catalog.pg_attribute a ON a.attrelid ="
                                               " c.oid AND a.attnum > 0 AND NOT a.attisdropped "
                                               "WHERE c.oid = %u ORDER BY a.attnum",
        oid);
}

void snapshot_add_description(const PipelineConfig *pipeline, const SnapshotTable *table,
                              const char *snapshot, int server_version, Text *sql)
{
    add_begin(snapshot, sql);
    text_printf(
        sql,
        "WITH RECURSIVE " TREE ", leaf AS (SELECT c.oid AS part_oid, 'ONLY ' ||"
        " pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) AS part,"
        " " SAME " AS same, c.oid = %u OR pg_catalog.has_table_privilege(c.oid, 'SELECT') AS open,"
        " coalesce((pg_catalog.pg_relation_size(c.oid) +"
        "  pg_catalog.current_setting('block_size')::pg_catalog.int8 - 1) /"
        "  pg_catalog.current_setting('block_size')::pg_catalog.int8, 0) AS blocks,"
        " c.reltuples::pg_catalog.int8 AS tuples,"
        " coalesce(pg_catalog.pg_table_size(c.oid), 0)::pg_catalog.int8 AS bytes"
        " FROM t JOIN pg_catalog.pg_class c ON c.oid = t.oid AND c.relkind = 'r'"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace)"
        " SELECT part_oid, part, same, blocks, tuples, bytes FROM leaf WHERE (SELECT"
        "  pg_catalog.bool_and(open) FROM leaf) UNION ALL"
        " SELECT %u::pg_catalog.oid, pg_catalog.min(r.part), pg_catalog.bool_and(same),"
        "  pg_catalog.max(blocks), pg_catalog.sum(tuples)::pg_catalog.int8,"
        "  pg_catalog.sum(bytes)::pg_catalog.int8 FROM leaf CROSS JOIN (SELECT"
        "  pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname)"
        "  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        "  WHERE c.oid = %u) AS r(part) HAVING NOT pg_catalog.bool_and(open) ORDER BY 2; "
        "SELECT " SHAPE("c.oid") " AS shape_then FROM pg_catalog.pg_class c WHERE c.oid = %u; "
                                 "COMMIT; ",
        table->oid, table->oid, table->oid, table->oid, table->oid);
    captured_answers_add_catalog_questions(table->oid, sql);
    text_add(sql, "; ");
    snapshot_add_columns(pipeline, table->oid, server_version, sql);
}

static void add_same(uint32_t oid, Text *sql)
{
    text_printf(sql,
                "WITH RECURSIVE " TREE " SELECT coalesce(pg_catalog.bool_and(" SAME "), false) AS"
                " same FROM t JOIN pg_catalog.pg_class c ON c.oid = t.oid AND c.relkind = 'r'; ",
                oid);
}

void snapshot_add_chunk(const SnapshotTable *table, const SnapshotChunk *chunk,
                        const char *snapshot, const char *filter, Text *sql)
{
    const SnapshotPart *part = chunk->part;
    add_begin(snapshot, sql);
    add_same(part->oid, sql);
    text_printf(sql, "COPY (SELECT %s FROM %s", table->columns, part->sql);
    const char *word = "WHERE";
    if (chunk->from > 0) {
        text_printf(sql, " %s ctid >= '(%u,0)'", word, chunk->from);
        word = "AND";
    }
    if (chunk->to > 0) {
        text_printf(sql, " %s ctid < '(%u,0)'", word, chunk->to);
        word = "AND";
    }
    if (*filter != '\0') {
        text_printf(sql, " %s (%s)", word, filter);
    }
    text_add(sql, ") TO STDOUT; ");
    add_same(part->oid, sql);
    text_printf(sql, "COMMIT; SELECT " SHAPE("%u") " AS shape_now", table->oid);
}

static void read_parts(const PGresult *result, SnapshotAnswer *answer)
{
    for (int row = 0; row < PQntuples(result); row++) {
        int64_t tuples = strtoll(pg_field(result, row, "tuples"), NULL, 10);
        answer->changed = answer->changed || *pg_needed_field(result, row, "same") != 't';
        answer->rows += tuples > 0 ? tuples : 0;
        answer->bytes += strtoll(pg_field(result, row, "bytes"), NULL, 10);
        *vec_add(&answer->parts) = (SnapshotPart){
            .oid = (uint32_t)strtoul(pg_needed_field(result, row, "part_oid"), NULL, 10),
            .sql = x_strdup(pg_needed_field(result, row, "part")),
            .blocks = (uint32_t)strtoul(pg_needed_field(result, row, "blocks"), NULL, 10)};
    }
}

static void take_shape(SnapshotAnswer *answer, const char *shape)
{
    if (answer->shape != NULL && strcmp(answer->shape, shape) != 0) {
        answer->changed = true;
    }
    free(answer->shape);
    answer->shape = x_strdup(shape);
}

static void read_columns(const PGresult *result, SnapshotAnswer *answer)
{
    for (int row = 0; row < PQntuples(result); row++) {
        answer->told = true;
        if (*pg_needed_field(result, row, "is_read") != 't') {
            continue;
        }
        *vec_add(&answer->names) = x_strdup(pg_needed_field(result, row, "column_name"));
        *vec_add(&answer->columns) = (ChangeColumn){
            .name = slice_of(answer->names.items[answer->names.count - 1]),
            .type = (uint32_t)strtoul(pg_needed_field(result, row, "atttypid"), NULL, 10),
            .modifier = (int32_t)strtol(pg_needed_field(result, row, "atttypmod"), NULL, 10)};
        text_printf(&answer->list, "%s%s", answer->list.length > 0 ? ", " : "",
                    pg_needed_field(result, row, "column_sql"));
    }
}

bool snapshot_read_answer(const PGresult *result, SnapshotAnswer *answer)
{
    if (PQresultStatus(result) != PGRES_TUPLES_OK) {
        return false;
    }
    if (PQfnumber(result, "part_oid") >= 0) {
        read_parts(result, answer);
    } else if (PQfnumber(result, "shape_then") >= 0) {
        answer->changed = answer->changed || PQntuples(result) == 0;
        take_shape(answer, pg_field(result, 0, "shape_then"));
    } else if (PQfnumber(result, "shape_now") >= 0) {
        take_shape(answer, pg_field(result, 0, "shape_now"));
        if (PQfnumber(result, "column_name") >= 0) {
            read_columns(result, answer);
        }
    } else if (PQfnumber(result, "same") >= 0) {
        answer->changed = answer->changed || *pg_field(result, 0, "same") != 't';
    } else {
        return false;
    }
    return true;
}

void snapshot_table_describe(SnapshotTable *table, SnapshotAnswer *answer)
{
    snapshot_table_forget(table);
    for (size_t i = 0; i < answer->parts.count; i++) {
        *vec_add(&table->parts) = answer->parts.items[i];
    }
    answer->parts.count = 0; /* they are the table's */
    free(table->shape);
    table->shape = answer->shape;
    answer->shape = NULL;
    table->columns = x_strdup(text_string(&answer->list));
    table->rows_expected = answer->rows;
    table->bytes_expected = answer->bytes;
    table->state = TABLE_READS;
}

void snapshot_answer_clear(SnapshotAnswer *answer)
{
    for (size_t i = 0; i < answer->names.count; i++) {
        free(answer->names.items[i]);
    }
    for (size_t i = 0; i < answer->parts.count; i++) {
        free(answer->parts.items[i].sql);
    }
    vec_free(&answer->names);
    vec_free(&answer->columns);
    vec_free(&answer->parts);
    text_free(&answer->list);
    free(answer->shape);
    error_clear(&answer->failed);
    memset(answer, 0, sizeof(*answer));
}

SnapshotAnswer *snapshot_answer_new(void)
{
    return x_calloc(1, sizeof(SnapshotAnswer));
}

void snapshot_answer_free(SnapshotAnswer **answer)
{
    if (*answer == NULL) {
        return;
    }
    snapshot_answer_clear(*answer);
    free(*answer);
    *answer = NULL;
}
