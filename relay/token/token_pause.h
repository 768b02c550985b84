/* token_pause: when the program may run again, and why no sooner. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

typedef struct TokenPause TokenPause;

TokenPause *token_pause_new(void);
void token_pause_free(TokenPause **pause);

/** Whether a run may begin. */
bool token_pause_is_over(const TokenPause *pause, int64_t now_us);
/** Why there is no secret; class ERROR_NONE: no run has failed. Borrowed. */
const Error *token_pause_error(const TokenPause *pause);

/** A run has failed; how long it lasts from now on, in ms. */
int64_t token_pause_failed(TokenPause *pause, const Error *err, int64_t now_us);
/** A run that began then has brought a secret. */
void token_pause_brought(TokenPause *pause, int64_t begun_us);
/** A server refuses what the last run brought: the first one that is refused is replaced at once.
 */
void token_pause_refused(TokenPause *pause, const Error *err, int64_t now_us);
/** A server has taken it. */
void token_pause_accepted(TokenPause *pause);
