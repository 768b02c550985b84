#include "token/token_pause.h"

#include <stdlib.h>

#include "base/backoff.h"
#include "base/memory.h"

/* A back-off is between half and all of these. */
enum { BACKOFF_MIN_MS = 2000, BACKOFF_MAX_MS = 60000, BETWEEN_MS = 1000 };

struct TokenPause {
    int64_t until_us; /* monotonic */
    unsigned attempt;
    unsigned refusals; /* since a server took one */
    Error error;       /* of the last run, or that its result was refused */
};

TokenPause *token_pause_new(void)
{
    return x_calloc(1, sizeof(TokenPause));
}

void token_pause_free(TokenPause **pause)
{
    if (*pause != NULL) {
        error_clear(&(*pause)->error);
        free(*pause);
        *pause = NULL;
    }
}

bool token_pause_is_over(const TokenPause *pause, int64_t now_us)
{
    return now_us >= pause->until_us;
}

const Error *token_pause_error(const TokenPause *pause)
{
    return &pause->error;
}

int64_t token_pause_failed(TokenPause *pause, const Error *err, int64_t now_us)
{
    error_copy(&pause->error, err);
    int64_t wait_ms = backoff_next_ms(&pause->attempt, BACKOFF_MIN_MS, BACKOFF_MAX_MS);
    pause->until_us = now_us + wait_ms * 1000;
    return wait_ms;
}

void token_pause_brought(TokenPause *pause, int64_t begun_us)
{
    pause->until_us = begun_us + (int64_t)BETWEEN_MS * 1000;
    if (pause->refusals == 0) {
        pause->attempt = 0;
    }
    error_clear(&pause->error);
}

void token_pause_refused(TokenPause *pause, const Error *err, int64_t now_us)
{
    error_copy(&pause->error, err);
    if (pause->refusals++ > 0 || !token_pause_is_over(pause, now_us)) {
        (void)token_pause_failed(pause, err, now_us);
    }
}

void token_pause_accepted(TokenPause *pause)
{
    pause->refusals = 0;
    pause->attempt = 0;
}
