/* view.h - the part of outboxd-demo-watch that people see.
 *
 * Two lines an event; when more events arrive than anybody can read, one order a second with all
 * that it caused, and on a terminal a line of progress below. Colour only on a terminal, and not
 * when NO_COLOR is set. Owns standard output; used by one thread. */
#ifndef DEMO_VIEW_H
#define DEMO_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lag.h"
#include "seen.h"

enum { VIEW_FOLLOWED = 32 };

typedef struct View {
    bool terminal;
    bool colour;
    bool progress_shown;
    bool gap_shown;
    int columns;           /* width of the terminal, or of the lines we write to a file */
    int shown_per_minute;  /* new stories begun a minute; what they cause is shown as well */
    double allowance;      /* stories that may begin now */
    int64_t refilled_us;   /* life_monotonic_us() of the last refill */
    int64_t progressed_us; /* of the last line of progress */
    uint64_t progress_count;
    char followed[VIEW_FOLLOWED][SEEN_TEXT_MAX]; /* ids of the events shown last */
    size_t followed_next;
} View;

/* Prepares 'ret_view' for standard output; 'shown_per_minute' (1 to 60000) bounds what is shown. */
void view_open(View *ret_view, int shown_per_minute);

/* Shows one event, or decides that there are too many. */
void view_event(View *view, const Seen *seen);

/* Renews the line of progress a few times a second; call it often. */
void view_progress(View *view, const Lag *lag);

/* Takes the line of progress away, so that others can write. */
void view_close(View *view);

#endif
