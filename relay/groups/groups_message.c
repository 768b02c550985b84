#include "groups/groups_message.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/memory.h"
#include "config/lists.h"
#include "sink/kafka/kafka_conf.h"

enum { ITEMS_MAX = 100000, ROW_BYTES_MIN = 5 * 8 + 2 }; /* of a list; of a row with empty names */

/* Writing. */

static void add_number(Text *out, int64_t number)
{
    uint64_t big = htobe64((uint64_t)number);
    text_append(out, (const char *)&big, sizeof(big));
}

static void add_real(Text *out, double real)
{
    int64_t bits;
    memcpy(&bits, &real, sizeof(bits));
    add_number(out, bits);
}

static void add_string(Text *out, const char *string)
{
    text_append(out, string, strlen(string) + 1);
}

static void add_list(Text *out, const StringList *list)
{
    add_number(out, (int64_t)list->count);
    for (size_t i = 0; i < list->count; i++) {
        add_string(out, list->items[i]);
    }
}

/* Leaves room for the length; the result is where the message begins. */
static size_t message_begin(Text *out)
{
    static const char ROOM[GROUPS_MESSAGE_HEAD] = {0};
    text_append(out, ROOM, sizeof(ROOM));
    return out->length;
}

static void message_end(Text *out, size_t begin)
{
    uint32_t length = htobe32((uint32_t)(out->length - begin));
    memcpy(out->data + begin - GROUPS_MESSAGE_HEAD, &length, sizeof(length));
}

void groups_request_write(const Config *config, const StringList *topics,
                          const StringList *patterns, const TokenValue *token, Text *out)
{
    static const StringList NONE = {0};
    size_t begin = message_begin(out);
    add_string(out, config->name);
    add_string(out, config->kafka.brokers);
    add_list(out, &config->kafka.properties);
    add_list(out, &config->monitor.consumer_groups);
    add_number(out, config->monitor.groups_interval_ms);
    add_number(out, config->log.format);
    add_number(out, config->log.level);
    add_number(out, config->pipelines[0].limits.in_flight_events);
    add_list(out, topics);
    add_list(out, patterns);
    add_string(out, kafka_conf_wants_token(config) ? config->kafka.oauth_command : "");
    add_string(out, token != NULL ? token->secret : "");
    add_string(out, token != NULL ? token->principal : "");
    add_list(out, token != NULL ? token->extensions : &NONE);
    add_number(out, token != NULL ? token->expires_ms : 0);
    message_end(out, begin);
}

void groups_answer_write(const RoundView *view, Text *out)
{
    size_t begin = message_begin(out);
    add_number(out, view->error->class);
    add_string(out, error_code_name(view->error->code));
    add_string(out, error_message(view->error));
    add_string(out, error_own_hint(view->error));
    add_number(out, (int64_t)view->groups_left_out);
    add_number(out, (int64_t)view->count);
    for (size_t i = 0; i < view->count; i++) {
        const GroupRow *row = &view->rows[i];
        add_string(out, row->group);
        add_string(out, row->topic);
        add_number(out, row->lag_events);
        add_real(out, row->lag_seconds);
        add_real(out, group_row_change(row));
        add_number(out, group_row_grows(row));
        add_number(out, row->committed);
    }
    message_end(out, begin);
}

/* Reading. */

size_t groups_message_length(const char head[GROUPS_MESSAGE_HEAD])
{
    return bytes_load_u32((const unsigned char *)head);
}

static double read_real(ByteReader *reader)
{
    int64_t bits = bytes_i64(reader);
    double real;
    memcpy(&real, &bits, sizeof(real));
    return real;
}

/* A number that is no larger than that, else the message is not one. */
static int64_t read_bounded(ByteReader *reader, int64_t max)
{
    int64_t number = bytes_i64(reader);
    if (number < 0 || number > max) {
        reader->failed = true;
        return 0;
    }
    return number;
}

/* In the message; "" after an error. */
static const char *read_string(ByteReader *reader)
{
    Slice string = bytes_string(reader);
    return string.data != NULL ? string.data : "";
}

static void read_list(ByteReader *reader, StringList *list)
{
    int64_t count = read_bounded(reader, ITEMS_MAX);
    for (int64_t i = 0; i < count && !reader->failed; i++) {
        const char *item = read_string(reader);
        if (!reader->failed) {
            string_list_add(list, item);
        }
    }
}

bool groups_request_read(const char *bytes, size_t length, GroupsRequest *ret_request)
{
    ByteReader reader = bytes_reader(bytes, length);
    *ret_request = (GroupsRequest){0};
    Config *config = x_calloc(1, sizeof(*config));
    config->pipelines = x_calloc(1, sizeof(*config->pipelines));
    config->pipeline_count = 1;
    ret_request->config = config;
    config->name = x_strdup(read_string(&reader));
    config->kafka.brokers = x_strdup(read_string(&reader));
    read_list(&reader, &config->kafka.properties);
    read_list(&reader, &config->monitor.consumer_groups);
    config->monitor.groups_interval_ms = read_bounded(&reader, INT64_C(1) << 40);
    config->log.format = (LogFormat)read_bounded(&reader, LOG_FORMAT_JSON);
    config->log.level = (LogLevel)read_bounded(&reader, LOG_ERROR);
    config->pipelines->limits.in_flight_events = read_bounded(&reader, INT64_C(1) << 40);
    read_list(&reader, &ret_request->topics);
    read_list(&reader, &ret_request->patterns);
    config->kafka.oauth_command = x_strdup(read_string(&reader));
    ret_request->token.secret = x_strdup(read_string(&reader));
    ret_request->token.principal = x_strdup(read_string(&reader));
    read_list(&reader, &ret_request->token.extensions);
    ret_request->token.expires_ms = bytes_i64(&reader);
    return bytes_complete(&reader) && ret_request->token.extensions.count % 2 == 0;
}

bool groups_request_token(const GroupsRequest *request, TokenValue *ret_value)
{
    const GroupsToken *token = &request->token;
    *ret_value = (TokenValue){.number = 1,
                              .secret = token->secret,
                              .principal = token->principal,
                              .extensions = &token->extensions,
                              .expires_ms = token->expires_ms};
    return token->secret != NULL && *token->secret != '\0';
}

void groups_request_free(GroupsRequest *request)
{
    Config *config = request->config;
    if (config != NULL) {
        free(config->name);
        free(config->kafka.brokers);
        free(config->kafka.oauth_command);
        string_list_free(&config->kafka.properties);
        string_list_free(&config->monitor.consumer_groups);
        free(config->pipelines);
        free(config);
    }
    string_list_free(&request->topics);
    string_list_free(&request->patterns);
    if (request->token.secret != NULL) {
        explicit_bzero(request->token.secret, strlen(request->token.secret));
    }
    free(request->token.secret);
    free(request->token.principal);
    string_list_free(&request->token.extensions);
    *request = (GroupsRequest){0};
}

static void read_row(ByteReader *reader, GroupsAnswerRow *row)
{
    row->group = read_string(reader);
    row->topic = read_string(reader);
    row->lag_events = bytes_i64(reader);
    row->lag_seconds = read_real(reader);
    row->change_per_second = read_real(reader);
    row->grows = read_bounded(reader, 1) == 1;
    row->committed = read_bounded(reader, 1) == 1;
}

static void read_error(ByteReader *reader, Error *ret_error)
{
    ErrorClass class = (ErrorClass)read_bounded(reader, ERROR_FATAL);
    ErrorCode code = error_code_find(read_string(reader));
    const char *message = read_string(reader);
    const char *hint = read_string(reader);
    if (class != ERROR_NONE) {
        error_set_as(ret_error, class, EXIT_KAFKA, code, "%s", message);
        error_hint(ret_error, "%s", hint);
    }
}

bool groups_answer_read(const char *bytes, size_t length, GroupsAnswer *ret_answer)
{
    ByteReader reader = bytes_reader(bytes, length);
    memset(ret_answer, 0, sizeof(*ret_answer));
    read_error(&reader, &ret_answer->error);
    ret_answer->groups_left_out = (size_t)read_bounded(&reader, INT32_MAX);
    size_t count = (size_t)read_bounded(&reader, GROUP_ROWS_MAX);
    if (reader.failed || count * ROW_BYTES_MIN > bytes_left(&reader)) {
        return false;
    }
    ret_answer->rows = x_calloc(count + 1, sizeof(*ret_answer->rows));
    ret_answer->count = count;
    for (size_t i = 0; i < count && !reader.failed; i++) {
        read_row(&reader, &ret_answer->rows[i]);
    }
    return bytes_complete(&reader);
}

void groups_answer_free(GroupsAnswer *answer)
{
    free(answer->rows);
    error_clear(&answer->error);
    memset(answer, 0, sizeof(*answer));
}
