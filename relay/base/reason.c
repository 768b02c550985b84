#include "base/reason.h"

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
    ErrorCode code;
    Reason reason;
} REASONS[] = {
    {CODE_KAFKA_TOPIC_UNKNOWN, REASON_TOPIC_UNKNOWN},
    {CODE_KAFKA_TOPIC_DENIED, REASON_DENIED},
    {CODE_KAFKA_DENIED, REASON_DENIED},
    {CODE_KAFKA_AUTHENTICATION, REASON_DENIED},
    {CODE_KAFKA_TLS, REASON_UNREACHABLE},
    {CODE_KAFKA_UNREACHABLE, REASON_UNREACHABLE},
    {CODE_KAFKA_NO_ACKNOWLEDGEMENT, REASON_UNREACHABLE},
    {CODE_RECORD_TOO_LARGE, REASON_TOO_LARGE},
    {CODE_EVENT_TOO_LARGE, REASON_TOO_LARGE},
    {CODE_EVENT_UNREADABLE, REASON_MALFORMED},
    {CODE_CHANGE_UNREADABLE, REASON_MALFORMED},
    {CODE_RECORD_REFUSED, REASON_REFUSED},
    {CODE_RECORD_KEY_MISSING, REASON_REFUSED},
    {CODE_RECORD_TIMESTAMP_REFUSED, REASON_TIMESTAMP},
    {CODE_EVENT_UNROUTED, REASON_UNROUTED},
    {CODE_TOPIC_COLUMN_NULL, REASON_TOPIC_INVALID},
    {CODE_TOPIC_NAME_INVALID, REASON_TOPIC_INVALID},
    {CODE_HEADERS_INVALID, REASON_HEADERS_INVALID},
    {CODE_MESSAGE_MALFORMED, REASON_MALFORMED},
    {CODE_TEXT_NOT_UTF8, REASON_MALFORMED},
};

Reason reason_of(ErrorCode code)
{
    for (size_t i = 0; i < sizeof(REASONS) / sizeof(REASONS[0]); i++) {
        if (REASONS[i].code == code) {
            return REASONS[i].reason;
        }
    }
    return REASON_OTHER;
}

const char *reason_name(Reason reason)
{
    return NAMES[reason];
}
