/* overrides: what the command line need not say, because the command does without it. */
#pragma once

#include <stdbool.h>

#include "config/config.h"

/* Stands for brokers that nobody named. */
#define BROKERS_UNKNOWN "unknown:9092"

/** True when a configuration file is given or is at its default place. */
bool overrides_have_file(const ConfigOverrides *overrides);

/** For commands that work without brokers: with neither file nor environment to name them, fills in
 * BROKERS_UNKNOWN, so that the configuration can be loaded. */
void overrides_without_brokers(ConfigOverrides *overrides);
