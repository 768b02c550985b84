#include "rows/repeats.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"

void repeats_judge(Repeats *repeats, const char *place, Error *err)
{
    if (err->code != CODE_PG_PROTOCOL && err->code != CODE_POSTGRES_ANSWER) {
        return;
    }
    char here[REPEATS_PLACE_MAX];
    snprintf(here, sizeof(here), "%s", place);
    int64_t now_us = clock_monotonic_us();
    bool same = repeats->count > 0 && strcmp(repeats->place, here) == 0 &&
                now_us - repeats->last_us < REPEATS_FORGET_SECONDS * INT64_C(1000000);
    memcpy(repeats->place, here, sizeof(here));
    repeats->last_us = now_us;
    repeats->count = same ? repeats->count + 1 : 1;
    if (repeats->count < REPEATS_MAX) {
        return;
    }
    err->class = ERROR_FATAL;
    error_hint(err,
               "This happened %d times at the same position (%.160s). Look for something between "
               "outboxd and PostgreSQL that alters the data, and for messages in the server's log. "
               "No event was skipped. Start again when this is fixed.",
               REPEATS_MAX, here);
}
