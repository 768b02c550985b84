/* backoff: pauses between attempts at what may heal by itself. */
#pragma once

#include <stdint.h>

/** The next pause: min_ms, doubled for each attempt before, at most max_ms; of that between half
 * and all, by chance, so that those who failed together do not come together. *attempt counts up.
 */
int64_t backoff_next_ms(unsigned *attempt, int64_t min_ms, int64_t max_ms);
