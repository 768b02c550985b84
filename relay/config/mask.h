/* mask: hides secrets in what is shown. What cannot be understood is hidden rather than shown. */
#pragma once

#include <stdbool.h>

#include "base/slice.h"
#include "config/config.h"

/* What stands in the place of a secret. */
#define MASK "***"

/** False for keys of libpq and librdkafka whose value is known to be no secret; true for all
 * others, be they known secrets, misspelt, or newer than the list in mask_shown.c. */
bool mask_is_secret(Slice key);

/** A connection string, key=value or URI, with its secrets masked; the caller frees it. */
char *mask_dsn(const char *dsn);

/** "key=value" of kafka.properties with a secret value masked; the caller frees it. */
char *mask_property(const char *property);
