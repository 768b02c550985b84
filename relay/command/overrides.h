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

/** Loads the configuration for a command; errors go to stderr, and warnings when they are wanted.
 * FAILED: exit code 1. */
Status overrides_load(const ConfigOverrides *overrides, bool warnings, Config **ret_config);
