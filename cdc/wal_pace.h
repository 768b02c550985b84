/* wal_pace: when is the socket of the stream read? Each message as it comes, or, while a backlog
 * comes in, on a timer at a pace that follows the server's. */
#pragma once

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

typedef struct Pace Pace;

/** read(arg): it is time. */
Status pace_new(struct event_base *base, void (*read)(void *arg), void *arg, Pace **ret_pace,
                Error *err);
void pace_free(Pace **pace);

/** A stream begins on this socket, which is told of now. */
void pace_begin(Pace *pace, int fd);
void pace_stop(Pace *pace);

/** The socket was read, and brought so many messages: how to wait for the next bytes. True: it
 * became quiet, nothing is gathered any more. */
void pace_note_read(Pace *pace);
bool pace_wait(Pace *pace, unsigned messages);
/** Nobody is told of the socket until pace_resume(). */
void pace_pause(Pace *pace);
/** Reads soon, whether the socket tells or not: libpq may hold messages that it has. */
void pace_resume(Pace *pace);

/** Reads come by the timer. */
bool pace_is_coalescing(const Pace *pace);
/** ... because a backlog comes in, by the read that brought so many messages. */
bool pace_is_busy(const Pace *pace, unsigned messages);
/** Monotonic: last bytes. */
int64_t pace_read_us(const Pace *pace);
