/* eight: eight bytes of a string at a time, for what is looked through for each event. */
#pragma once

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define EIGHT_ONES UINT64_C(0x0101010101010101)
#define EIGHT_HIGH UINT64_C(0x8080808080808080)

/** The bytes as a number, of which the first is the lowest, whatever the machine. */
static inline uint64_t eight_read(const char *bytes)
{
    uint64_t eight;
    memcpy(&eight, bytes, sizeof(eight));
    return le64toh(eight);
}

/** The highest bit of each byte that does not stand for itself in a JSON string: controls, quotes,
 * backslashes, and what is not ASCII. Where one is found, a carry may tell of bytes behind it, too:
 * the first is true. */
static inline uint64_t eight_odd(uint64_t eight)
{
    uint64_t quote = (eight ^ (EIGHT_ONES * '"')) - EIGHT_ONES;
    uint64_t backslash = (eight ^ (EIGHT_ONES * '\\')) - EIGHT_ONES;
    return (eight | (eight - EIGHT_ONES * ' ') | quote | backslash) & EIGHT_HIGH;
}

/** The place of the first of them, 0 to 7; 8: there is none. */
static inline size_t eight_first(uint64_t odd)
{
    return odd == 0 ? 8 : (size_t)__builtin_ctzll(odd) / 8;
}
