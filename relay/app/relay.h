/* relay: the running program: loop, signals, worker, pipelines, monitor, and when to end. */
#pragma once

#include "base/error.h"
#include "config/config.h"

/** Runs until a signal or until no pipeline runs any more; returns the exit code of the program. */
ExitCode relay_run(const Config *config);
