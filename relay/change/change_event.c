#include "change/change_event.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "change/change_envelope.h"
#include "change/change_json.h"
#include "change/change_row.h"
#include "change/change_value.h"

#define CONTEXT "__debezium.context."

enum { CONTEXT_HEADERS = 4 };

struct ChangeEvents {
    ChangeBinary binary;
    ChangeSource *source;
    char *prefix;
    char *run;
    char *message_topic;
    char *transaction_topic;
    char *heartbeat_topic;
    char *heartbeat_key;
    char *heads[HEAD_TRANSACTION_VALUE + 1];   /* "" without schemas */
    const char *close;                         /* "}", or "" */
    RecordHeader context[1 + CONTEXT_HEADERS]; /* the first is a place for the key of a pair */
    ChangeOut *out;
};

ChangeEvents *change_events_new(const ChangeOptions *options)
{
    ChangeEvents *events = x_calloc(1, sizeof(*events));
    events->binary = options->modes.binary;
    events->out = x_calloc(1, sizeof(*events->out));
    events->source = change_source_new(options->prefix, options->database);
    events->prefix = x_strdup(options->prefix);
    events->run = x_strdup(options->run);
    events->message_topic = x_format("%s.message", options->prefix);
    events->transaction_topic = x_format("%s.transaction", options->prefix);
    events->heartbeat_topic = x_format("__debezium-heartbeat.%s", options->prefix);
    const char *content = options->modes.binary == BINARY_BYTES ? "bytes" : "string";
    bool schemas = (options->modes.told & TOLD_SCHEMAS) != 0;
    events->close = schemas ? "}" : "";
    for (ChangeHead head = HEAD_MESSAGE_KEY; head <= HEAD_TRANSACTION_VALUE; head++) {
        events->heads[head] = schemas ? change_envelope_head(head, content) : x_strdup("");
    }
    AUTO_BUFFER server = TEXT_EMPTY;
    (void)change_json_string(&server, slice_of(options->prefix));
    events->heartbeat_key = x_format("%s{\"serverName\":%s}%s", events->heads[HEAD_HEARTBEAT_KEY],
                                     text_string(&server), events->close);
    const RecordHeader context[1 + CONTEXT_HEADERS] = {
        {SLICE_NULL, SLICE_NULL},
        {SLICE_LITERAL(CONTEXT "connectorLogicalName"), slice_of(events->prefix)},
        {SLICE_LITERAL(CONTEXT "taskId"), SLICE_LITERAL("0")},
        {SLICE_LITERAL(CONTEXT "connectorName"), SLICE_LITERAL("postgresql")},
        {SLICE_LITERAL(CONTEXT "runId"), slice_of(events->run)}};
    memcpy(events->context, context, sizeof(context));
    return events;
}

void change_events_free(ChangeEvents **events)
{
    ChangeEvents *old = *events;
    *events = NULL;
    if (old == NULL) {
        return;
    }
    change_source_free(&old->source);
    free(old->prefix);
    free(old->run);
    free(old->message_topic);
    free(old->transaction_topic);
    free(old->heartbeat_topic);
    free(old->heartbeat_key);
    for (size_t i = 0; i < sizeof(old->heads) / sizeof(*old->heads); i++) {
        free(old->heads[i]);
    }
    change_out_free(old->out);
    free(old->out);
    free(old);
}

static Slice taken(ChangeEvents *events, Arena *arena)
{
    return arena_copy(arena, text_slice(&events->out->json));
}

/* One change on its way into records. */
typedef struct Making {
    ChangeEvents *events;
    const ChangeTable *table;
    const ChangePlace *place;
    Arena *arena;
    const RecordHeader *headers; /* of each record: a place for one, Debezium's, the context */
    size_t header_count;         /* without that place */
    Error *err;
} Making;

static Status make_key(const Making *making, const Slice *row, const Slice *old, Slice *ret)
{
    *ret = SLICE_NULL;
    if (making->table->key_count == 0) {
        return OK;
    }
    ChangeOut *out = making->events->out;
    text_clear(&out->json);
    text_put(&out->json, text_slice(&making->table->key_head));
    if (change_row_write_key(making->table, row, old, out, making->err) != OK) {
        return FAILED;
    }
    if (making->table->value_head.length > 0) {
        text_put_char(&out->json, '}');
    }
    *ret = taken(making->events, making->arena);
    return OK;
}

static Status make_value(const Making *making, char op, const Slice *before, const Slice *after,
                         const Slice *old, Slice *ret)
{
    ChangeOut *out = making->events->out;
    Text *json = &out->json;
    const ChangeTable *table = making->table;
    text_clear(json);
    text_put(json, text_slice(&table->value_head));
    TEXT_PUT(json, "{\"before\":");
    if (before == NULL) {
        TEXT_PUT(json, "null");
    } else if (change_row_write(table, before, NULL, out, making->err) != OK) {
        return FAILED;
    }
    TEXT_PUT(json, ",\"after\":");
    if (after == NULL) {
        TEXT_PUT(json, "null");
    } else if (change_row_write(table, after, old, out, making->err) != OK) {
        return FAILED;
    }
    text_put_char(json, ',');
    change_source_write(making->events->source, text_slice(&table->place), making->place, json);
    TEXT_PUT(json, "\"op\":\"");
    text_put_char(json, op);
    TEXT_PUT(json, "\",");
    change_source_write_times(making->events->source, making->place->now_ns, json);
    text_put_char(json, '}');
    if (table->value_head.length > 0) {
        text_put_char(json, '}');
    }
    *ret = taken(making->events, making->arena);
    return OK;
}

static void set_record(const Making *making, Slice key, Slice value, ChangeRecord *ret)
{
    *ret = (ChangeRecord){.topic = slice_of(making->table->topic),
                          .key = key,
                          .value = value,
                          .headers = making->headers + 1,
                          .header_count = making->header_count};
}

/* A place for the other key of a pair, Debezium's headers, and the context of the transaction. */
static void set_headers(Making *making)
{
    const ChangePlace *place = making->place;
    making->header_count = CONTEXT_HEADERS + place->context_count;
    if (place->context_count == 0) {
        making->headers = making->events->context;
        return;
    }
    RecordHeader *headers =
        arena_alloc(making->arena, (1 + making->header_count) * sizeof(*headers));
    memcpy(headers, making->events->context, sizeof(making->events->context));
    memcpy(headers + 1 + CONTEXT_HEADERS, place->context, place->context_count * sizeof(*headers));
    making->headers = headers;
}

/* The headers with the other key of a pair in front. */
static Status make_headers(const Making *making, Slice name, const Slice *row, const Slice *old,
                           const RecordHeader **ret)
{
    ChangeOut *out = making->events->out;
    text_clear(&out->json);
    if (change_row_write_key_text(making->table, row, old, out, making->err) != OK) {
        return FAILED;
    }
    RecordHeader *headers =
        arena_alloc(making->arena, (1 + making->header_count) * sizeof(*headers));
    memcpy(headers, making->headers, (1 + making->header_count) * sizeof(*headers));
    headers[0] = (RecordHeader){.name = name, .value = taken(making->events, making->arena)};
    *ret = headers;
    return OK;
}

/* A key that changes: the old one is deleted, the new one made. */
static Status make_pair(const Making *making, const ChangeRow *row, Slice old_key, Slice new_key,
                        ChangeRecord *ret)
{
    ChangePlace second = *making->place;
    second.total_order++;
    second.table_order++;
    Making creating = *making;
    creating.place = &second;
    Slice deleted;
    Slice created;
    const RecordHeader *to_new = NULL;
    const RecordHeader *to_old = NULL;
    if (make_value(making, 'd', row->old_row, NULL, NULL, &deleted) != OK ||
        make_value(&creating, 'c', NULL, row->new_row, row->old_row, &created) != OK ||
        make_headers(making, SLICE_LITERAL("__debezium.newkey"), row->new_row, row->old_row,
                     &to_new) != OK ||
        make_headers(making, SLICE_LITERAL("__debezium.oldkey"), row->old_row, NULL, &to_old) !=
            OK) {
        return FAILED;
    }
    set_record(making, old_key, deleted, &ret[0]);
    set_record(making, old_key, SLICE_NULL, &ret[1]);
    set_record(making, new_key, created, &ret[2]);
    for (int i = 0; i < CHANGE_RECORDS_MAX; i++) {
        ret[i].headers = i < 2 ? to_new : to_old;
        ret[i].header_count = making->header_count + 1;
    }
    return OK;
}

Status change_event_row(ChangeEvents *events, const ChangeTable *table, const ChangeRow *row,
                        Arena *arena, ChangeRecords *ret, Error *err)
{
    Making making = {
        .events = events, .table = table, .place = row->place, .arena = arena, .err = err};
    events->out->asked = row->asked;
    events->out->awaited = row->awaited;
    set_headers(&making);
    Slice old_key = SLICE_NULL;
    Slice key = SLICE_NULL;
    Slice value = SLICE_NULL;
    const Slice *keyed = row->op == 'd' ? row->old_row : row->new_row;
    if (keyed != NULL &&
        make_key(&making, keyed, row->op == 'd' ? NULL : row->old_row, &key) != OK) {
        return FAILED;
    }
    if (row->op == 'u' && row->old_row != NULL) {
        if (make_key(&making, row->old_row, NULL, &old_key) != OK) {
            return FAILED;
        }
        if (!slice_equal(old_key, key)) {
            ret->count = CHANGE_RECORDS_MAX;
            return make_pair(&making, row, old_key, key, ret->items);
        }
    }
    if (make_value(&making, row->op, row->old_row, row->op == 'd' ? NULL : row->new_row,
                   row->old_row, &value) != OK) {
        return FAILED;
    }
    set_record(&making, key, value, &ret->items[0]);
    ret->count = 1;
    if (row->op == 'd') {
        set_record(&making, key, SLICE_NULL, &ret->items[1]);
        ret->count = 2;
    }
    return OK;
}

Slice change_events_message_topic(const ChangeEvents *events)
{
    return slice_of(events->message_topic);
}

Status change_event_message(ChangeEvents *events, const ChangeMessage *message, Arena *arena,
                            ChangeRecord *ret, Error *err)
{
    Text *json = &events->out->json;
    *ret = (ChangeRecord){.topic = slice_of(events->message_topic)};
    text_clear(json);
    text_add(json, events->heads[HEAD_MESSAGE_KEY]);
    text_add(json, "{\"prefix\":");
    if (!change_json_string(json, message->prefix)) {
        return error_set_as(err, ERROR_POISON, EXIT_POSTGRES, CODE_TEXT_NOT_UTF8,
                            "the prefix of a logical message is no UTF-8");
    }
    text_add(json, "}");
    text_add(json, events->close);
    ret->key = taken(events, arena);
    text_clear(json);
    text_add(json, events->heads[HEAD_MESSAGE_VALUE]);
    text_add(json, "{\"op\":\"m\",\"ts_ms\":");
    change_json_number(json, message->place->now_ns / 1000000);
    text_add_char(json, ',');
    change_source_write(events->source, SLICE_LITERAL("\"schema\":\"\",\"table\":\"\""),
                        message->place, json);
    text_add(json, "\"message\":{\"prefix\":");
    (void)change_json_string(json, message->prefix);
    text_add(json, ",\"content\":");
    change_value_binary(events->binary, message->content, json);
    text_add(json, "}}");
    text_add(json, events->close);
    ret->value = taken(events, arena);
    return OK;
}

void change_event_heartbeat(ChangeEvents *events, int64_t now_ms, Arena *arena, ChangeRecord *ret)
{
    Text *json = &events->out->json;
    text_clear(json);
    text_add(json, events->heads[HEAD_HEARTBEAT_VALUE]);
    text_add(json, "{\"ts_ms\":");
    change_json_number(json, now_ms);
    text_add(json, "}");
    text_add(json, events->close);
    *ret = (ChangeRecord){.topic = slice_of(events->heartbeat_topic),
                          .key = slice_of(events->heartbeat_key),
                          .value = taken(events, arena)};
}

void change_event_transaction(ChangeEvents *events, const ChangeTransaction *ended,
                              const ChangePlace *place, Arena *arena, ChangeRecord *ret)
{
    Text *json = &events->out->json;
    text_clear(json);
    text_add(json, events->heads[HEAD_TRANSACTION_KEY]);
    change_source_write_id(place, json);
    text_add_char(json, '}');
    text_add(json, events->close);
    *ret =
        (ChangeRecord){.topic = slice_of(events->transaction_topic), .key = taken(events, arena)};
    text_clear(json);
    text_add(json, events->heads[HEAD_TRANSACTION_VALUE]);
    text_add(json,
             ended == NULL ? "{\"status\":\"BEGIN\",\"id\":\"" : "{\"status\":\"END\",\"id\":\"");
    change_json_number(json, place->xid);
    text_add_char(json, ':');
    change_json_number(json, (int64_t)place->lsn);
    text_add(json, "\",\"event_count\":");
    if (ended == NULL) {
        text_add(json, "null,\"data_collections\":null");
    } else {
        change_transaction_write(ended, json);
    }
    text_add(json, ",\"ts_ms\":");
    change_json_number(json, place->committed_at_us / 1000);
    text_add_char(json, '}');
    text_add(json, events->close);
    ret->value = taken(events, arena);
}
