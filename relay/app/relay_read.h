/* relay_read: the configuration of a relay that runs, read again. */
#pragma once

#include "config/config.h"

/** Reads it as at the start, and looks at it as `outboxd check --offline` does. NULL: *problems has
 * at least one error. */
Config *relay_read(const ConfigOverrides *overrides, Problems *problems);
