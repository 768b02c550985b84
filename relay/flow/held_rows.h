/* held_rows: the rows that hold their topic because they cannot be published as they are (HeldRow
 * in flow/parking.h): which of them are looked at, when one is tried again, and when it is over.
 *
 * A row is mended or removed by somebody, and nobody tells. So the source looks at such rows every
 * two seconds, and at ever longer intervals one is tried whatever its looks say. To try is to let
 * everything that waits come again, with nothing held; a row that is still bad is refused again,
 * before anything behind it was sent. It may come late: the reread takes as long as it takes. Until
 * it comes the hold stands, unless the server says that there is no such row.
 *
 * Nothing is sent, read or settled here: each function answers what is to come again (Again), and
 * its caller sees to that. Loop thread only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "flow/parking.h"
#include "flow/source.h"
#include "flow/window.h"

/* What is to come again, as nothing is in its way any more: a set. */
typedef enum Again {
    AGAIN_NOTHING = 0,
    AGAIN_FROM_MEMORY = 1, /* what waits in open batches */
    AGAIN_FROM_ROWS = 2,   /* what is parked: the source reads from the beginning */
} Again;

typedef struct HeldRows {
    Parking *parking;
    const Window *window;
    Source *source;
    int64_t look_us;  /* monotonic: not before */
    size_t look_from; /* so many of those that are looked at had their turn */
} HeldRows;

/** There is such a row. The others are of use only then. */
static inline bool held_rows_are(const HeldRows *rows)
{
    return rows->parking->rows > 0;
}

/** The hold that this event is the reason of, or NULL. */
Hold *held_rows_find(const HeldRows *rows, const Event *event);

/** The event is about to be set aside: what waits for that goes on waiting. True when it was tried
 * before, and told. */
bool held_rows_store(const HeldRows *rows, const Event *event);

/** Its dead letter could not be stored: it holds its topic as if it had only been tried. */
void held_rows_not_stored(const HeldRows *rows, const Event *event);

/** The event is published, or set aside; type: the stand-in that holds its aggregate type, or NULL.
 * If it was what its topic waited for, that is over. */
unsigned held_rows_done(const HeldRows *rows, const Event *event, const Topic *type);

/** The event waits for another topic now: no other waits for it any more. */
unsigned held_rows_moved(const HeldRows *rows, const Event *event, const Topic *topic);

/** Its row, or what its topic takes, is another: the hold of a row is tried. */
unsigned held_rows_try(const HeldRows *rows, Hold *hold);

/** As SourceEvents.row_looks. */
unsigned held_rows_look(const HeldRows *rows, EventRow row, uint64_t look);

/** Now and then: has rows looked at, tries those whose time has come, ends those that are gone. */
unsigned held_rows_watch(HeldRows *rows, int64_t now_us);
