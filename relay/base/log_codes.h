/* log_codes: every code that a log line, an error or a dead letter can carry, with what it means
 * and what to do. `outboxd explain` prints from it, and relay/LOGS.md is made from it.
 *
 * A code is part of what users build alerts on: it is never renamed, and a new one gets its row
 * here first (tests/run lint compares with the sources). */
#pragma once

#include <stddef.h>

#include "base/error.h"
#include "base/text.h"

typedef struct LogCode {
    const char *code;
    const char *levels; /* of the log lines, "warn, error"; "command": only sub-commands say it */
    const char *meaning;
    const char *remedy; /* "" = nothing is to be done; of a line that warns, its hint */
} LogCode;

typedef struct LogCodeGroup {
    const char *title;
    const LogCode *codes;
    size_t count;
} LogCodeGroup;

/** All groups in the order of the page; static. */
const LogCodeGroup *log_code_groups(size_t *ret_count);

/** The row of a code, case ignored; NULL when there is none. Any thread. */
const LogCode *log_code_find(const char *code);

/** What to do about an error: its hint, else the remedy of its code, else "". */
const char *log_code_remedy(const Error *err);

/** Appends the page relay/LOGS.md. */
void log_codes_add_markdown(Text *out);

/* Of the files that hold the rows. */
extern const LogCodeGroup LOG_CODES_RELAY[];
extern const size_t LOG_CODES_RELAY_COUNT;
extern const LogCodeGroup LOG_CODES_POSTGRES[];
extern const size_t LOG_CODES_POSTGRES_COUNT;
#define LOG_CODE_GROUP(heading, rows)                                                              \
    {                                                                                              \
        .title = (heading), .codes = (rows), .count = sizeof(rows) / sizeof((rows)[0])             \
    }
