#include "flow/schema.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "config/columns.h"

const char SCHEMA_UNSENT[1] = "";

Schema *schema_new(const char *table, size_t count)
{
    assert(count < SCHEMA_NONE);
    Schema *schema = x_calloc(1, sizeof(*schema) + count * sizeof(schema->columns[0]));
    schema->table = table;
    schema->count = count;
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        schema->field[i] = SCHEMA_NONE;
    }
    for (size_t i = 0; i < count; i++) {
        schema->columns[i] = (SchemaColumn){.name = "", .class = COLUMN_TEXT};
    }
    return schema;
}

Schema *schema_of_outbox(const PipelineConfig *pipeline)
{
    const StringList *extras = &pipeline->outbox.header_columns;
    Schema *schema = schema_new(pipeline->outbox.table, FIELD_COUNT + extras->count);
    for (EventField field = 0; field < FIELD_COUNT; field++) {
        schema->field[field] = (uint16_t)field;
        schema->columns[field] =
            (SchemaColumn){.name = column_name(pipeline, field),
                           .class = OUTBOX_COLUMNS[field].class,
                           .place = field == FIELD_SEQ           ? PLACE_SEQ
                                    : field == FIELD_OCCURRED_AT ? PLACE_OCCURRED_AT
                                                                 : PLACE_ROW};
    }
    for (size_t i = 0; i < extras->count; i++) {
        schema->columns[FIELD_COUNT + i].name = extras->items[i];
    }
    return schema;
}

void schema_free(Schema **schema)
{
    free(*schema);
    *schema = NULL;
}

size_t schema_find(const Schema *schema, Slice name)
{
    for (size_t i = 0; i < schema->count && name.length > 0; i++) {
        if (slice_equal(slice_of(schema->columns[i].name), name)) {
            return i;
        }
    }
    return SCHEMA_NONE;
}

size_t schema_find_last(const Schema *schema, Slice name)
{
    size_t i = schema->count;
    while (i > 0 && !slice_equal(slice_of(schema->columns[i - 1].name), name)) {
        i--;
    }
    return i > 0 ? i - 1 : SCHEMA_NONE;
}
