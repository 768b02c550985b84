#include "change/change_envelope.h"

#include <stdbool.h>

#include "base/memory.h"

typedef struct Field {
    const char *type;
    bool optional;
    const char *name;
    const char *whole; /* its JSON, where it is more than these */
} Field;

#define COUNT(fields) (sizeof(fields) / sizeof(*(fields)))

static const Field SOURCE[] = {
    {"string", false, "version", NULL},
    {"string", false, "connector", NULL},
    {"string", false, "name", NULL},
    {"int64", false, "ts_ms", NULL},
    {.whole = "{\"type\":\"string\",\"optional\":true,\"name\":\"io.debezium.data.Enum\","
              "\"version\":1,\"parameters\":{\"allowed\":\"true,first,first_in_data_collection,"
              "last_in_data_collection,last,false,incremental\"},\"default\":\"false\","
              "\"field\":\"snapshot\"}"},
    {"string", false, "db", NULL},
    {"string", true, "sequence", NULL},
    {"int64", true, "ts_us", NULL},
    {"int64", true, "ts_ns", NULL},
    {"string", false, "schema", NULL},
    {"string", false, "table", NULL},
    {"int64", true, "txId", NULL},
    {"int64", true, "lsn", NULL},
    {"int64", true, "xmin", NULL},
    {"string", true, "origin", NULL},
    {"int64", true, "origin_lsn", NULL},
};

static const Field TRANSACTION[] = {
    {"string", false, "id", NULL},
    {"int64", false, "total_order", NULL},
    {"int64", false, "data_collection_order", NULL},
};

static void add_fields(Text *out, const Field *fields, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        text_add(out, i > 0 ? "," : "");
        if (fields[i].whole != NULL) {
            text_add(out, fields[i].whole);
        } else {
            text_printf(out, "{\"type\":\"%s\",\"optional\":%s,\"field\":\"%s\"}", fields[i].type,
                        fields[i].optional ? "true" : "false", fields[i].name);
        }
    }
}

/* A struct in a struct, with a comma behind. */
static void add_struct(Text *out, const Field *fields, size_t count, const char *rest)
{
    text_add(out, "{\"type\":\"struct\",\"fields\":[");
    add_fields(out, fields, count);
    text_printf(out, "],%s}", rest);
}

static void add_origin(Text *out)
{
    add_struct(out, SOURCE, COUNT(SOURCE),
               "\"optional\":false,\"name\":\"io.debezium.connector.postgresql.Source\","
               "\"version\":1,\"field\":\"source\"");
    text_add_char(out, ',');
    add_struct(out, TRANSACTION, COUNT(TRANSACTION),
               "\"optional\":true,\"name\":\"event.block\",\"version\":1,"
               "\"field\":\"transaction\"");
    text_add_char(out, ',');
}

void change_envelope_fields(Text *out)
{
    static const Field REST[] = {{"string", false, "op", NULL},
                                 {"int64", true, "ts_ms", NULL},
                                 {"int64", true, "ts_us", NULL},
                                 {"int64", true, "ts_ns", NULL}};
    add_origin(out);
    add_fields(out, REST, COUNT(REST));
}

static void add_message(Text *out, const char *content)
{
    const Field message[] = {{"string", true, "prefix", NULL}, {content, true, "content", NULL}};
    static const Field FIRST[] = {{"string", false, "op", NULL}, {"int64", true, "ts_ms", NULL}};
    add_fields(out, FIRST, COUNT(FIRST));
    text_add_char(out, ',');
    add_origin(out);
    add_struct(out, message, COUNT(message),
               "\"optional\":false,\"name\":\"io.debezium.connector.postgresql.Message\","
               "\"version\":1,\"field\":\"message\"");
}

static void add_transaction(Text *out, const char *content)
{
    (void)content;
    static const Field FIRST[] = {{"string", false, "status", NULL},
                                  {"string", false, "id", NULL},
                                  {"int64", true, "event_count", NULL}};
    static const Field OF_TABLE[] = {{"string", false, "data_collection", NULL},
                                     {"int64", false, "event_count", NULL}};
    static const Field LAST[] = {{"int64", false, "ts_ms", NULL}};
    add_fields(out, FIRST, COUNT(FIRST));
    text_add(out, ",{\"type\":\"array\",\"items\":");
    add_struct(out, OF_TABLE, COUNT(OF_TABLE),
               "\"optional\":false,\"name\":\"event.collection\",\"version\":1");
    text_add(out, ",\"optional\":true,\"field\":\"data_collections\"},");
    add_fields(out, LAST, COUNT(LAST));
}

char *change_envelope_head(ChangeHead head, const char *content)
{
    static const Field PREFIX[] = {{"string", true, "prefix", NULL}};
    static const Field SERVER[] = {{"string", false, "serverName", NULL}};
    static const Field BEAT[] = {{"int64", false, "ts_ms", NULL}};
    static const Field ID[] = {{"string", false, "id", NULL}};
    static const struct {
        const char *name;
        const Field *fields;
        size_t count;
        void (*add)(Text *, const char *);
    } HEADS[] = {
        [HEAD_MESSAGE_KEY] = {"postgresql.MessageKey", PREFIX, COUNT(PREFIX), NULL},
        [HEAD_MESSAGE_VALUE] = {"postgresql.MessageValue", NULL, 0, add_message},
        [HEAD_HEARTBEAT_KEY] = {"common.ServerNameKey", SERVER, COUNT(SERVER), NULL},
        [HEAD_HEARTBEAT_VALUE] = {"common.Heartbeat", BEAT, COUNT(BEAT), NULL},
        [HEAD_TRANSACTION_KEY] = {"common.TransactionMetadataKey", ID, COUNT(ID), NULL},
        [HEAD_TRANSACTION_VALUE] = {"common.TransactionMetadataValue", NULL, 0, add_transaction},
    };
    AUTO_BUFFER out = TEXT_EMPTY;
    text_add(&out, "{\"schema\":{\"type\":\"struct\",\"fields\":[");
    if (HEADS[head].add != NULL) {
        HEADS[head].add(&out, content);
    } else {
        add_fields(&out, HEADS[head].fields, HEADS[head].count);
    }
    text_printf(&out,
                "],\"optional\":false,\"name\":\"io.debezium.connector.%s\",\"version\":1},"
                "\"payload\":",
                HEADS[head].name);
    return x_strdup(text_string(&out));
}
