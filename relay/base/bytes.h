/* bytes: reads big-endian numbers and runs of bytes from a buffer that somebody else filled.
 *
 * Sticky error: the first read beyond the end sets `failed`, and every later read fails, too, so a
 * parser reads a whole message and looks once. What a failed read returns (0, the null slice) is
 * never to be used. */
#pragma once

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/slice.h"

typedef struct ByteReader {
    const unsigned char *at;
    const unsigned char *end;
    bool failed;
} ByteReader;

static inline ByteReader bytes_reader(const char *data, size_t length)
{
    const unsigned char *at = (const unsigned char *)data;
    return (ByteReader){.at = at, .end = at + length};
}

static inline size_t bytes_left(const ByteReader *reader)
{
    return (size_t)(reader->end - reader->at);
}

/** True when everything was read and nothing was missing. */
static inline bool bytes_complete(const ByteReader *reader)
{
    return !reader->failed && reader->at == reader->end;
}

/** An unsigned big-endian number of so many bytes (1 to 8). */
static inline uint64_t bytes_number(ByteReader *reader, size_t bytes)
{
    if (reader->failed || reader->at == NULL || bytes_left(reader) < bytes) {
        reader->failed = true;
        return 0;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++) {
        value = value << 8 | *reader->at++;
    }
    return value;
}

static inline uint8_t bytes_u8(ByteReader *reader)
{
    return (uint8_t)bytes_number(reader, 1);
}

/* The sizes that wire formats are made of: one load and one swap each. */
static inline uint16_t bytes_load_u16(const unsigned char *at)
{
    uint16_t value;
    memcpy(&value, at, sizeof(value));
    return be16toh(value);
}

static inline uint32_t bytes_load_u32(const unsigned char *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof(value));
    return be32toh(value);
}

static inline uint64_t bytes_load_u64(const unsigned char *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof(value));
    return be64toh(value);
}

/* Where the next so many bytes are, behind which the reader then stands; NULL when they are not
 * there. */
static inline const unsigned char *bytes_take(ByteReader *reader, size_t length)
{
    if (reader->failed || bytes_left(reader) < length) {
        reader->failed = true;
        return NULL;
    }
    const unsigned char *at = reader->at;
    reader->at += length;
    return at;
}

static inline uint16_t bytes_u16(ByteReader *reader)
{
    const unsigned char *at = bytes_take(reader, 2);
    return at != NULL ? bytes_load_u16(at) : 0;
}

static inline uint32_t bytes_u32(ByteReader *reader)
{
    const unsigned char *at = bytes_take(reader, 4);
    return at != NULL ? bytes_load_u32(at) : 0;
}

static inline int32_t bytes_i32(ByteReader *reader)
{
    return (int32_t)bytes_u32(reader);
}

static inline uint64_t bytes_u64(ByteReader *reader)
{
    const unsigned char *at = bytes_take(reader, 8);
    return at != NULL ? bytes_load_u64(at) : 0;
}

static inline int64_t bytes_i64(ByteReader *reader)
{
    return (int64_t)bytes_u64(reader);
}

/** The next so many bytes; they stay where they are. */
static inline Slice bytes_slice(ByteReader *reader, size_t length)
{
    const unsigned char *at = bytes_take(reader, length);
    return at != NULL ? (Slice){.data = (const char *)at, .length = length} : SLICE_NULL;
}

/** A NUL-terminated string without its NUL. */
static inline Slice bytes_string(ByteReader *reader)
{
    const void *end = reader->failed ? NULL : memchr(reader->at, 0, bytes_left(reader));
    if (end == NULL) {
        reader->failed = true;
        return SLICE_NULL;
    }
    Slice string = {.data = (const char *)reader->at,
                    .length = (size_t)((const unsigned char *)end - reader->at)};
    reader->at = (const unsigned char *)end + 1;
    return string;
}
