/* kafka_record_bytes against an encoder of message format 2 written from the Kafka protocol guide,
 * "Record Batch", for this test alone. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "flow/record.h"
#include "sink/kafka/kafka_record.h"
#include "stub/random.h"

typedef struct Wire {
    unsigned char bytes[1 << 20];
    size_t length;
} Wire;

static void put(Wire *wire, const void *bytes, size_t length)
{
    cr_assert_leq(wire->length + length, sizeof(wire->bytes));
    if (length > 0) {
        memcpy(wire->bytes + wire->length, bytes, length);
    }
    wire->length += length;
}

static void put_zeros(Wire *wire, size_t length)
{
    cr_assert_leq(wire->length + length, sizeof(wire->bytes));
    memset(wire->bytes + wire->length, 0, length);
    wire->length += length;
}

static void put_varint(Wire *wire, int64_t value)
{
    uint64_t zigzag = ((uint64_t)value << 1) ^ (value < 0 ? UINT64_MAX : 0);
    do {
        unsigned char byte = (unsigned char)(zigzag & 0x7F);
        zigzag >>= 7;
        byte = (unsigned char)(byte | (zigzag != 0 ? 0x80 : 0));
        put(wire, &byte, 1);
    } while (zigzag != 0);
}

static void put_value(Wire *wire, Slice value)
{
    put_varint(wire, slice_is_null(value) ? -1 : (int64_t)value.length);
    put(wire, value.data, value.length);
}

/* The batch of this record alone; returns its length. */
static size_t wire_encode(Wire *wire, const Record *record)
{
    static Wire body;
    body.length = 0;
    put_zeros(&body, 1);  /* attributes */
    put_varint(&body, 0); /* timestamp delta */
    put_varint(&body, 0); /* offset delta */
    put_value(&body, record->key);
    put_value(&body, record->value);
    put_varint(&body, (int64_t)record->header_count);
    for (size_t i = 0; i < record->header_count; i++) {
        put_value(&body, record->headers[i].name);
        put_value(&body, record->headers[i].value);
    }
    wire->length = 0;
    put_zeros(wire, 8);     /* base offset */
    put_zeros(wire, 4);     /* length */
    put_zeros(wire, 4);     /* partition leader epoch */
    put_zeros(wire, 1);     /* magic */
    put_zeros(wire, 4);     /* crc */
    put_zeros(wire, 2);     /* attributes */
    put_zeros(wire, 4);     /* last offset delta */
    put_zeros(wire, 8 + 8); /* base and max timestamp */
    put_zeros(wire, 8);     /* producer id */
    put_zeros(wire, 2);     /* producer epoch */
    put_zeros(wire, 4);     /* base sequence */
    put_zeros(wire, 4);     /* records count */
    put_varint(wire, (int64_t)body.length);
    put(wire, body.bytes, body.length);
    return wire->length;
}

static char filler[300000];

static void assert_bound(const Record *record, const char *what, uint64_t number)
{
    static Wire wire;
    size_t real = wire_encode(&wire, record);
    size_t bound = kafka_record_bytes(record);
    cr_assert_geq(bound, real, "%s %lu: %zu < %zu", what, (unsigned long)number, bound, real);
    cr_assert_leq(bound, real + 8, "%s %lu: %zu is no tight bound of %zu", what,
                  (unsigned long)number, bound, real);
}

Test(record, wire_bytes_bound_an_empty_record)
{
    assert_bound(&(Record){0}, "null key and value", 0);
    Record record = {.key = SLICE_LITERAL(""), .value = SLICE_LITERAL("")};
    assert_bound(&record, "empty key and value", 0);
}

Test(record, wire_bytes_bound_every_length_where_a_varint_grows)
{
    static const size_t EDGES[] = {0, 1, 62, 63, 64, 65, 8190, 8191, 8192, 8193, 131071, 131072};
    for (size_t i = 0; i < sizeof(EDGES) / sizeof(EDGES[0]); i++) {
        Slice bytes = {.data = filler, .length = EDGES[i]};
        RecordHeader header = {.name = bytes, .value = bytes};
        assert_bound(&(Record){.key = bytes}, "key of", EDGES[i]);
        assert_bound(&(Record){.value = bytes}, "value of", EDGES[i]);
        assert_bound(&(Record){.headers = &header, .header_count = 1}, "header of", EDGES[i]);
    }
}

Test(record, wire_bytes_bound_random_records)
{
    uint64_t first = 1;
    uint64_t count = 2000;
    random_seeds(&first, &count);
    for (uint64_t seed = first; seed < first + count; seed++) {
        Random random = random_new(seed);
        RecordHeader headers[RECORD_HEADERS_MAX + 20];
        size_t header_count = random_below(&random, random_chance(&random, 10) ? 276 : 20);
        for (size_t i = 0; i < header_count; i++) {
            headers[i].name = (Slice){.data = filler, .length = random_below(&random, 70)};
            headers[i].value = random_chance(&random, 20)
                                   ? SLICE_NULL
                                   : (Slice){.data = filler, .length = random_below(&random, 200)};
        }
        Record record = {.headers = headers, .header_count = header_count};
        if (random_chance(&random, 80)) {
            record.key = (Slice){.data = filler, .length = random_below(&random, 100)};
        }
        if (random_chance(&random, 80)) {
            record.value = (Slice){.data = filler, .length = random_below(&random, 20000)};
        }
        assert_bound(&record, "seed", seed);
    }
}
