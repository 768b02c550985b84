#include "flow/made.h"

static const EventField SHOWN[] = {FIELD_TOPIC, FIELD_EVENT_TYPE, FIELD_AGGREGATE_TYPE,
                                   FIELD_AGGREGATE_ID, FIELD_PAYLOAD};

Schema *schema_of_made(const char *table)
{
    Schema *schema = schema_new(table, MADE_COLUMNS);
    for (size_t i = 0; i < sizeof(SHOWN) / sizeof(*SHOWN); i++) {
        EventField field = SHOWN[i];
        schema->field[field] = (uint16_t)field;
        schema->columns[field] =
            (SchemaColumn){.name = event_field_name(field), .class = OUTBOX_COLUMNS[field].class};
    }
    return schema;
}

Schema *schema_of_pipeline(const PipelineConfig *pipeline)
{
    return pipeline->capture == CAPTURE_TABLES ? schema_of_made(pipeline->outbox.table)
                                               : schema_of_outbox(pipeline);
}
