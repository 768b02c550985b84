#include "rows/table.h"

#include <stdlib.h>

#include "base/memory.h"
#include "config/columns.h"
#include "flow/made.h"
#include "flow/refusal.h"
#include "pg/ident.h"

void table_free(OutboxTable **table)
{
    if (*table != NULL) {
        schema_free(&(*table)->schema);
        free((*table)->name);
        free((*table)->configured);
        free((*table)->seq);
        free((*table)->select_list);
        free((*table)->plain_list);
        free((*table)->small_begin);
        free((*table)->small_end);
        free((*table)->rows_begin);
        free((*table)->rows_end);
        free((*table)->unpublished);
        free(*table);
        *table = NULL;
    }
}

void table_rename(OutboxTable *table, const char *name)
{
    char *copy = x_strdup(name != NULL ? name : table->configured);
    free(table->name);
    table->name = copy;
}

static void add_column(Text *list, const char *column, const char *type)
{
    if (column == NULL || *column == '\0') {
        text_printf(list, ", NULL::%s", type);
        return;
    }
    AUTO_TEXT quoted = ident_quote(column);
    text_printf(list, ", %s::%s", quoted, type);
}

const char *table_column(const PipelineConfig *config, EventField field)
{
    return column_name(config, field);
}

bool table_has(const OutboxTable *table, EventField field)
{
    return *table_column(table->config, field) != '\0' &&
           (table->absent & TABLE_COLUMN(field)) == 0;
}

uint32_t table_header_columns(void)
{
    uint32_t columns = 0;
    for (EventField field = 0; field < FIELD_COUNT; field++) {
        columns |= column_makes_headers(field) ? TABLE_COLUMN(field) : 0;
    }
    return columns;
}

void table_add_names(const PipelineConfig *config, uint32_t columns, Text *names)
{
    for (size_t i = 0; i < COLUMN_COUNT; i++) {
        if ((columns & TABLE_COLUMN(i)) != 0) {
            text_printf(names, "%s%s", names->length > 0 ? ", " : "", column_name(config, i));
        }
    }
}

/* octet_length() reads the stored length, left() of a value out of line its first pieces. */
void table_add_id(const char *column, Text *sql)
{
    text_printf(sql,
                "CASE WHEN pg_catalog.octet_length(%1$s::text) > %2$d THEN"
                " pg_catalog.left(%1$s::text, %3$d) || '" REFUSAL_ID_CUT "' ELSE %1$s::text END",
                column, REFUSAL_SMALL_BYTES, REFUSAL_ID_CHARACTERS);
}

void table_add_id_of(const OutboxTable *table, Text *sql)
{
    if (!table_has(table, FIELD_EVENT_ID)) {
        text_add(sql, "NULL::text");
        return;
    }
    AUTO_TEXT column = ident_quote(table_column(table->config, FIELD_EVENT_ID));
    table_add_id(column, sql);
}

char *table_lean_list(const OutboxTable *table, TableLean lean)
{
    Text list = TEXT_EMPTY;
    text_printf(&list, "%s::bigint, NULL::timestamptz", table->seq);
    for (EventField field = FIELD_EVENT_ID; field < FIELD_OCCURRED_AT; field++) {
        const char *column = table_has(table, field) ? table_column(table->config, field) : "";
        bool bytes = column_is_bytes(field);
        bool left_out = column_is_body(field) || (lean == LEAN_NAME && field != FIELD_EVENT_ID);
        if (left_out || *column == '\0') {
            text_add(&list, bytes ? ", NULL::bytea" : ", NULL::text");
            continue;
        }
        AUTO_TEXT quoted = ident_quote(column);
        if (field == FIELD_EVENT_ID) {
            text_add(&list, ", ");
            table_add_id(quoted, &list);
        } else {
            text_printf(&list, ", left(%s::text, %d)", quoted, REFUSAL_SMALL_BYTES / 4);
        }
    }
    for (size_t i = 0; i < table->extra_count; i++) {
        text_add(&list, ", NULL::text");
    }
    return list.data;
}

/* What was cut by the relay has so many octets in UTF-8: in the server's encoding at least a
 * quarter of them. */
void table_add_id_is(const char *column, const char *name, const char *same, Text *sql)
{
    text_printf(sql,
                "CASE WHEN pg_catalog.right(%2$s, %4$d) = '" REFUSAL_ID_CUT "' THEN"
                " coalesce(%1$s::text = %2$s OR (pg_catalog.octet_length(%1$s::text) > %5$d AND"
                " pg_catalog.left(%1$s::text, pg_catalog.length(%2$s) - %4$d) || '" REFUSAL_ID_CUT
                "' = %2$s), false) ELSE %3$s END",
                column, name, same, (int)sizeof(REFUSAL_ID_CUT) - 1, REFUSAL_SMALL_BYTES / 4);
}

/* Sizes before values. Rows whose values take more than event_bytes_max together come without their
 * large values, and with a last column that tells the sizes; it is NULL for all others. All of it
 * is one statement with one snapshot: a row cannot grow between a look at its size and the fetch.
 *
 * octet_length() of a text or bytea reads the length that is stored, not the value. A jsonb does
 * not know how long its text is, so that is made once, in the innermost SELECT (OFFSET 0 keeps the
 * three apart), and handed up; but not where what is stored tells already that it is too long. */

enum {
    PAGE_TEXT_MAX = 4 * 1024 * 1024, /* no row of one page has as much; lz4 makes 255 of one */
    STORED_RATIO = 8, /* what is stored takes at most so many bytes for one of its text: [1,1] in
                         jsonb four */
};

static void add_bounded(Text *list, const char *column, int64_t bytes_max)
{
    AUTO_TEXT quoted = ident_quote(column);
    text_printf(list, ", CASE WHEN pg_column_size(%s) <= %lld THEN %s::text END", quoted,
                (long long)bytes_max * STORED_RATIO, quoted);
}

static void add_stored_size(Text *list, const OutboxTable *table, EventField field)
{
    AUTO_TEXT quoted =
        table_has(table, field) ? ident_quote(table_column(table->config, field)) : NULL;
    text_printf(list, quoted != NULL ? ", pg_column_size(%s)" : ", NULL::int", quoted);
}

/* The order is that of row.c: seq, occurred_at, then the text fields by EventField, then the
 * extras. */
static char *table_list(const OutboxTable *table, bool sized)
{
    const PipelineConfig *config = table->config;
    Text list = TEXT_EMPTY;
    text_printf(&list, "%s::bigint", table->seq);
    add_column(&list,
               table_has(table, FIELD_OCCURRED_AT) ? config->outbox.columns[FIELD_OCCURRED_AT]
                                                   : NULL,
               "timestamptz");
    for (EventField field = FIELD_EVENT_ID; field < FIELD_OCCURRED_AT; field++) {
        const char *column = table_has(table, field) ? table_column(config, field) : NULL;
        if (sized && column_has_form(field) && column != NULL) {
            add_bounded(&list, column, config->limits.event_bytes);
        } else {
            bool bytes = column_is_bytes(field);
            add_column(&list, column, bytes ? "bytea" : "text");
        }
    }
    for (size_t i = 0; i < config->outbox.header_columns.count; i++) {
        add_column(&list, config->outbox.header_columns.items[i], "text");
    }
    for (EventField field = 0; sized && field < FIELD_COUNT; field++) {
        if (column_has_form(field)) {
            add_stored_size(&list, table, field);
        }
    }
    return list.data;
}

/* The octets of a column, as SQL that may be NULL; columns are called v1, v2, ... */
static void add_octets(Text *sql, size_t number)
{
    text_printf(sql, column_has_form(number) ? "octet_length(v%zu), s%zu" : "octet_length(v%zu)",
                number, number);
}

/* "" when the table has no such column. */
static const char *target_name(const OutboxTable *table, size_t number)
{
    if (number >= FIELD_COUNT) {
        return table->config->outbox.header_columns.items[number - FIELD_COUNT];
    }
    EventField field = (EventField)number;
    return table_has(table, field) ? table_column(table->config, field) : "";
}

/* Columns are called v and the number of their field; the extras come behind FIELD_COUNT. */
static bool has_id(const OutboxTable *table)
{
    return *target_name(table, FIELD_EVENT_ID) != '\0';
}

/* What is told of a row that is too large. */
static void add_sizes(Text *sql, const OutboxTable *table, size_t targets)
{
    int64_t bytes_max = table->config->limits.event_bytes;
    text_add(sql, ", CASE WHEN large THEN total || ' bytes' || coalesce(' (' ||"
                  " nullif(concat_ws(', '");
    for (size_t i = FIELD_EVENT_ID; i < targets; i++) {
        if (i != FIELD_OCCURRED_AT && *target_name(table, i) != '\0') {
            AUTO_TEXT name = ident_literal(target_name(table, i));
            text_add(sql, ", CASE WHEN coalesce(");
            add_octets(sql, i);
            text_printf(sql, ") > %d THEN %s || ' ' || coalesce(", REFUSAL_SMALL_BYTES, name);
            add_octets(sql, i);
            text_add(sql, ") END");
        }
    }
    text_printf(sql,
                "), '') || ')', '') || CASE WHEN total > %lld THEN '; event_bytes_max is %lld'"
                " ELSE '; " REFUSAL_ID_LIMIT "' END END",
                (long long)bytes_max, (long long)bytes_max, REFUSAL_SMALL_BYTES);
}

static void add_sized_columns(Text *sql, const OutboxTable *table, size_t targets)
{
    AUTO_TEXT id = x_format("v%d", FIELD_EVENT_ID);
    text_printf(sql, "SELECT v0, v%d, ", FIELD_OCCURRED_AT);
    table_add_id(id, sql);
    for (size_t i = FIELD_EVENT_TYPE; i < targets; i++) {
        if (i != FIELD_OCCURRED_AT && *target_name(table, i) == '\0') {
            text_printf(sql, ", v%zu", i);
        } else if (i != FIELD_OCCURRED_AT) {
            text_printf(sql, ", CASE WHEN NOT large OR octet_length(v%zu) <= %d THEN v%zu END", i,
                        REFUSAL_SMALL_BYTES, i);
        }
    }
    add_sizes(sql, table, targets);
}

static void add_total(Text *sql, const OutboxTable *table, size_t targets)
{
    const char *plus = "";
    for (size_t i = FIELD_EVENT_ID; i < targets; i++) {
        if (i == FIELD_OCCURRED_AT || *target_name(table, i) == '\0') {
            continue;
        }
        text_printf(sql, "%scoalesce(", plus);
        add_octets(sql, i);
        text_add(sql, ", 0)");
        plus = " + ";
    }
}

/* What is stored in a page may have a text of gigabytes where it is no text: 1e131071 takes twelve
 * bytes of a jsonb. The text is made once, and where it is long the statement fails: it is repeated
 * with a look at sizes. All of these together leave room for what a page holds of true texts. */
static void add_small_value(Text *sql, const OutboxTable *table, size_t number)
{
    bool any = *target_name(table, number) != '\0';
    bool id = number == FIELD_EVENT_ID;
    if (!any || (number < FIELD_COUNT && !id && !column_has_form(number))) {
        text_printf(sql, ", v%zu", number);
        return;
    }
    int64_t most = table->config->limits.event_bytes / (4 * (2 + (int64_t)table->extra_count));
    most = id ? REFUSAL_SMALL_BYTES : most;
    text_printf(sql,
                ", CASE WHEN octet_length(v%1$zu) > %2$lld THEN substring(v%1$zu, 1, -1)"
                " ELSE v%1$zu END",
                number, (long long)most);
}

/* " AS a(v0, ..." of the order of row.c, without the end. */
static void add_names(Text *sql, size_t targets)
{
    text_printf(sql, " AS a(v0, v%d", FIELD_OCCURRED_AT);
    for (size_t i = FIELD_EVENT_ID; i < targets; i++) {
        if (i != FIELD_OCCURRED_AT) {
            text_printf(sql, ", v%zu", i);
        }
    }
}

static void table_wrap_small(OutboxTable *table)
{
    free(table->small_begin);
    free(table->small_end);
    size_t targets = FIELD_COUNT + table->extra_count;
    Text begin = TEXT_EMPTY;
    Text end = TEXT_EMPTY;
    text_printf(&begin, "SELECT v0, v%d", FIELD_OCCURRED_AT);
    for (size_t i = FIELD_EVENT_ID; i < targets; i++) {
        if (i != FIELD_OCCURRED_AT) {
            add_small_value(&begin, table, i);
        }
    }
    text_add(&begin, " FROM (");
    text_add(&end, " OFFSET 0)");
    add_names(&end, targets);
    text_add_char(&end, ')');
    table->small_begin = begin.data;
    table->small_end = end.data;
}

static void table_wrap(OutboxTable *table)
{
    free(table->rows_begin);
    free(table->rows_end);
    if (table->config->limits.event_bytes <= 0) {
        table->rows_begin = x_strdup("");
        table->rows_end = x_strdup("");
        return;
    }
    size_t targets = FIELD_COUNT + table->extra_count;
    Text begin = TEXT_EMPTY;
    add_sized_columns(&begin, table, targets);
    text_printf(&begin, " FROM (SELECT *, total > %lld",
                (long long)table->config->limits.event_bytes);
    if (has_id(table)) {
        text_printf(&begin, " OR coalesce(octet_length(v%d) > %d, false)", FIELD_EVENT_ID,
                    REFUSAL_SMALL_BYTES);
    }
    text_add(&begin, " AS large FROM (SELECT *, ");
    add_total(&begin, table, targets);
    text_add(&begin, " AS total FROM (");
    Text end = TEXT_EMPTY;
    text_add(&end, " OFFSET 0)");
    add_names(&end, targets);
    for (EventField field = 0; field < FIELD_COUNT; field++) {
        if (column_has_form(field)) {
            text_printf(&end, ", s%d", field);
        }
    }
    text_add(&end, ") OFFSET 0) AS b) AS c");
    table->rows_begin = begin.data;
    table->rows_end = end.data;
}

bool table_may_be_small(const OutboxTable *table)
{
    return table->config->limits.event_bytes >= PAGE_TEXT_MAX;
}

void table_add_small(const OutboxTable *table, const char *oid, Text *sql)
{
    AUTO_TEXT literal = oid == NULL ? ident_literal(table->name) : NULL;
    text_printf(sql,
                "(SELECT pg_catalog.pg_relation_size(c.reltoastrelid) = 0 AND NOT c.relhassubclass"
                " FROM pg_catalog.pg_class AS c WHERE c.relkind = 'r' AND c.oid = %s%s%s)",
                oid != NULL ? oid : "pg_catalog.to_regclass(", oid != NULL ? "" : literal,
                oid != NULL ? "" : ")");
}

static void table_write_sql(OutboxTable *table)
{
    const char *column = table->config->outbox.columns[FIELD_PUBLISHED_AT];
    bool has_published = *column != '\0' && (table->absent & TABLE_COLUMN(FIELD_PUBLISHED_AT)) == 0;
    AUTO_TEXT published = ident_quote(column);
    free(table->select_list);
    free(table->unpublished);
    free(table->plain_list);
    table->select_list = table_list(table, table->config->limits.event_bytes > 0);
    table->plain_list = table_list(table, false);
    table_wrap(table);
    table_wrap_small(table);
    table->unpublished = has_published ? x_format(" AND %s IS NULL", published) : x_strdup("");
}

void table_take_columns(OutboxTable *table, uint32_t absent)
{
    bool other = absent != table->absent;
    table->looked_at = true;
    table->absent = absent;
    if (other) {
        table_write_sql(table);
    }
}

Status table_new(const PipelineConfig *config, OutboxTable **ret_table, Error *err)
{
    AUTO(OutboxTable, table_free) table = x_calloc(1, sizeof(*table));
    table->config = config;
    table->schema = schema_of_pipeline(config);
    table->extra_count = config->outbox.header_columns.count;
    if (ident_quote_table(config->outbox.table, &table->name, err) != OK) {
        return FAILED;
    }
    table->configured = x_strdup(table->name);
    table->seq = ident_quote(config->outbox.columns[FIELD_SEQ]);
    table_write_sql(table);
    *ret_table = table;
    table = NULL;
    return OK;
}
