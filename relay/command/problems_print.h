/* problems_print: what a command complains about, a line each, with remedies. Nothing of it can
 * steer the terminal. */
#pragma once

#include <stdio.h>

#include "base/error.h"
#include "config/config.h"

void problems_print(const Problems *problems, FILE *out);

/** "outboxd COMMAND: message" and the remedy, to stderr. */
void error_print(const char *command, const Error *err);

/** What a command that failed for it ends with; never EXIT_OK, whatever it holds. */
ExitCode error_exit_code(const Error *err);
