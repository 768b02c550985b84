/* change_context: what outbox.set_context says of a transaction in a message of the log: ids and
 * trace context, which become headers of the changes behind it. */
#pragma once

#include <stdbool.h>

#include "base/arena.h"
#include "base/slice.h"
#include "flow/record.h"

/* The prefix of such a message. */
#define CHANGE_CONTEXT_PREFIX "outboxd.context"

enum {
    CHANGE_CONTEXT_HEADERS = 3,
    CHANGE_CONTEXT_CONTENT_MAX = 65536, /* bytes of a message; longer ones are not read */
    CHANGE_CONTEXT_ID_MAX = 1024,       /* bytes, as outbox.emit takes them */
    CHANGE_CONTEXT_TRACE_MAX = 512,
};

/* A plain value; "" where it is not set. */
typedef struct ChangeContext {
    char correlation_id[CHANGE_CONTEXT_ID_MAX + 1];
    char causation_id[CHANGE_CONTEXT_ID_MAX + 1];
    char traceparent[CHANGE_CONTEXT_TRACE_MAX + 1];
} ChangeContext;

/** Reads the content of a message: a JSON object whose members correlation_id, causation_id and
 * traceparent are strings or null; others are passed over. False, and *ret as it was, for anything
 * else: anybody may write such messages. */
bool change_context_read(Slice content, ChangeContext *ret);

/** The headers of those that are set, in memory of the arena (ChangePlace.context). */
const RecordHeader *change_context_headers(const ChangeContext *context, Arena *arena,
                                           size_t *ret_count);
