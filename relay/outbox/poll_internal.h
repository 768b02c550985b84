/* What the files of the polling source share; nobody else includes this. */
#pragma once

#include <assert.h>
#include <stddef.h>

#include "claim/claim.h"
#include "outbox/poll_left.h"
#include "outbox/poll_reading.h"
#include "rows/table.h"

typedef struct Poll Poll;

typedef enum PollState {
    POLL_AWAY,      /* the lock is not ours: what comes next is the claim's business */
    POLL_CLAIMING,  /* the lock is ours: is this the history we know? */
    POLL_LOCKED,    /* resume() may come */
    POLL_PREPARING, /* marker connects and marks what is left over */
    POLL_ACTIVE,
} PollState;

/* What one file tells poll.c, which decides what comes next. */
typedef enum PollNews {
    NEWS_GO_ON,        /* there may be something to read, or room for it */
    NEWS_TABLES_KNOWN, /* which table is to be read, and its lock is ours */
    NEWS_OLD_TAKEN,    /* somebody else finishes the old table */
} PollNews;

/* The server refused the last fetch, or made it wait. */
typedef struct PollRefusal {
    bool refused;
    int64_t until_us; /* ... and is not asked again before that */
    bool blocked_said;
    bool telling; /* that it is over, in the middle of a fetch that is not judged yet */
} PollRefusal;

struct Poll {
    Source *source;
    SourceOptions options;
    Claim *claim;           /* on the reader's connection */
    Marker *marker;         /* the claim's */
    HistoryMemory *history; /* likewise */
    OutboxTable *table;
    PollState state;
    bool draining;
    void (*tell)(Poll *poll, PollNews news);
    struct event *timer; /* next poll */
    PollRefusal *refusal;
    struct Session *session; /* with the lock: poll_session.h */
    struct Rotation *rotation;
    LeftTables left; /* outlives the session */
    Reading *reading;
};

/* What the pipeline sees. */
typedef struct PollSource {
    Source source; /* first */
    Poll *poll;
} PollSource;

static_assert(offsetof(PollSource, source) == 0, "a Source of POLL_OPS is cast to it");

/* The files call each other in this order, upwards only: each stands on those before it. Parts that
 * know nothing of the source have headers of their own. */

/* poll_state.c */
/** To whoever decides what comes next: poll.c. */
void poll_tell(Poll *poll, PollNews news);
void poll_set_timer(Poll *poll, int64_t delay_ms);
/** Reports `drained` when nothing is left to mark. */
void poll_check_drained(Poll *poll);
/** Reads the table from its beginning. */
void poll_reset_reading(Poll *poll);
/** A statement of the reader failed. True when it was refused, and will be tried again by the
 * timer: nothing is to be given up. */
bool poll_is_refused(Poll *poll, const Error *err);
/** It went through. */
void poll_accepted(Poll *poll);
/** How long the reader rests after a refusal; 0: it does not. */
int64_t poll_rests_us(const Poll *poll);
/** Somebody locks the table against readers: said once, until a fetch is complete. */
void poll_say_blocked(Poll *poll);
void poll_forget_blocked(Poll *poll);

/* poll_between.c, poll_rotation.c, poll_rotation_end.c: poll_rotation.h */
/* poll_session.c: poll_session.h */

/* poll_failure.c */
/** True when the fetch was sent: of a row that was found. */
bool fetch_send_lean(Poll *poll);
/** A statement of a fetch failed: is it waited for, or the end of the connections? */
void fetch_on_failure(Poll *poll, const Error *err);

/* poll_fetch.c */
/** Reads when there is something to read and room for it; else arms the timer. */
void fetch_next(Poll *poll);
/** Somebody saw a row unpublished and the source does not know it: the next fetch looks at every
 * number, so that it finds the row and keeps the order of its key. */
void fetch_widen(Poll *poll);
