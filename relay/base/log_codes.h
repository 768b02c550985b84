/* log_codes: the registry of codes: what each means, what to do about it, and what it does to the
 * program. `outboxd explain` and hints come from it, and relay/LOGS.md is made from it.
 *
 * A new code gets its row in error_codes_*.inc:
 *
 *   CODE(NAME, class, exit code, levels, meaning, remedy)
 *
 * class ERROR_NONE: no error has it, or the case decides (error_set_as). */
#pragma once

#include <stddef.h>

#include "base/error.h"
#include "base/text.h"

typedef struct LogCode {
    const char *name;
    ErrorClass class;
    ExitCode exit_code;
    const char *levels; /* of the log lines, "warn, error"; "command": only sub-commands say it */
    const char *meaning;
    const char *remedy; /* "" = nothing is to be done; of a line that warns, its hint */
} LogCode;

typedef struct LogCodeGroup {
    const char *title;
    const LogCode *codes;
    size_t count;
} LogCodeGroup;

/** All groups in the order of the page; static. One thread. */
const LogCodeGroup *log_code_groups(size_t *ret_count);

/** The row of a code; CODE_NONE has one of empty texts. Any thread. */
const LogCode *log_code_of(ErrorCode code);

/** Appends the page relay/LOGS.md. */
void log_codes_add_markdown(Text *out);
