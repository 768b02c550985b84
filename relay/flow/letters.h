/* letters: where events are set aside that cannot be published: their dead letters. One for each
 * pipeline; all calls on the loop thread.
 *
 * It is a sink for single events, each with the reason, and keeps of a sink's promises
 * (flow/sink.h) what the guarantees need:
 *
 *  1. `settled` without an error says that the letter is as safe as the place makes anything:
 *     committed, or on all replicas. The pipeline gives the event back as settled only then, so no
 *     row is marked whose letter is not stored. The table of letters that lies beside the rows is
 *     written on the connection that marks them, ahead of every mark.
 *  2. Each event that take() got settles exactly once, or is given up. Those of a place that goes
 *     with the source (`of_source`) are given up when the source reports `lost`: none of them
 *     settles any more. An unknown outcome does not settle: the row is read again, and its event
 * may become a second letter.
 *  3. Letters are stored in the order of take().
 *  4. One that settles with an error is the pipeline's again: its topic waits, and it is taken
 * again later, for as long as it needs. It stands in nobody else's way.
 *  5. A trouble of the place, and not of a letter (a lost connection, somebody's lock), settles
 *     nothing: it is waited for.
 *
 * Event and record are borrowed until it settles; the reason is copied. What is told of a letter
 * (counters, log lines, held topics) is the pipeline's, whatever the place. */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "flow/event.h"
#include "flow/record.h"

typedef struct Letters Letters;

/* Called on the loop thread, never from inside take(). */
typedef struct LettersEvents {
    void *arg;
    /** reason: the code of what take() got. err NULL: it is stored; else *err says why it cannot
     * be. */
    void (*settled)(void *arg, Event *event, ErrorCode reason, const Error *err);
} LettersEvents;

struct Letters {
    /** Stores the event, its record as far as it could be made, and why it is set aside. */
    void (*take)(Letters *letters, Event *event, const Record *record, const Error *reason);
    /** NULL: it belongs to the source. */
    void (*free)(Letters *letters);
    LettersEvents events;
    bool of_source; /* promise 2 */
};
