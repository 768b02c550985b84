#include "outbox/poll_name.h"

#include <string.h>

#include "base/clock.h"

enum { LOOK_MS = 1000 };

void name_want(NameWatch *watch, const Error *err)
{
    watch->wanted = true;
    if (err != NULL) {
        error_copy(&watch->refused, err);
    }
}

bool name_is_due(NameWatch *watch, bool always)
{
    int64_t now_us = clock_monotonic_us();
    if (!watch->wanted && (!always || now_us < watch->look_us)) {
        return false;
    }
    watch->anyway = !watch->wanted;
    watch->wanted = false;
    watch->look_us = now_us + LOOK_MS * INT64_C(1000);
    return true;
}

void name_found(NameWatch *watch, bool as_known)
{
    watch->anyway = watch->anyway && as_known;
}

bool name_was_idle(const NameWatch *watch)
{
    return watch->anyway;
}

void name_passed(NameWatch *watch)
{
    error_clear(&watch->refused);
}

Error name_take_refused(NameWatch *watch)
{
    Error refused = error_of(&watch->refused);
    error_clear(&watch->refused);
    return refused;
}

void name_release(NameWatch *watch)
{
    error_clear(&watch->refused);
    memset(watch, 0, sizeof(*watch));
}
