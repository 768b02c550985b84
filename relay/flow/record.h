/* record: what goes to Kafka. All bytes are borrowed: from the event, its batch's arena, or
 * constants; they must outlive the delivery report, because the producer does not copy key and
 * value. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "flow/topic.h"

enum { RECORD_HEADERS_MAX = 256 };

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

/** An upper bound of the bytes this record takes alone in a record batch of message format 2
 * (uncompressed; Kafka protocol guide, "Record Batch"). */
size_t record_wire_bytes(const Record *record);
