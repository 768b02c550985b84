/* One statement, in four forms, by what is known of the event id's column:
 *
 *   uuid    WHERE r.seq = ANY($1) AND r.id IS NOT DISTINCT FROM ($2)[width_bucket(r.seq, $1)]
 *   other   FROM unnest($1, $2) AS given(seq, id) WHERE r.seq = ANY($1) AND r.seq = given.seq
 *           AND r.id IS NOT DISTINCT FROM given.id::type    (or r.id::text, given.id)
 *   none    WHERE r.seq = ANY($1)
 *
 * An id that was cut because it is too long (rows/table.h) is compared as such, by its beginning.
 *
 * Each is prepared twice. Where the numbers follow each other, or nearly so, the second way reads
 * the index once from the first to the last, instead of going down into it for each number, and
 * leaves out what lies between them:
 *
 *   uuid    WHERE r.seq BETWEEN ($1)[1] AND ($1)[n] AND r.seq = ($1)[width_bucket(r.seq, $1)] AND
 *           r.id ... as above
 *   other   FROM unnest($1, $2) AS given(seq, id) WHERE r.seq BETWEEN ($1)[1] AND ($1)[n] AND
 *           r.seq = given.seq AND ... as above
 *   none    WHERE r.seq BETWEEN ($1)[1] AND ($1)[n] AND r.seq = ($1)[width_bucket(r.seq, $1)]
 *
 * That makes up for the comparison: a DELETE of 2,000 rows costs the server 1.5 us a row by number
 * alone, 2.0 in the first way, 1.5 in the second; an UPDATE 5.3, 5.8 and 5.1.
 *
 * $1 is sorted and without repeats, so width_bucket() is the place of a number in it, found by
 * bisection; elements of fixed length are reached without a walk. That costs 0.3 us a row (uuid[]
 * to and from text, and a join, cost 0.9; the whole UPDATE of a row costs 5). r.seq = ANY($1)
 * stands in the join, too, so that no plan reads the whole index: a plan made while the table was
 * small may live on.
 *
 * Without a position the row that proves the history is written by a statement of its own, behind
 * the mark in the same transaction. The mark locks that row and hits none unless it is ours, so the
 * two are of one mind, and both of the server's word. One statement for both must count what it hit
 * by RETURNING, for which a DELETE fetches each row once more: 1.8 us a row instead of 1.5.
 *
 * The row that proves the history is reached by its ctid: by key, an UPDATE that is repeated
 * thousands of times a minute would walk all versions that an old snapshot somewhere keeps (0.1 ms
 * after 10,000 updates, 0.3 ms after 14,000; by ctid 0.06 ms after 200,000). When VACUUM FULL moved
 * it, no row is hit, and the marker looks for it by its key. */
#include "rows/mark_sql.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "pg/ident.h"

enum {
    INT8_OID = 20, /* pg_type.dat */
    TEXT_OID = 25,
    UUID_OID = 2950,
    UUID_BYTES = 16,
    UUID_TEXT_LENGTH = 36,
    RUN_ROWS_MIN = 32, /* fewer are not worth a second plan */
    RUN_SPARSE = 2,    /* at least one number in so many is one of ours */
};

#define MARK_STATEMENT     "outboxd_mark"
#define MARK_RUN_STATEMENT "outboxd_mark_run"
#define MARK_ROW_STATEMENT "outboxd_mark_row"

static const char *id_column(const MarkSql *mark)
{
    return table_column(mark->table->config, FIELD_EVENT_ID);
}

bool mark_sql_add_id_query(const MarkSql *mark, Text *sql)
{
    if (*id_column(mark) == '\0') {
        return false;
    }
    AUTO_TEXT column = ident_literal(id_column(mark));
    /* Types of extensions are compared as text: their operators may be out of search_path. */
    text_printf(
        sql,
        "SELECT CASE WHEN b.oid = %d THEN 'uuid' WHEN b.typnamespace = 11 AND"
        " (b.typcategory = 'S' OR EXISTS (SELECT FROM pg_catalog.pg_opclass o JOIN"
        " pg_catalog.pg_am m ON m.oid = o.opcmethod WHERE o.opcintype = b.oid AND o.opcdefault"
        " AND m.amname IN ('btree', 'hash'))) THEN pg_catalog.format_type(b.oid, CASE WHEN"
        " t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END) END AS id_type"
        " FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid"
        " JOIN pg_catalog.pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE"
        " t.oid END WHERE a.attrelid = %u AND a.attname = %s AND NOT a.attisdropped",
        UUID_OID, mark->table_oid, column);
    return true;
}

void mark_sql_read_id_type(MarkSql *mark, const char *answer)
{
    mark->id_kind = MARK_ID_TEXT;
    if (*id_column(mark) == '\0') {
        mark->id_kind = MARK_ID_NONE;
    } else if (answer != NULL && strcmp(answer, "uuid") == 0) {
        mark->id_kind = MARK_ID_UUID;
    } else if (answer != NULL && *answer != '\0' && strlen(answer) < sizeof(mark->id_type)) {
        mark->id_kind = MARK_ID_OWN;
        memcpy(mark->id_type, answer, strlen(answer) + 1);
    }
}

static bool is_joined(const MarkSql *mark)
{
    return mark->id_kind == MARK_ID_OWN || mark->id_kind == MARK_ID_TEXT;
}

/* Rows "r" with one of the numbers. */
static void add_numbers(const MarkSql *mark, bool run, Text *sql)
{
    const char *seq = mark->table->seq;
    if (!run) {
        text_printf(sql, "r.%s = ANY($1)", seq);
        return;
    }
    text_printf(sql, "r.%s BETWEEN ($1)[1] AND ($1)[pg_catalog.array_upper($1, 1)]", seq);
    if (!is_joined(mark)) {
        text_printf(sql, " AND r.%1$s = ($1)[pg_catalog.width_bucket(r.%1$s::bigint, $1)]", seq);
    }
}

enum { ID_SHORT_CHARACTERS = 16384 }; /* no id of so many is ever cut (flow/refusal.h) */

static bool id_may_be_cut(const MarkSql *mark)
{
    static const char *const SHORT[] = {"bigint", "integer", "smallint"};
    for (size_t i = 0; i < sizeof(SHORT) / sizeof(SHORT[0]); i++) {
        if (mark->id_kind == MARK_ID_OWN && strcmp(mark->id_type, SHORT[i]) == 0) {
            return false;
        }
    }
    const char *modifier = mark->id_kind == MARK_ID_OWN ? strchr(mark->id_type, '(') : NULL;
    return modifier == NULL || strtol(modifier + 1, NULL, 10) > ID_SHORT_CHARACTERS;
}

/* "r" has (not) the event id of "given", in its own type or as text. */
static void add_joined_id(const MarkSql *mark, const char *id, bool replaced, Text *sql)
{
    bool own = mark->id_kind == MARK_ID_OWN;
    bool cut = id_may_be_cut(mark);
    AUTO_TEXT column = x_format("r.%s", id);
    AUTO_TEXT same =
        x_format("%s%s IS %sDISTINCT FROM given.id%s%s", column, own ? "" : "::text",
                 replaced && !cut ? "" : "NOT ", own ? "::" : "", own ? mark->id_type : "");
    if (!cut) {
        text_add(sql, same);
        return;
    }
    text_add(sql, replaced ? "NOT " : "");
    table_add_id_is(column, "given.id", same, sql);
}

/* Rows "r" with one of the numbers, and the event id that belongs to it, or (not) another. */
static void add_match(const MarkSql *mark, bool run, bool replaced, Text *sql)
{
    const char *is = replaced ? "IS DISTINCT FROM" : "IS NOT DISTINCT FROM";
    AUTO_TEXT id = ident_quote(id_column(mark));
    const char *seq = mark->table->seq;
    add_numbers(mark, run, sql);
    switch (mark->id_kind) {
    case MARK_ID_NONE:
        text_add(sql, replaced ? " AND false" : "");
        break;
    case MARK_ID_UUID:
        text_printf(sql, " AND r.%s %s ($2)[pg_catalog.width_bucket(r.%s::bigint, $1)]", id, is,
                    seq);
        break;
    case MARK_ID_OWN:
    case MARK_ID_TEXT:
        text_printf(sql, " AND r.%s = given.seq AND ", seq);
        add_joined_id(mark, id, replaced, sql);
        break;
    }
}

/* Several arguments: unnest() must not be qualified, and is pg_catalog's always. */
#define GIVEN "unnest($1, $2) AS given(seq, id)"

static const char *ids_type(const MarkSql *mark)
{
    return mark->id_kind == MARK_ID_UUID ? "pg_catalog.uuid[]" : "pg_catalog.text[]";
}

void mark_sql_add_same_table(const MarkSql *mark, Text *sql)
{
    AUTO_TEXT name = ident_literal(mark->table->name);
    text_printf(sql, "pg_catalog.to_regclass(%s)::pg_catalog.oid = %u", name, mark->table_oid);
}

static void add_and_same_table(const MarkSql *mark, Text *sql)
{
    if (mark->table_oid != 0 && mark->touches_rows) {
        text_add(sql, " AND ");
        mark_sql_add_same_table(mark, sql);
    }
}

static void add_mark(const MarkSql *mark, bool run, Text *sql)
{
    const PipelineConfig *config = mark->table->config;
    const char *target = mark->table->name;
    if (config->outbox.on_publish == ON_PUBLISH_DELETE) {
        text_printf(sql, "DELETE FROM %s AS r%s", target, is_joined(mark) ? " USING " GIVEN : "");
    } else {
        AUTO_TEXT published = ident_quote(config->outbox.columns[FIELD_PUBLISHED_AT]);
        text_printf(sql, "UPDATE %s AS r SET %s = pg_catalog.clock_timestamp()%s", target,
                    published, is_joined(mark) ? " FROM " GIVEN : "");
    }
    text_add(sql, " WHERE ");
    add_match(mark, run, false, sql);
    add_and_same_table(mark, sql);
    if (mark->generation != NULL) {
        text_printf(sql,
                    " AND EXISTS (SELECT FROM %s AS p WHERE p.ctid = $3 AND p.generation ="
                    " '%s'%s)",
                    mark->row_table, mark->generation,
                    mark->with_position ? "" : " FOR NO KEY UPDATE");
    }
}

/* The condition that finds the row of ours; its ctid is this parameter. */
static void add_row_match(const MarkSql *mark, int parameter, Text *sql)
{
    text_printf(sql, "p.%s", mark->row_key);
    if (mark->generation != NULL) {
        text_printf(sql, " AND p.ctid = $%d AND p.generation = '%s'", parameter, mark->generation);
    }
    add_and_same_table(mark, sql);
}

/* A position is committed with the marks of all rows before it, or not at all. greatest(): it never
 * turns back. */
static void add_move(const MarkSql *mark, const char *whole, Text *sql)
{
    text_printf(sql,
                "UPDATE %1$s AS p SET lsn = CASE WHEN %2$s THEN greatest(p.lsn, $4) ELSE p.lsn"
                " END, tx_lsn = CASE WHEN %2$s THEN $5 ELSE p.tx_lsn END, tx_ordinal = CASE WHEN"
                " %2$s THEN $6 ELSE p.tx_ordinal END, backfill_seq = coalesce($7, p.backfill_seq),"
                " tx_messages = %3$s, writes = p.writes + 1,"
                " updated_at = pg_catalog.clock_timestamp() WHERE ",
                mark->row_table, whole, mark->table->config->wal.messages ? "true" : "false");
    add_row_match(mark, 3, sql);
    text_printf(sql, " RETURNING p.ctid, %s AS moved", whole);
}

/* The server's own log has the place. */
#define POSITION_IS_IN_LOG "greatest($4, $5, '0/0') <= pg_catalog.pg_current_wal_insert_lsn()"

/* Rows that are as they were: our statement passed and did nothing to them. */
static void add_ignored(const MarkSql *mark, Text *sql)
{
    text_printf(sql, "FROM %s AS r%s WHERE ", mark->table->name, is_joined(mark) ? ", " GIVEN : "");
    add_match(mark, false, false, sql);
    text_add(sql, mark->table->unpublished);
}

/* Those of $1 that were not hit. RETURNING tells the number that a row has afterwards, which a
 * trigger of somebody's may have changed: where no fewer rows came back under numbers that were not
 * given than are seen as they were before, those were hit. That is asked only where some are. */
static void add_missing(const MarkSql *mark, Text *sql)
{
    text_add(sql, "lacking AS (SELECT asked.seq, EXISTS (SELECT ");
    add_ignored(mark, sql);
    text_printf(sql,
                " AND r.%s = asked.seq) AS ignored FROM pg_catalog.unnest($1) AS asked(seq) WHERE"
                " asked.seq NOT IN (SELECT hit.seq FROM hit)), missing AS (SELECT lacking.seq,"
                " lacking.ignored FROM lacking WHERE NOT (lacking.ignored AND (SELECT"
                " pg_catalog.count(*) FROM hit WHERE hit.seq <> ALL ($1)) >= (SELECT"
                " pg_catalog.count(*) FROM lacking AS l WHERE l.ignored)))",
                mark->table->seq);
}

static void add_with_position(const MarkSql *mark, bool run, Text *sql)
{
    if (!mark->touches_rows) {
        text_add(sql, "WITH told AS (SELECT " POSITION_IS_IN_LOG " AS whole), moved AS (");
        add_move(mark, "(SELECT told.whole FROM told)", sql);
        text_add(sql, ") SELECT ctid, moved, NULL::bigint AS seq, NULL AS snapshot, false AS"
                      " replaced, false AS ignored FROM moved; ");
        return;
    }
    text_add(sql, "WITH hit AS (");
    add_mark(mark, run, sql);
    text_printf(sql, " RETURNING r.%s::bigint AS seq), ", mark->table->seq);
    add_missing(mark, sql);
    text_add(sql, ", told AS (SELECT NOT EXISTS (SELECT FROM missing) AND " POSITION_IS_IN_LOG
                  " AS whole), moved AS (");
    add_move(mark, "(SELECT told.whole FROM told)", sql);
    text_printf(sql,
                ") SELECT moved.ctid, moved.moved, missing.seq, pg_catalog.pg_current_snapshot()"
                " AS snapshot, EXISTS (SELECT FROM %s AS r WHERE r.%s = missing.seq) AS replaced,"
                " missing.ignored FROM moved LEFT JOIN missing ON true; ",
                mark->table->name, mark->table->seq);
}

static void add_statement(const MarkSql *mark, bool run, Text *sql)
{
    text_printf(sql, "PREPARE %s (bigint[], %s, tid", run ? MARK_RUN_STATEMENT : MARK_STATEMENT,
                ids_type(mark));
    if (mark->with_position) {
        text_add(sql, ", pg_lsn, pg_lsn, bigint, bigint) AS ");
        add_with_position(mark, run, sql);
        return;
    }
    text_add(sql, ") AS ");
    add_mark(mark, run, sql);
    text_add(sql, "; ");
}

static void add_row_statement(const MarkSql *mark, Text *sql)
{
    text_printf(sql,
                "PREPARE " MARK_ROW_STATEMENT " (tid) AS UPDATE %s AS p SET writes = p.writes + 1,"
                " updated_at = pg_catalog.clock_timestamp() WHERE ",
                mark->row_table);
    add_row_match(mark, 1, sql);
    text_add(sql, " RETURNING p.ctid; ");
}

void mark_sql_add_prepare(const MarkSql *mark, Text *sql)
{
    text_add(sql, "DEALLOCATE ALL; ");
    add_statement(mark, false, sql);
    if (mark->touches_rows) {
        add_statement(mark, true, sql);
    }
    if (mark_sql_then(mark) != NULL) {
        add_row_statement(mark, sql);
    }
}

const char *mark_sql_then(const MarkSql *mark)
{
    return mark->row_table != NULL && !mark->with_position ? MARK_ROW_STATEMENT : NULL;
}

const char *mark_sql_statement(const MarkRow *const *rows, size_t count)
{
    if (count < RUN_ROWS_MIN) {
        return MARK_STATEMENT;
    }
    uint64_t span = (uint64_t)rows[count - 1]->seq - (uint64_t)rows[0]->seq;
    return span / RUN_SPARSE < count ? MARK_RUN_STATEMENT : MARK_STATEMENT;
}

void mark_sql_add_replaced_query(const MarkSql *mark, Text *sql)
{
    text_printf(sql,
                "WITH given_arrays AS (SELECT $1::bigint[], $2::%s) SELECT (SELECT"
                " pg_catalog.count(*) FROM %s AS r%s WHERE ",
                ids_type(mark), mark->table->name, is_joined(mark) ? ", " GIVEN : "");
    add_match(mark, false, true, sql);
    text_add(sql, ") AS replaced, (SELECT pg_catalog.count(*) ");
    add_ignored(mark, sql);
    text_add(sql, ") AS ignored, ");
    mark_sql_add_same_table(mark, sql);
    text_add(sql, " AS same");
}

/* Parameters: arrays in binary, after array_send() of PostgreSQL: dimensions, null flag, element
 * type, length and lower bound of the dimension; then length (-1: NULL) and value of each. */

enum { ARRAY_HEADER = 20 };

static char *put_be(char *at, uint64_t value, size_t bytes)
{
    uint64_t swapped = htobe64(value << 8 * (sizeof(value) - bytes));
    memcpy(at, &swapped, bytes);
    return at + bytes;
}

static void put_header(char *at, uint32_t element, bool nulls, size_t count)
{
    at = put_be(at, 1, 4);
    at = put_be(at, nulls, 4);
    at = put_be(at, element, 4);
    at = put_be(at, count, 4);
    put_be(at, 1, 4);
}

char *mark_sql_seqs(const MarkRow *const *rows, size_t count, int *ret_length)
{
    char *bytes = x_malloc(ARRAY_HEADER + count * 12);
    char *at = bytes + ARRAY_HEADER;
    for (size_t i = 0; i < count; i++) {
        at = put_be(at, 8, 4);
        at = put_be(at, (uint64_t)rows[i]->seq, 8);
    }
    put_header(bytes, INT8_OID, false, count);
    *ret_length = (int)(at - bytes);
    return bytes;
}

#define EACH_BYTE UINT64_C(0x0101010101010101)

/* Eight hexadecimal digits as uuid_out() of PostgreSQL prints them, which become four bytes; each
 * step does all eight at once. False: another character is among them. */
static bool put_hex(char *at, uint64_t digits)
{
    digits = le64toh(digits); /* the first one lowest */
    uint64_t letters = digits >> 6 & EACH_BYTE;
    uint64_t values = (digits & 0x0F * EACH_BYTE) + 9 * letters;
    uint64_t above_9 = (values + 6 * EACH_BYTE) >> 4 & EACH_BYTE;
    bool right = digits == values + '0' * EACH_BYTE + ('a' - '0' - 10) * above_9 &&
                 (values & 0xF0 * EACH_BYTE) == 0;
    uint64_t bytes = (values << 4 | values >> 8) & UINT64_C(0x00FF00FF00FF00FF);
    bytes = (bytes | bytes >> 8) & UINT64_C(0x0000FFFF0000FFFF);
    uint32_t four = htole32((uint32_t)(bytes | bytes >> 16));
    memcpy(at, &four, sizeof(four));
    return right;
}

static uint64_t take_digits(const char *first, const char *second)
{
    uint64_t digits = 0;
    memcpy(&digits, first, 4);
    memcpy((char *)&digits + 4, second, 4);
    return digits;
}

/* Anything but a UUID as PostgreSQL prints it becomes one that no row has. */
static void put_uuid(char *at, Slice text)
{
    const char *t = text.data;
    bool right = text.length == UUID_TEXT_LENGTH && put_hex(at, take_digits(t, t + 4)) &&
                 put_hex(at + 4, take_digits(t + 9, t + 14)) &&
                 put_hex(at + 8, take_digits(t + 19, t + 24)) &&
                 put_hex(at + 12, take_digits(t + 28, t + 32));
    if (!right) {
        memset(at, 0, UUID_BYTES);
    }
}

char *mark_sql_ids(const MarkSql *mark, const MarkRow *const *rows, size_t count, int *ret_length)
{
    *ret_length = 0;
    if (mark->id_kind == MARK_ID_NONE) {
        return NULL;
    }
    bool uuid = mark->id_kind == MARK_ID_UUID;
    size_t size = ARRAY_HEADER;
    for (size_t i = 0; i < count; i++) {
        size += 4 + (uuid ? UUID_BYTES : mark_row_id(rows[i]).length);
    }
    char *bytes = x_malloc(size);
    char *at = bytes + ARRAY_HEADER;
    bool nulls = false;
    for (size_t i = 0; i < count; i++) {
        Slice id = mark_row_id(rows[i]);
        if (slice_is_null(id)) {
            nulls = true;
            at = put_be(at, UINT32_MAX, 4);
        } else if (uuid) {
            at = put_be(at, UUID_BYTES, 4);
            put_uuid(at, id);
            at += UUID_BYTES;
        } else {
            at = put_be(at, id.length, 4);
            memcpy(at, id.data, id.length);
            at += id.length;
        }
    }
    put_header(bytes, uuid ? UUID_OID : TEXT_OID, nulls, count);
    *ret_length = (int)(at - bytes);
    return bytes;
}
