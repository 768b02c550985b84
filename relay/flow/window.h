/* window: what is open between source and sink: the batches, which event is sent next, who holds
 * what, and how much more may be read.
 *
 * An event is in one hand at a time: the sink's (window_send), that of the dead-letter table
 * (window_aside), or ours. Only what is in ours may be settled, sent or given back to the source.
 * Owns the batches between window_open() and the pops. Loop thread only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "flow/acker.h"
#include "flow/parking.h"

typedef struct Window {
    Acker acker;         /* the open batches */
    Batch *sending;      /* batch with the next event to send, or NULL: everything is sent */
    size_t in_flight;    /* events the sink holds */
    size_t aside_busy;   /* events on their way to the dead-letter table */
    size_t events_max;   /* open, or acknowledged and not marked */
    size_t bytes_max;    /* open */
    int64_t progress_us; /* monotonic: last acknowledgement or first send after silence */
} Window;

/** Adds a batch behind all others. send: its events are to be sent; else they only go back. */
void window_open(Window *window, Batch *batch, bool send);

/** How many more events and bytes may be read; false: nothing. unmarked: rows of the source that
 * are acknowledged and not marked, which count, too: a crash would publish them again. */
bool window_room(const Window *window, size_t unmarked, size_t *ret_events, size_t *ret_bytes);

/** The next event to send, moving the cursor over what is not PENDING; NULL: none. */
Event *window_next(Window *window);

/** Nothing more is sent; what is open goes back. */
void window_stop_sending(Window *window);

/** The event goes to the sink, for this topic. */
void window_send(Window *window, Event *event, Topic *topic);
/** The sink does not hold it any more, or did not take it: PENDING. */
void window_take(Window *window, Event *event);

/** The event goes to the dead-letter table. */
void window_aside(Window *window, Event *event);
/** It does not any more: PENDING. False when it was taken back before. */
bool window_aside_over(Window *window, Event *event);
/** The source is gone, and with it what was on its way to the dead-letter table: PENDING again. */
void window_forget_aside(Window *window);

/** Nobody but us holds an event. */
static inline bool window_is_settled(const Window *window)
{
    return window->in_flight == 0 && window->aside_busy == 0;
}

/** Makes every unsettled event PENDING and puts the cursor on the oldest. What the sink still held
 * belonged to a producer that is gone: its outcome is unknown (Event.replayed). */
void window_rewind(Window *window);

/** What waits in memory is PENDING again. send: and is sent, in order; the sink keeps what it
 * holds. */
void window_let_go(Window *window, bool send);

/** Open batches are about to be given back: parked events behind one that is not settled are
 * PENDING again, as their source will read them again. */
void window_unpark(Window *window, Parking *parking);

/** Takes out the oldest batch: when it is settled, or in any case; NULL: none. */
Batch *window_pop_done(Window *window);
Batch *window_pop(Window *window);

/** Rows of open batches that are, or may be, published. */
size_t window_unmarked(const Window *window);

/** The oldest event that is not settled, or NULL. */
const Event *window_oldest(const Window *window);

/** The open event of that row, or NULL. */
const Event *window_find(const Window *window, int64_t seq, Slice event_id);
