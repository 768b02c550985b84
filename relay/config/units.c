#include "config/units.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

typedef struct Unit {
    const char *name;
    int64_t factor;
    bool written; /* used when we write; others are only read */
} Unit;

/* Largest first: writing takes the first that divides. */
static const Unit DURATIONS[] = {
    {"d", 86400000, true}, {"h", 3600000, true}, {"min", 60000, true},
    {"m", 60000, false},   {"s", 1000, true},    {"ms", 1, true},
};
static const Unit SIZES[] = {
    {"TiB", INT64_C(1) << 40, true}, {"TB", INT64_C(1000000000000), false},
    {"GiB", INT64_C(1) << 30, true}, {"GB", INT64_C(1000000000), true},
    {"MiB", INT64_C(1) << 20, true}, {"MB", INT64_C(1000000), true},
    {"KiB", INT64_C(1) << 10, true}, {"kB", INT64_C(1000), true},
    {"KB", INT64_C(1000), false},    {"B", 1, true},
};
enum {
    DURATION_COUNT = sizeof(DURATIONS) / sizeof(DURATIONS[0]),
    SIZE_COUNT = sizeof(SIZES) / sizeof(SIZES[0]),
};

static const char NO_NUMBER[] = "it does not start with a whole number";
static const char NO_UNIT[] = "it has no unit";
static const char TOO_LARGE[] = "it is too large";

static bool units_parse(const char *text, const Unit *units, size_t count, int64_t *ret_value,
                        const char **ret_reason)
{
    int64_t number = 0;
    const char *c = text;
    for (; *c >= '0' && *c <= '9'; c++) {
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, *c - '0', &number)) {
            *ret_reason = TOO_LARGE;
            return false;
        }
    }
    if (c == text) {
        *ret_reason = NO_NUMBER;
        return false;
    }
    while (*c == ' ') {
        c++;
    }
    if (*c == '\0') {
        *ret_reason = NO_UNIT;
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (strcmp(c, units[i].name) == 0) {
            if (__builtin_mul_overflow(number, units[i].factor, &number)) {
                *ret_reason = TOO_LARGE;
                return false;
            }
            *ret_value = number;
            return true;
        }
    }
    *ret_reason = NULL;
    return false;
}

bool units_parse_duration(const char *text, int64_t *ret_ms, const char **ret_reason)
{
    bool parsed = units_parse(text, DURATIONS, DURATION_COUNT, ret_ms, ret_reason);
    if (!parsed && *ret_reason == NULL) {
        *ret_reason = "its unit is not one of ms, s, min, h, d";
    }
    return parsed;
}

bool units_parse_size(const char *text, int64_t *ret_bytes, const char **ret_reason)
{
    bool parsed = units_parse(text, SIZES, SIZE_COUNT, ret_bytes, ret_reason);
    if (!parsed && *ret_reason == NULL) {
        *ret_reason = "its unit is not one of B, kB, KiB, MB, MiB, GB, GiB";
    }
    return parsed;
}

static void units_add(Text *text, int64_t value, const Unit *units, size_t count)
{
    const Unit *unit = &units[count - 1];
    for (size_t i = 0; i < count && value > 0; i++) {
        if (units[i].written && value % units[i].factor == 0) {
            unit = &units[i];
            break;
        }
    }
    text_printf(text, "%" PRId64 "%s", value / unit->factor, unit->name);
}

void units_add_duration(Text *text, int64_t ms)
{
    if (ms < 0) {
        text_add(text, "forever");
        return;
    }
    units_add(text, ms, DURATIONS, DURATION_COUNT);
}

void units_add_size(Text *text, int64_t bytes)
{
    units_add(text, bytes, SIZES, SIZE_COUNT);
}
