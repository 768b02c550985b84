#include "sink/kafka/kafka_record.h"

enum {
    /* Batch header: base offset 8, length 4, leader epoch 4, magic 1, crc 4, attributes 2, last
     * offset delta 4, two timestamps 16, producer id 8, epoch 2, base sequence 4, count 4. */
    BATCH_HEADER_BYTES = 61,
    /* Length varint 5, attributes 1, timestamp delta 1 and offset delta 1 (both 0 when alone),
     * header count varint 2. */
    RECORD_OVERHEAD_BYTES = 10,
};

static size_t varint_bytes(size_t value)
{
    size_t zigzag = value << 1;
    size_t bytes = 1;
    while (zigzag >= 0x80) {
        zigzag >>= 7;
        bytes++;
    }
    return bytes;
}

static size_t slice_wire_bytes(Slice slice)
{
    return varint_bytes(slice.length) + slice.length;
}

size_t kafka_record_bytes(const Record *record)
{
    size_t bytes = BATCH_HEADER_BYTES + RECORD_OVERHEAD_BYTES + slice_wire_bytes(record->key) +
                   slice_wire_bytes(record->value);
    for (size_t i = 0; i < record->header_count; i++) {
        bytes +=
            slice_wire_bytes(record->headers[i].name) + slice_wire_bytes(record->headers[i].value);
    }
    return bytes;
}
