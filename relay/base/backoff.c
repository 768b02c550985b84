#include "base/backoff.h"

#include <stdlib.h>

int64_t backoff_next_ms(unsigned *attempt, int64_t min_ms, int64_t max_ms)
{
    int64_t delay = min_ms;
    for (unsigned i = 0; i < *attempt && delay < max_ms; i++) {
        delay *= 2;
    }
    ++*attempt;
    delay = delay > max_ms ? max_ms : delay;
    int64_t half = delay / 2;
    return half + (int64_t)((double)random() / (double)RAND_MAX * (double)(delay - half));
}
