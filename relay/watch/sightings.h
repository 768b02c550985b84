/* sightings: what looks at one outbox table showed: its unpublished rows, since when each has been
 * waiting, and which of them the source knows nothing of. Pure bookkeeping: knows no connection.
 *
 * Since when. A row cannot have been there before a look that would have shown it and did not: that
 * look bounds its age, however old its own time says it is. Else its own time counts, by the
 * server's clock; where that is missing, infinite or in the future, the proof above, or the look
 * that saw it first. What was found for a row stays as long as it is seen.
 *
 * What would have been shown. A look lists the SIGHTINGS_OLDEST lowest numbers; when it lists all,
 * it is complete and every row that is not in it was not there. Else only rows above the highest
 * number of the table were not there.
 *
 * All times are monotonic microseconds unless they say "wall". */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "flow/source.h"

enum {
    SIGHTINGS_OLDEST = 100,  /* rows of each look, from the lowest number on */
    SIGHTINGS_PAGE = 100,    /* and as many of the rest, by turns */
    SIGHTINGS_UNKNOWN = 200, /* and those that nobody knows, by number */
    SIGHTINGS_MAX = SIGHTINGS_OLDEST + SIGHTINGS_PAGE + SIGHTINGS_UNKNOWN,
    SIGHTINGS_ID_MAX = 1000, /* bytes; rows with longer event ids are not judged */
};

#define SIGHTINGS_NO_AGE INT64_MIN

typedef struct Sighting {
    int64_t seq;
    char *event_id; /* NULL: NULL, or too long */
    bool id_too_long;
    char *event_type;
    char *aggregate_id;
    int64_t occurred_at_us; /* wall; EVENT_NO_TIME */
    int64_t since_us;       /* it waits since then */
    int64_t first_us;       /* sent time of the look that saw it first; 0: none did yet ... */
    uint64_t first_lsn;     /* ... and the server's insert position in it */
    bool oldest;            /* it was among the lowest numbers */
    bool stands;            /* an earlier look saw it, too */
    bool published;         /* and by now we know that it is */
    bool checked;           /* the source was asked whether it is, since the last look */
    int64_t unknown_us;     /* since then nobody knows it; 0: not so */
    int64_t asked_us;       /* look_again() was called; 0: it was not */
    bool unseen;            /* for so long that it was reported */
    bool said;              /* in a line of its own */
} Sighting;

/* The facts of one look. */
typedef struct Look {
    int64_t sent_us;
    int64_t server_us; /* wall: the server's clock in that statement */
    uint64_t insert_lsn;
    int64_t top; /* highest number in the table, published or not; INT64_MIN: none */
    bool complete;
} Look;

typedef struct Sightings {
    Sighting *rows; /* by number */
    size_t count;
    Look look; /* the last; sent_us 0: there was none */
    Look before;
    int64_t complete_us; /* sent time of the last complete look; 0: there was none */
    int64_t page_after;  /* the page has higher numbers; INT64_MIN: no page yet */
    bool page_seen;      /* the page was looked at once: it is looked at twice */
    int64_t low;         /* settled events outside of low..high concern no row here */
    int64_t high;
    struct Reading *reading; /* the look that is being read; NULL: nothing of it came yet */
    size_t gone;             /* unseen rows that the last look did not show any more */
} Sightings;

void sightings_init(Sightings *sightings);
void sightings_free(Sightings *sightings);

/* A row as a look shows it. Texts are copied. */
typedef struct SightedRow {
    int64_t seq;
    const char *event_id; /* NULL: NULL */
    bool id_too_long;
    const char *event_type;
    const char *aggregate_id;
    int64_t occurred_at_us; /* wall; EVENT_NO_TIME */
    int64_t age_us;         /* of occurred_at by the server's clock; SIGHTINGS_NO_AGE: none */
    char part; /* 'o' of the lowest numbers, 'p' of the page, 'u' asked for by number */
} SightedRow;

/** Adds a row of the look that is being read, in the order of numbers. */
void sightings_add(Sightings *sightings, const SightedRow *row);
/** All rows were added: they replace those of the look before. */
void sightings_end(Sightings *sightings, const Look *look);

/** An event is settled: if its row is here, it does not wait any more. */
void sightings_settled(Sightings *sightings, int64_t seq, Slice event_id);

/** An event left memory unpublished, to wait in its row since then: it counts until a look tells of
 * the rows, unless one that waits longer is here. `part` and `age_us` mean nothing. */
void sightings_waits(Sightings *sightings, const SightedRow *row, int64_t since_us);

/** Since when an event that is in memory since arrived_us has been waiting; it never waits less
 * than it is in memory. */
int64_t sightings_since(const Sightings *sightings, int64_t seq, Slice event_id,
                        int64_t occurred_at_us, int64_t arrived_us);

/** The row that waits longest, or NULL. quiet: also rows that no look before the last saw, because
 * nothing was published after it was sent. */
Sighting *sightings_oldest(const Sightings *sightings, bool quiet);

/* How the rows are judged. */
typedef struct Judge {
    void *arg;
    SourceSight (*sight)(void *arg, const Sighting *row);
    void (*look_again)(void *arg, int64_t seq); /* NULL: the source cannot */
    int64_t ask_after_us;                       /* unknown for so long: look_again */
    int64_t unseen_after_us;                    /* and for so long: it is unseen */
} Judge;

typedef struct Judgement {
    size_t unjudged; /* the look before did not show them */
    size_t behind;
    size_t unknown;
    int64_t first_unknown; /* when unknown > 0 */
    size_t unseen;         /* reported, this time or before */
    size_t asked;          /* look_again() was called for so many, for the first time */
    size_t found;          /* became unseen now */
    size_t over;           /* had been unseen, and are known, published or gone */
} Judgement;

/** After sightings_end(): asks about each row that stands. judge NULL: nobody can tell now; what
 * was unseen stays so, and what was unknown counts anew. */
void sightings_judge(Sightings *sightings, const Judge *judge, int64_t now_us,
                     Judgement *ret_judgement);

/** Another relay publishes: what ours does not know is none of its business. */
void sightings_excuse(Sightings *sightings);

/** True when some row is unknown: look again soon. */
bool sightings_doubt(const Sightings *sightings);
