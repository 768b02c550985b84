/* broken: a precondition that does not hold any more, and statements that the server refuses.
 *
 * Neither ends a pipeline at once: an administrator may mend it. Loop thread only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"

typedef struct Broken {
    const char *name; /* of the pipeline */
    Error error;      /* the precondition; class ERROR_NONE: all hold */
    Moment since;
    int64_t repeated;
    int64_t said_us;   /* monotonic */
    bool refused;      /* the server refused the source's last statement */
    unsigned refusals; /* in a row, without a known reason */
} Broken;

Broken *broken_new(const char *name);
void broken_free(Broken **broken);

static inline bool broken_is_on(const Broken *broken)
{
    return broken->error.class != ERROR_NONE;
}

/** A precondition does not hold. True, and logged, when that is news. */
bool broken_note(Broken *broken, const Error *err);

/** All hold. True, and logged, when one did not. */
bool broken_mend(Broken *broken);

/** Says once a minute what is broken still. */
void broken_remind(Broken *broken);

/** The server refused a statement. True when it did so too often without a known reason: a human
 * must act. */
bool broken_refuse(Broken *broken, const Error *err);

/** A statement went through. True when the last one did not. */
bool broken_accept(Broken *broken);
