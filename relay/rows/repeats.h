/* repeats: answers that are none (PG_PROTOCOL, POSTGRES_ANSWER). One is a loss of the connection
 * like any other; what comes back at the same place again and again does not heal by itself. One
 * for each source; loop thread. */
#pragma once

#include <stdint.h>

#include "base/error.h"

enum {
    REPEATS_MAX = 3,
    REPEATS_PLACE_MAX = 240,
    REPEATS_FORGET_SECONDS = 3600, /* one an hour is no repetition */
};

typedef struct Repeats {
    char place[REPEATS_PLACE_MAX];
    int64_t last_us;
    unsigned count; /* in a row at this place */
} Repeats;

/** An error that takes a source's connections, and the place where it came: a text that differs
 * once the source has got on. Makes it FATAL when it came REPEATS_MAX times there. */
void repeats_judge(Repeats *repeats, const char *place, Error *err);
