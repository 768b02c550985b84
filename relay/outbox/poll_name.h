/* When the name of the table that is read is looked at: as soon as something hints that another
 * table has it, and each second while that is so. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

typedef struct NameWatch {
    bool wanted; /* something hints at that: look, as soon as the reader is free */
    bool anyway; /* the look that runs: nothing hints that anything changed */
    int64_t look_us;
    Error refused; /* why the look is wanted; class ERROR_NONE: by the OID */
} NameWatch;

/** err: what was refused; NULL: nothing was. */
void name_want(NameWatch *watch, const Error *err);
/** True when a look is sent now. always: not only where something hints at a change. */
bool name_is_due(NameWatch *watch, bool always);
/** What the look found is what was known, or not. */
void name_found(NameWatch *watch, bool as_known);
/** Nothing hinted at a change, and there was none. */
bool name_was_idle(const NameWatch *watch);
/** The look passed: what was refused is of no interest. */
void name_passed(NameWatch *watch);
/** What was refused, which the caller clears. */
Error name_take_refused(NameWatch *watch) __attribute__((warn_unused_result));
void name_release(NameWatch *watch);
