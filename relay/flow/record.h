/* record: what goes to the sink. All bytes are borrowed: from the event, its batch's arena, or
 * constants; they must outlive the sink's report, because it need not copy key and value. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "flow/topic.h"

enum { RECORD_HEADERS_MAX = 256 }; /* of a row: a bound of ours, no sink's */

typedef struct RecordHeader {
    Slice name;
    Slice value; /* null slice: a header with a null value */
} RecordHeader;

typedef struct Record {
    Topic *topic;
    Slice key;   /* null: no key */
    Slice value; /* null: tombstone */
    const RecordHeader *headers;
    size_t header_count;
    unsigned shadowed;    /* headers that were left out, because the envelope has their names */
    int64_t timestamp_ms; /* since 1970; 0: the time of publishing */
} Record;
