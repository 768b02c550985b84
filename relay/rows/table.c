#include "rows/table.h"

#include <stdlib.h>

#include "base/memory.h"
#include "pg/ident.h"

void table_free(OutboxTable **table)
{
    if (*table != NULL) {
        free((*table)->name);
        free((*table)->seq);
        free((*table)->select_list);
        free((*table)->unpublished);
        free(*table);
        *table = NULL;
    }
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

/* The order is that of row.c: seq, occurred_at, then the text fields by EventField, then the
 * extras. */
static char *table_select_list(const PipelineConfig *config)
{
    Text list = TEXT_EMPTY;
    AUTO_TEXT seq = ident_quote(config->columns.seq);
    text_printf(&list, "%s::bigint", seq);
    add_column(&list, config->columns.occurred_at, "timestamptz");
    for (EventField field = FIELD_EVENT_ID; field < FIELD_OCCURRED_AT; field++) {
        add_column(&list, table_column(config, field),
                   field == FIELD_PAYLOAD_BYTES ? "bytea" : "text");
    }
    for (size_t i = 0; i < config->header_columns.count; i++) {
        add_column(&list, config->header_columns.items[i], "text");
    }
    return list.data;
}

Status table_new(const PipelineConfig *config, OutboxTable **ret_table, Error *err)
{
    AUTO(OutboxTable, table_free) table = x_calloc(1, sizeof(*table));
    table->config = config;
    table->extra_count = config->header_columns.count;
    if (ident_quote_table(config->table, &table->name, err) != OK) {
        return FAILED;
    }
    table->seq = ident_quote(config->columns.seq);
    table->select_list = table_select_list(config);
    bool has_published = config->columns.published_at[0] != '\0';
    AUTO_TEXT published = ident_quote(config->columns.published_at);
    table->unpublished = has_published ? x_format(" AND %s IS NULL", published) : x_strdup("");
    *ret_table = table;
    table = NULL;
    return OK;
}
