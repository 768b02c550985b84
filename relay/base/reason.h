/* reason: why events fail, as a small fixed set for the label of a metric: error codes are many,
 * and each would be a series. */
#pragma once

#include "base/error_code.h"

typedef enum Reason {
    REASON_TOPIC_UNKNOWN,
    REASON_DENIED,      /* no permission, or not authenticated */
    REASON_UNREACHABLE, /* no broker, no acknowledgement */
    REASON_TOO_LARGE,
    REASON_REFUSED, /* by the broker, for what the record is */
    REASON_TIMESTAMP,
    REASON_UNROUTED,
    REASON_TOPIC_INVALID,
    REASON_HEADERS_INVALID,
    REASON_MALFORMED,
    REASON_OTHER,
    REASON_COUNT
} Reason;

/** Of an error code, such as CODE_RECORD_TOO_LARGE; REASON_OTHER when it is not of the set. */
Reason reason_of(ErrorCode code);

/** The label, such as "too_large". */
const char *reason_name(Reason reason);
