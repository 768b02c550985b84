#include "change/change_context.h"

#include <jansson.h>
#include <string.h>

typedef struct Member {
    const char *name;
    size_t offset; /* in ChangeContext */
    size_t most;   /* bytes */
} Member;

static const Member MEMBERS[CHANGE_CONTEXT_HEADERS] = {
    {"correlation_id", offsetof(ChangeContext, correlation_id), CHANGE_CONTEXT_ID_MAX},
    {"causation_id", offsetof(ChangeContext, causation_id), CHANGE_CONTEXT_ID_MAX},
    {"traceparent", offsetof(ChangeContext, traceparent), CHANGE_CONTEXT_TRACE_MAX},
};

/* A missing member is as one that is null. */
static bool take(const json_t *object, const Member *member, ChangeContext *context)
{
    const json_t *value = json_object_get(object, member->name);
    if (value == NULL || json_is_null(value)) {
        return true;
    }
    if (!json_is_string(value) || json_string_length(value) > member->most) {
        return false;
    }
    memcpy((char *)context + member->offset, json_string_value(value),
           json_string_length(value) + 1);
    return true;
}

static bool is_hex(const char *text, size_t length)
{
    return strspn(text, "0123456789abcdef") >= length;
}

static bool is_zero(const char *text, size_t length)
{
    return strspn(text, "0") >= length;
}

/* https://www.w3.org/TR/trace-context/#traceparent-header, as outbox.check_traceparent has it:
 * versions after 00 may append fields. */
static bool is_traceparent(const char *text)
{
    enum { VERSION = 2, TRACE = 32, PARENT = 16, FLAGS = 2, WHOLE = 55 };
    const char *trace = text + VERSION + 1;
    const char *parent = trace + TRACE + 1;
    const char *flags = parent + PARENT + 1;
    size_t length = strlen(text);
    if (length < WHOLE || !is_hex(text, VERSION) || trace[-1] != '-' || !is_hex(trace, TRACE) ||
        parent[-1] != '-' || !is_hex(parent, PARENT) || flags[-1] != '-' || !is_hex(flags, FLAGS)) {
        return false;
    }
    for (const char *at = text + WHOLE; *at != '\0'; at++) {
        if (*at < '!' || *at > '~') {
            return false;
        }
    }
    bool first = strncmp(text, "00", VERSION) == 0;
    return (length == WHOLE || (text[WHOLE] == '-' && !first)) &&
           strncmp(text, "ff", VERSION) != 0 && !is_zero(trace, TRACE) && !is_zero(parent, PARENT);
}

bool change_context_read(Slice content, ChangeContext *ret)
{
    if (content.length > CHANGE_CONTEXT_CONTENT_MAX) {
        return false;
    }
    json_t *object = json_loadb(content.data, content.length, JSON_REJECT_DUPLICATES, NULL);
    ChangeContext context = {0};
    bool read = json_is_object(object);
    for (size_t i = 0; read && i < CHANGE_CONTEXT_HEADERS; i++) {
        read = take(object, &MEMBERS[i], &context);
    }
    json_decref(object);
    if (!read || (context.traceparent[0] != '\0' && !is_traceparent(context.traceparent))) {
        return false;
    }
    *ret = context;
    return true;
}

const RecordHeader *change_context_headers(const ChangeContext *context, Arena *arena,
                                           size_t *ret_count)
{
    RecordHeader *headers = arena_alloc(arena, CHANGE_CONTEXT_HEADERS * sizeof(*headers));
    size_t count = 0;
    for (size_t i = 0; i < CHANGE_CONTEXT_HEADERS; i++) {
        Slice value = slice_of((const char *)context + MEMBERS[i].offset);
        if (value.length > 0) {
            headers[count++] = (RecordHeader){.name = slice_of(MEMBERS[i].name),
                                              .value = arena_copy(arena, value)};
        }
    }
    *ret_count = count;
    return headers;
}
