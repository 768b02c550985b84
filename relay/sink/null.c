/* It settles inside send(), so there is nothing to purge or reopen. */
#include "sink/null.h"

#include <stdlib.h>

#include "base/memory.h"
#include "sink/kafka/kafka_name.h"

static void null_nothing(Sink *sink)
{
    (void)sink;
}

static void null_reopen(Sink *sink)
{
    sink->events.reopened(sink->events.arg);
}

static void null_status(const Sink *sink, json_t *status)
{
    (void)sink;
    (void)status;
}

static void null_free(Sink *sink)
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
    .open = null_nothing,
    .send = null_send,
    .flush = null_nothing,
    .purge = null_nothing,
    .reopen = null_reopen,
    .status = null_status,
    .free = null_free,
};

Status sink_null_new(const SinkOptions *options, Sink **ret_sink, Error *err)
{
    (void)options;
    (void)err;
    *ret_sink = x_calloc(1, sizeof(**ret_sink));
    (*ret_sink)->ops = &NULL_OPS;
    return OK;
}
