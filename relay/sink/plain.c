/* The sinks that need no broker. They settle inside send(), so there is nothing to purge or reopen.
 */
#include "sink/plain.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "sink/kafka/kafka_name.h"

static void plain_nothing(Sink *sink)
{
    (void)sink;
}

static void plain_reopen(Sink *sink)
{
    sink->events.reopened(sink->events.arg);
}

static void plain_status(const Sink *sink, json_t *status)
{
    (void)sink;
    (void)status;
}

static void plain_free(Sink *sink)
{
    free(sink);
}

static SendResult null_send(Sink *sink, const Record *record, Event *event, Error *err)
{
    (void)record;
    (void)err;
    sink->events.settled(sink->events.arg, event, NULL);
    return SEND_OK;
}

static const SinkOps NULL_OPS = {
    .refuse_topic = kafka_name_refuse, /* it stands in for Kafka */
    .open = plain_nothing,
    .send = null_send,
    .flush = plain_nothing,
    .purge = plain_nothing,
    .reopen = plain_reopen,
    .status = plain_status,
    .free = plain_free,
};

static Status plain_new(const SinkOps *ops, Sink **ret_sink)
{
    *ret_sink = x_calloc(1, sizeof(**ret_sink));
    (*ret_sink)->ops = ops;
    return OK;
}

Status sink_null_new(const SinkOptions *options, Sink **ret_sink, Error *err)
{
    (void)options;
    (void)err;
    return plain_new(&NULL_OPS, ret_sink);
}

static SendResult stdout_send(Sink *sink, const Record *record, Event *event, Error *err)
{
    AUTO_BUFFER line = TEXT_EMPTY;
    text_add(&line, "{\"topic\":");
    text_add_json(&line, slice_of(record->topic->name));
    text_add(&line, ",\"key\":");
    text_add_json(&line, record->key);
    text_printf(&line, ",\"timestamp\":%lld,\"headers\":{", (long long)record->timestamp_ms);
    for (size_t i = 0; i < record->header_count; i++) {
        text_add(&line, i > 0 ? "," : "");
        text_add_json(&line, record->headers[i].name);
        text_add_char(&line, ':');
        text_add_json(&line, record->headers[i].value);
    }
    text_add(&line, "},\"value\":");
    text_add_json(&line, record->value);
    text_add(&line, "}\n");
    if (fwrite(line.data, 1, line.length, stdout) != line.length || fflush(stdout) != 0) {
        error_set(err, CODE_STDOUT_FAILED, "cannot write to stdout");
        return SEND_POISON;
    }
    sink->events.settled(sink->events.arg, event, NULL);
    return SEND_OK;
}

static const SinkOps STDOUT_OPS = {
    .refuse_topic = kafka_name_refuse,
    .open = plain_nothing,
    .send = stdout_send,
    .flush = plain_nothing,
    .purge = plain_nothing,
    .reopen = plain_reopen,
    .status = plain_status,
    .free = plain_free,
};

Status sink_stdout_new(const SinkOptions *options, Sink **ret_sink, Error *err)
{
    (void)options;
    (void)err;
    return plain_new(&STDOUT_OPS, ret_sink);
}
