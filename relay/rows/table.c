#include "rows/table.h"

#include <stdlib.h>

#include "base/memory.h"
#include "flow/refusal.h"
#include "pg/ident.h"

void table_free(OutboxTable **table)
{
    if (*table != NULL) {
        free((*table)->name);
        free((*table)->configured);
        free((*table)->seq);
        free((*table)->select_list);
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
    const ColumnsConfig *c = &config->columns;
    const char *const columns[FIELD_COUNT] = {
        [FIELD_SEQ] = c->seq,
        [FIELD_EVENT_ID] = c->event_id,
        [FIELD_EVENT_TYPE] = c->event_type,
        [FIELD_EVENT_VERSION] = c->event_version,
        [FIELD_AGGREGATE_TYPE] = c->aggregate_type,
        [FIELD_AGGREGATE_ID] = c->aggregate_id,
        [FIELD_AGGREGATE_VERSION] = c->aggregate_version,
        [FIELD_PAYLOAD] = c->payload,
        [FIELD_PAYLOAD_BYTES] = c->payload_bytes,
        [FIELD_CONTENT_TYPE] = c->content_type,
        [FIELD_CORRELATION_ID] = c->correlation_id,
        [FIELD_CAUSATION_ID] = c->causation_id,
        [FIELD_TRACEPARENT] = c->traceparent,
        [FIELD_HEADERS] = c->headers,
        [FIELD_TOPIC] = c->topic,
        [FIELD_OCCURRED_AT] = c->occurred_at,
    };
    return columns[field] != NULL ? columns[field] : "";
}

/* Sizes before values. Rows whose values take more than event_bytes_max together come without their
 * large values, and with a last column that tells the sizes; it is NULL for all others. All of it
 * is one statement with one snapshot: a row cannot grow between a look at its size and the fetch.
 *
 * octet_length() of a text or bytea reads the length that is stored, not the value. A jsonb does
 * not know how long its text is, so that is made once, in the innermost SELECT (OFFSET 0 keeps the
 * three apart), and handed up; but not where what is stored tells already that it is too long. */

enum {
    STORED_RATIO = 8, /* what is stored takes at most so many bytes for one of its text: [1,1] in
                         jsonb four */
};

/* Columns that may be stored in another form than their text. */
static bool field_has_form(EventField field)
{
    return field == FIELD_PAYLOAD || field == FIELD_HEADERS;
}

static void add_bounded(Text *list, const char *column, int64_t bytes_max)
{
    AUTO_TEXT quoted = ident_quote(column);
    text_printf(list, ", CASE WHEN pg_column_size(%s) <= %lld THEN %s::text END", quoted,
                (long long)bytes_max * STORED_RATIO, quoted);
}

static void add_stored_size(Text *list, const PipelineConfig *config, EventField field)
{
    const char *column = table_column(config, field);
    AUTO_TEXT quoted = *column != '\0' ? ident_quote(column) : NULL;
    text_printf(list, quoted != NULL ? ", pg_column_size(%s)" : ", NULL::int", quoted);
}

/* The order is that of row.c: seq, occurred_at, then the text fields by EventField, then the
 * extras. */
static char *table_select_list(const PipelineConfig *config)
{
    bool sized = config->event_bytes_max > 0;
    Text list = TEXT_EMPTY;
    AUTO_TEXT seq = ident_quote(config->columns.seq);
    text_printf(&list, "%s::bigint", seq);
    add_column(&list, config->columns.occurred_at, "timestamptz");
    for (EventField field = FIELD_EVENT_ID; field < FIELD_OCCURRED_AT; field++) {
        const char *column = table_column(config, field);
        if (sized && field_has_form(field) && *column != '\0') {
            add_bounded(&list, column, config->event_bytes_max);
        } else {
            add_column(&list, column, field == FIELD_PAYLOAD_BYTES ? "bytea" : "text");
        }
    }
    for (size_t i = 0; i < config->header_columns.count; i++) {
        add_column(&list, config->header_columns.items[i], "text");
    }
    if (sized) {
        add_stored_size(&list, config, FIELD_PAYLOAD);
        add_stored_size(&list, config, FIELD_HEADERS);
    }
    return list.data;
}

/* The octets of a column, as SQL that may be NULL; columns are called v1, v2, ... */
static void add_octets(Text *sql, size_t number)
{
    EventField field = (EventField)number;
    text_printf(sql, field_has_form(field) ? "octet_length(v%zu), s%zu" : "octet_length(v%zu)",
                number, number);
}

static const char *target_name(const PipelineConfig *config, size_t number)
{
    return number < FIELD_COUNT ? table_column(config, (EventField)number)
                                : config->header_columns.items[number - FIELD_COUNT];
}

/* The order of columns: v0 seq, v15 occurred_at, v1 ... v14 the texts, v16 ... the extras. */
static void add_sized_columns(Text *sql, const PipelineConfig *config, size_t targets)
{
    text_printf(sql, "SELECT v0, v%d, v%d", FIELD_OCCURRED_AT, FIELD_EVENT_ID);
    for (size_t i = FIELD_EVENT_TYPE; i < targets; i++) {
        if (i != FIELD_OCCURRED_AT && *target_name(config, i) == '\0') {
            text_printf(sql, ", v%zu", i);
        } else if (i != FIELD_OCCURRED_AT) {
            text_printf(sql, ", CASE WHEN total <= %lld OR octet_length(v%zu) <= %d THEN v%zu END",
                        (long long)config->event_bytes_max, i, REFUSAL_SMALL_BYTES, i);
        }
    }
    text_printf(sql, ", CASE WHEN total > %lld THEN total || ' bytes (' || concat_ws(', '",
                (long long)config->event_bytes_max);
    for (size_t i = FIELD_EVENT_ID; i < targets; i++) {
        if (i != FIELD_OCCURRED_AT && *target_name(config, i) != '\0') {
            AUTO_TEXT name = ident_literal(target_name(config, i));
            text_add(sql, ", CASE WHEN coalesce(");
            add_octets(sql, i);
            text_printf(sql, ") > %d THEN %s || ' ' || coalesce(", REFUSAL_SMALL_BYTES, name);
            add_octets(sql, i);
            text_add(sql, ") END");
        }
    }
    text_printf(sql, ") || '); event_bytes_max is %lld' END", (long long)config->event_bytes_max);
}

static void add_total(Text *sql, const PipelineConfig *config, size_t targets)
{
    const char *plus = "";
    for (size_t i = FIELD_EVENT_ID; i < targets; i++) {
        if (i == FIELD_OCCURRED_AT || *target_name(config, i) == '\0') {
            continue;
        }
        text_printf(sql, "%scoalesce(", plus);
        add_octets(sql, i);
        text_add(sql, ", 0)");
        plus = " + ";
    }
}

static void table_wrap(OutboxTable *table)
{
    const PipelineConfig *config = table->config;
    if (config->event_bytes_max <= 0) {
        table->rows_begin = x_strdup("");
        table->rows_end = x_strdup("");
        return;
    }
    size_t targets = FIELD_COUNT + table->extra_count;
    Text begin = TEXT_EMPTY;
    add_sized_columns(&begin, config, targets);
    text_add(&begin, " FROM (SELECT *, ");
    add_total(&begin, config, targets);
    text_add(&begin, " AS total FROM (");
    Text end = TEXT_EMPTY;
    text_printf(&end, " OFFSET 0) AS a(v0, v%d", FIELD_OCCURRED_AT);
    for (size_t i = FIELD_EVENT_ID; i < targets; i++) {
        if (i != FIELD_OCCURRED_AT) {
            text_printf(&end, ", v%zu", i);
        }
    }
    text_printf(&end, ", s%d, s%d) OFFSET 0) AS b", FIELD_PAYLOAD, FIELD_HEADERS);
    table->rows_begin = begin.data;
    table->rows_end = end.data;
}

Status table_new(const PipelineConfig *config, OutboxTable **ret_table, Error *err)
{
    AUTO(OutboxTable, table_free) table = x_calloc(1, sizeof(*table));
    table->config = config;
    table->extra_count = config->header_columns.count;
    if (ident_quote_table(config->table, &table->name, err) != OK) {
        return FAILED;
    }
    table->configured = x_strdup(table->name);
    table->seq = ident_quote(config->columns.seq);
    table->select_list = table_select_list(config);
    table_wrap(table);
    bool has_published = config->columns.published_at[0] != '\0';
    AUTO_TEXT published = ident_quote(config->columns.published_at);
    table->unpublished = has_published ? x_format(" AND %s IS NULL", published) : x_strdup("");
    *ret_table = table;
    table = NULL;
    return OK;
}
