/* relay: the running program: loop, signals, worker, pipelines, monitor, reload, and when to end.
 */
#pragma once

#include "base/error.h"
#include "config/config.h"

/** Runs until a signal or until no pipeline runs any more; returns the exit code of the program.
 * Takes the configuration; SIGHUP reads it again with the same overrides, which must stay. */
ExitCode relay_run(Config *config, const ConfigOverrides *overrides);
