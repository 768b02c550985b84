#include "change/change_event.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "change/change_envelope.h"
#include "change/change_json.h"
#include "change/change_row.h"
#include "change/change_value.h"

#define DEBEZIUM_VERSION "3.6.1.Final"
#define CONTEXT          "__debezium.context."

enum { CONTEXT_HEADERS = 4 };

/* What is the same in all records of a transaction, and of which one it is. */
typedef struct TransactionText {
    Text head;  /* the source block up to its own LSN; empty: of none yet */
    Text times; /* behind it, with a comma at the end */
    int64_t committed_at_us;
    uint64_t last_commit;
    ChangeSnapshot snapshot;
} TransactionText;

struct ChangeEvents {
    ChangeBinary binary;
    char *source; /* "source":{"version":..., up to "ts_ms": */
    TransactionText *same;
    char *database;
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

static char *json_of(const char *text)
{
    AUTO_BUFFER json = TEXT_EMPTY;
    (void)change_json_string(&json, slice_of(text));
    return x_strdup(text_string(&json));
}

ChangeEvents *change_events_new(const ChangeOptions *options)
{
    ChangeEvents *events = x_calloc(1, sizeof(*events));
    events->binary = options->modes.binary;
    events->out = x_calloc(1, sizeof(*events->out));
    events->same = x_calloc(1, sizeof(*events->same));
    AUTO_TEXT prefix = json_of(options->prefix);
    events->source = x_format("\"source\":{\"version\":\"" DEBEZIUM_VERSION
                              "\",\"connector\":\"postgresql\",\"name\":%s,\"ts_ms\":",
                              prefix);
    events->database = json_of(options->database);
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
    events->heartbeat_key = x_format("%s{\"serverName\":%s}%s", events->heads[HEAD_HEARTBEAT_KEY],
                                     prefix, events->close);
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
    free(old->source);
    text_free(&old->same->head);
    text_free(&old->same->times);
    free(old->same);
    free(old->database);
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

static void add_lsn(Text *json, uint64_t lsn)
{
    if (lsn == 0) {
        text_add(json, "null");
        return;
    }
    text_add(json, "\\\"");
    change_json_number(json, (int64_t)lsn);
    text_add(json, "\\\"");
}

/* The LSN is that of this record: within a transaction they differ. */
static void add_transaction_id(Text *json, const ChangePlace *place)
{
    text_add(json, "{\"id\":\"");
    change_json_number(json, place->xid);
    text_add_char(json, ':');
    change_json_number(json, (int64_t)place->lsn);
    text_add_char(json, '"');
}

static void set_same(ChangeEvents *events, const ChangePlace *place)
{
    static const char *const SNAPSHOTS[] = {
        [SNAPSHOT_NO] = "false",
        [SNAPSHOT_ROW] = "true",
        [SNAPSHOT_FIRST] = "first",
        [SNAPSHOT_FIRST_OF_TABLE] = "first_in_data_collection",
        [SNAPSHOT_LAST_OF_TABLE] = "last_in_data_collection",
        [SNAPSHOT_LAST] = "last",
        [SNAPSHOT_INCREMENTAL] = "incremental",
    };
    if (events->same->head.length > 0 && events->same->committed_at_us == place->committed_at_us &&
        events->same->last_commit == place->last_commit &&
        events->same->snapshot == place->snapshot) {
        return;
    }
    events->same->committed_at_us = place->committed_at_us;
    events->same->last_commit = place->last_commit;
    events->same->snapshot = place->snapshot;
    Text *json = &events->same->head;
    text_clear(json);
    text_add(json, events->source);
    change_json_number(json, place->committed_at_us / 1000);
    text_add(json, ",\"snapshot\":\"");
    text_add(json, SNAPSHOTS[place->snapshot]);
    text_add(json, "\",\"db\":");
    text_add(json, events->database);
    text_add(json, ",\"sequence\":\"[");
    add_lsn(json, place->last_commit);
    text_add_char(json, ',');
    json = &events->same->times;
    text_clear(json);
    text_add(json, "]\",\"ts_us\":");
    change_json_number(json, place->committed_at_us);
    text_add(json, ",\"ts_ns\":");
    change_json_number(json, place->committed_at_us * 1000);
    text_add_char(json, ',');
}

static Slice slice_of_text(const Text *text)
{
    return (Slice){.data = text_string(text), .length = text->length};
}

static void add_origin(Text *json, const ChangePlace *place)
{
    if (slice_is_null(place->origin)) {
        text_add(json, "null,\"origin_lsn\":null");
        return;
    }
    (void)change_json_string(json, place->origin);
    text_add(json, ",\"origin_lsn\":");
    change_json_number(json, (int64_t)place->origin_lsn);
}

/* The source block and the one of the transaction, with a comma behind. */
static void add_source(ChangeEvents *events, const char *table, const ChangePlace *place)
{
    Text *json = &events->out->json;
    set_same(events, place);
    text_add_slice(json, slice_of_text(&events->same->head));
    add_lsn(json, place->lsn);
    text_add_slice(json, slice_of_text(&events->same->times));
    text_add(json, table);
    text_add(json, ",\"txId\":");
    if (place->xid != 0) {
        change_json_number(json, place->xid);
    } else {
        text_add(json, "null");
    }
    text_add(json, ",\"lsn\":");
    if (place->lsn != 0) {
        change_json_number(json, (int64_t)place->lsn);
    } else {
        text_add(json, "null");
    }
    text_add(json, ",\"xmin\":null,\"origin\":");
    add_origin(json, place);
    text_add(json, "},\"transaction\":");
    if (!place->in_transaction) {
        text_add(json, "null,");
        return;
    }
    add_transaction_id(json, place);
    text_add(json, ",\"total_order\":");
    change_json_number(json, (int64_t)place->total_order);
    text_add(json, ",\"data_collection_order\":");
    change_json_number(json, (int64_t)place->table_order);
    text_add(json, "},");
}

static Slice taken(ChangeEvents *events, Arena *arena)
{
    return arena_copy(arena, slice_of_text(&events->out->json));
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
    text_add(&out->json, making->table->key_head);
    if (change_row_write_key(making->table, row, old, out, making->err) != OK) {
        return FAILED;
    }
    text_add(&out->json, making->table->close);
    *ret = taken(making->events, making->arena);
    return OK;
}

static Status make_value(const Making *making, char op, const Slice *before, const Slice *after,
                         const Slice *old, Slice *ret)
{
    ChangeOut *out = making->events->out;
    text_clear(&out->json);
    text_add(&out->json, making->table->value_head);
    text_add(&out->json, "{\"before\":");
    if (before == NULL) {
        text_add(&out->json, "null");
    } else if (change_row_write(making->table, before, NULL, out, making->err) != OK) {
        return FAILED;
    }
    text_add(&out->json, ",\"after\":");
    if (after == NULL) {
        text_add(&out->json, "null");
    } else if (change_row_write(making->table, after, old, out, making->err) != OK) {
        return FAILED;
    }
    text_add_char(&out->json, ',');
    add_source(making->events, making->table->place, making->place);
    text_add(&out->json, "\"op\":\"");
    text_add_char(&out->json, op);
    text_add(&out->json, "\",\"ts_ms\":");
    change_json_number(&out->json, making->place->now_ns / 1000000);
    text_add(&out->json, ",\"ts_us\":");
    change_json_number(&out->json, making->place->now_ns / 1000);
    text_add(&out->json, ",\"ts_ns\":");
    change_json_number(&out->json, making->place->now_ns);
    text_add_char(&out->json, '}');
    text_add(&out->json, making->table->close);
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
    add_source(events, "\"schema\":\"\",\"table\":\"\"", message->place);
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
    add_transaction_id(json, place);
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
