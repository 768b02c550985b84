/* units: durations and sizes as users write them. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/text.h"

/** Reads "250ms", "5s", "10min" (or "10m"), "1h", "7d" into milliseconds, at least 0. On failure
 * returns false and puts the reason, a static text, into *ret_reason. */
bool units_parse_duration(const char *text, int64_t *ret_ms, const char **ret_reason);

/** Reads "512B", "64kB", "1MB" (powers of 1000), "64KiB", "4MiB", "1GiB" (powers of 1024) into
 * bytes. Fails as units_parse_duration does. */
bool units_parse_size(const char *text, int64_t *ret_bytes, const char **ret_reason);

/** Appends the shortest exact form: 90000 gives "90s", 60000 "1min". Negative: "forever". */
void units_add_duration(Text *text, int64_t ms);

/** Appends the shortest exact form: 4194304 gives "4MiB". */
void units_add_size(Text *text, int64_t bytes);
