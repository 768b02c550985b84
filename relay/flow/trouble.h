/* trouble: what keeps a pipeline from publishing now, and what was said about it.
 *
 * A fact is logged once, and once a minute as long as it lasts; two that alternate are facts of one
 * trouble; troubles that come and go are summed up. What stops the pipeline stays its reason. Loop
 * thread only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"

typedef struct Trouble {
    const char *name; /* of the pipeline */
    Error error;      /* class ERROR_NONE: nothing is wrong */
    Moment since;
    int64_t repeated;
    bool from_sink;
    bool said;         /* the present error, or an earlier one of this trouble, was logged */
    int64_t logged_us; /* monotonic */
    ErrorCode last;    /* of the one before the present, if any */
    unsigned attempt;  /* of the back-off; 0 once something went well */
    struct TroubleLog *log;
} Trouble;

Trouble *trouble_new(const char *name);
void trouble_free(Trouble **trouble);

static inline bool trouble_is_on(const Trouble *trouble)
{
    return trouble->error.class != ERROR_NONE;
}

/** Notes what is wrong and logs it, once for each new fact. explained: the reason was said already.
 */
void trouble_note(Trouble *trouble, const Error *err, bool from_sink, bool explained);

/** Nothing is wrong any more, which is logged if anybody was told that something was. */
void trouble_over(Trouble *trouble);

/** Says once a minute that it lasts. */
void trouble_remind(Trouble *trouble);

/** Logs how many lines were held back, when it is time to (or at_once). */
void trouble_sum_up(Trouble *trouble, int64_t now_us, bool at_once);
