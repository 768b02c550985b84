#include "base/log_limit.h"

bool log_limit_take(LogLimit *limit, int64_t now_us)
{
    bool quiet = now_us - limit->last_us >= LOG_LIMIT_QUIET_SECONDS * INT64_C(1000000);
    if (quiet && limit->held == 0) {
        limit->lines = 0;
    }
    limit->last_us = now_us;
    if (limit->lines < LOG_LIMIT_LINES) {
        limit->lines++;
        return true;
    }
    if (limit->held++ == 0) {
        limit->held_since_us = now_us;
    }
    return false;
}

int64_t log_limit_due(LogLimit *limit, int64_t now_us, bool at_once)
{
    int64_t waited_us = now_us - limit->held_since_us;
    if (limit->held == 0 ||
        (!at_once && waited_us < LOG_LIMIT_SUMMARY_SECONDS * INT64_C(1000000))) {
        return 0;
    }
    int64_t held = limit->held;
    limit->held = 0;
    return held;
}
