#include "cdc/change_made.h"

#include <string.h>

#include "change/change_json.h"
#include "flow/batch.h" /* what an event counts for */
#include "flow/made.h"
#include "flow/refusal.h"

Slice change_made_kind(char op)
{
    static const char NAMES[] = "cudtrm";
    return (Slice){.data = strchr(NAMES, op), .length = 1};
}

/* Letters of what waits, or of what is refused. */
static bool writes_letters(const PipelineConfig *pipeline)
{
    return pipeline->on_poison == ON_POISON_DEAD_LETTER ||
           pipeline->route.on_missing_topic == ON_MISSING_TOPIC_DEAD_LETTER;
}

static bool is_in_record_key(const ChangeTable *table, size_t at)
{
    bool found = false;
    for (size_t i = 0; i < table->key_count; i++) {
        found = found || table->key[i] == at;
    }
    return found;
}

/* Whether the table has a key by itself of which a letter may show every column. */
static bool has_own_key(const ChangeTable *table)
{
    size_t columns = 0;
    bool open = true;
    for (size_t i = 0; i < table->count; i++) {
        const ChangeTableColumn *column = &table->columns[i];
        columns += column->in_key > 0;
        open = open && (column->in_key == 0 || is_in_record_key(table, i) ||
                        (column->shown && column->redact.kind == REDACT_NONE));
    }
    return open && columns > 0;
}

/* False: a value of the key is not known. */
static bool add_key(const ChangeTable *table, const Slice *row, const Slice *old, Text *json)
{
    bool own = has_own_key(table);
    bool known = true;
    size_t columns = 0;
    for (size_t i = 0; known && i < table->count; i++) {
        if (!(own ? table->columns[i].in_key > 0 : is_in_record_key(table, i))) {
            continue;
        }
        Slice value = row[i];
        value = slice_is_unsent(value) && old != NULL ? old[i] : value;
        known = !slice_is_null(value) && !slice_is_unsent(value);
        text_add_char(json, columns++ > 0 ? ',' : '{');
        known = known && change_json_string(json, slice_of(table->columns[i].name));
        text_add_char(json, ':');
        known = known && change_json_string(json, value);
    }
    text_add_char(json, '}');
    return known && columns > 0;
}

Slice change_made_row(const PipelineConfig *pipeline, const ChangeTable *table,
                      const ChangeRow *row, size_t place, size_t records, Arena *arena)
{
    bool of_old = row->op == 'd' || (records == CHANGE_RECORDS_MAX && place + 1 < records);
    const Slice *values = of_old ? row->old_row : row->new_row;
    if (values == NULL || !writes_letters(pipeline)) {
        return SLICE_NULL;
    }
    AUTO_BUFFER json = TEXT_EMPTY;
    text_printf(&json, "{\"oid\":%u,%s,\"key\":", table->oid, text_string(&table->place));
    if (!add_key(table, values, of_old ? NULL : row->old_row, &json)) {
        return SLICE_NULL;
    }
    text_add_char(&json, '}');
    return arena_copy(arena, (Slice){.data = text_string(&json), .length = json.length});
}

void change_made_fill(const PipelineConfig *pipeline, Event *event, const ChangeRecord *record,
                      const ChangeShown *shown)
{
    event->row[FIELD_EVENT_TYPE] = shown->kind;
    event->row[FIELD_AGGREGATE_TYPE] = shown->table;
    event->row[FIELD_TOPIC] = record->topic;
    event->row[FIELD_AGGREGATE_ID] = record->key;
    event->row[FIELD_PAYLOAD] = record->value;
    event->row[MADE_ROW] = shown->row;
    made_set_headers(event, record->headers, record->header_count);
    event->batch->bytes += record->key.length + record->value.length + event_bytes(event);
    (void)refusal_apply(event, false, pipeline->limits.event_bytes);
}

void change_made_refuse(Event *event, Slice topic, const ChangeShown *shown, const Error *why)
{
    event->row[FIELD_EVENT_TYPE] = shown->kind;
    event->row[FIELD_AGGREGATE_TYPE] = shown->table;
    event->row[FIELD_TOPIC] = topic;
    event->row[MADE_ROW] = shown->row;
    event->batch->bytes += event_bytes(event);
    Refusal *refusal = refusal_new(event, 0);
    refusal->partial = true;
    error_copy(&refusal->error, why);
}
