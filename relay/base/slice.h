/* slice: a borrowed run of bytes. Owns nothing; valid as long as the bytes it points at.
 *
 * Three states that PostgreSQL and Kafka tell apart: data == NULL is SQL NULL or "no value", length
 * 0 with data != NULL is the empty string, anything else is a value. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

typedef struct Slice {
    const char *data;
    size_t length; /* bytes */
} Slice;

#define SLICE_NULL          ((Slice){.data = NULL, .length = 0})
#define SLICE_LITERAL(text) ((Slice){.data = "" text, .length = sizeof(text) - 1})
/* For printf's "%.*s". */
#define SLICE_ARG(slice) (int)(slice).length, ((slice).data ? (slice).data : "")

/** The bytes of a NUL-terminated string, or the null slice for NULL. */
static inline Slice slice_of(const char *text)
{
    return (Slice){.data = text, .length = text ? strlen(text) : 0};
}

static inline bool slice_is_null(Slice slice)
{
    return slice.data == NULL;
}

/** True when both are null or both hold the same bytes. */
static inline bool slice_equal(Slice a, Slice b)
{
    if (a.data == NULL || b.data == NULL) {
        return a.data == b.data;
    }
    return a.length == b.length && (a.length == 0 || memcmp(a.data, b.data, a.length) == 0);
}
