#include "rows/table.h"

#include <stdlib.h>

#include "base/memory.h"
#include "config/columns.h"
#include "pg/ident.h"

_Static_assert(offsetof(ColumnsConfig, event_id) == FIELD_EVENT_ID * sizeof(char *) &&
                   offsetof(ColumnsConfig, payload) == FIELD_PAYLOAD * sizeof(char *) &&
                   offsetof(ColumnsConfig, occurred_at) == FIELD_OCCURRED_AT * sizeof(char *) &&
                   offsetof(ColumnsConfig, published_at) == FIELD_COUNT * sizeof(char *) &&
                   (size_t)COLUMNS_COUNT == (size_t)FIELD_COUNT + 1,
               "columns stand in the order of EventField");

void table_free(OutboxTable **table)
{
    if (*table != NULL) {
        free((*table)->name);
        free((*table)->configured);
        free((*table)->seq);
        free((*table)->select_list);
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

void table_add_names(const PipelineConfig *config, uint32_t columns, Text *names)
{
    for (size_t i = 0; i < COLUMNS_COUNT; i++) {
        if ((columns & TABLE_COLUMN(i)) != 0) {
            text_printf(names, "%s%s", names->length > 0 ? ", " : "", column_name(config, i));
        }
    }
}

/* The order is that of row.c: seq, occurred_at, then the text fields by EventField, then the
 * extras. */
static char *table_select_list(const OutboxTable *table)
{
    const PipelineConfig *config = table->config;
    Text list = TEXT_EMPTY;
    text_printf(&list, "%s::bigint", table->seq);
    add_column(&list, table_has(table, FIELD_OCCURRED_AT) ? config->columns.occurred_at : NULL,
               "timestamptz");
    for (EventField field = FIELD_EVENT_ID; field < FIELD_OCCURRED_AT; field++) {
        add_column(&list, table_has(table, field) ? table_column(config, field) : NULL,
                   field == FIELD_PAYLOAD_BYTES ? "bytea" : "text");
    }
    for (size_t i = 0; i < config->header_columns.count; i++) {
        add_column(&list, config->header_columns.items[i], "text");
    }
    return list.data;
}

static void table_write_sql(OutboxTable *table)
{
    const char *column = table->config->columns.published_at;
    bool has_published = *column != '\0' && (table->absent & TABLE_PUBLISHED_COLUMN) == 0;
    AUTO_TEXT published = ident_quote(column);
    free(table->select_list);
    free(table->unpublished);
    table->select_list = table_select_list(table);
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
    table->extra_count = config->header_columns.count;
    if (ident_quote_table(config->table, &table->name, err) != OK) {
        return FAILED;
    }
    table->configured = x_strdup(table->name);
    table->seq = ident_quote(config->columns.seq);
    table_write_sql(table);
    *ret_table = table;
    table = NULL;
    return OK;
}
