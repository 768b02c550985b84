#include "flow/reason.h"

#include <stddef.h>
#include <string.h>

static const char *const NAMES[REASON_COUNT] = {
    [REASON_TOPIC_UNKNOWN] = "topic_unknown",
    [REASON_DENIED] = "denied",
    [REASON_UNREACHABLE] = "unreachable",
    [REASON_TOO_LARGE] = "too_large",
    [REASON_REFUSED] = "refused",
    [REASON_TIMESTAMP] = "timestamp",
    [REASON_UNROUTED] = "unrouted",
    [REASON_TOPIC_INVALID] = "topic_invalid",
    [REASON_HEADERS_INVALID] = "headers_invalid",
    [REASON_MALFORMED] = "malformed",
    [REASON_OTHER] = "other",
};

static const struct {
    const char *code;
    Reason reason;
} REASONS[] = {
    {"KAFKA_TOPIC_UNKNOWN", REASON_TOPIC_UNKNOWN},
    {"KAFKA_TOPIC_DENIED", REASON_DENIED},
    {"KAFKA_DENIED", REASON_DENIED},
    {"KAFKA_AUTHENTICATION", REASON_DENIED},
    {"KAFKA_TLS", REASON_UNREACHABLE},
    {"KAFKA_UNREACHABLE", REASON_UNREACHABLE},
    {"KAFKA_NO_ACKNOWLEDGEMENT", REASON_UNREACHABLE},
    {"RECORD_TOO_LARGE", REASON_TOO_LARGE},
    {"EVENT_TOO_LARGE", REASON_TOO_LARGE},
    {"EVENT_UNREADABLE", REASON_MALFORMED},
    {"RECORD_REFUSED", REASON_REFUSED},
    {"RECORD_KEY_MISSING", REASON_REFUSED},
    {"RECORD_TIMESTAMP_REFUSED", REASON_TIMESTAMP},
    {"EVENT_UNROUTED", REASON_UNROUTED},
    {"TOPIC_COLUMN_NULL", REASON_TOPIC_INVALID},
    {"TOPIC_NAME_INVALID", REASON_TOPIC_INVALID},
    {"HEADERS_INVALID", REASON_HEADERS_INVALID},
    {"MESSAGE_MALFORMED", REASON_MALFORMED},
    {"TEXT_NOT_UTF8", REASON_MALFORMED},
};

Reason reason_of(const char *code)
{
    for (size_t i = 0; i < sizeof(REASONS) / sizeof(REASONS[0]); i++) {
        if (strcmp(REASONS[i].code, code) == 0) {
            return REASONS[i].reason;
        }
    }
    return REASON_OTHER;
}

const char *reason_name(Reason reason)
{
    return NAMES[reason];
}
