/* clock: time that a test makes pass. Linked in place of base/clock.c: both clocks read the
 * machine's plus what was skipped, and the timers of an event loop are due by them. The relay's own
 * code has no seam for it and pays nothing.
 *
 * Only for rooms whose other side is the test itself (stub/libpq.h): where threads or sockets of
 * others take their time, a jump would end deadlines that nobody was late for. */
#pragma once

#include <event2/event.h>
#include <stdint.h>

/** Both clocks go forward; what is due by then fires in the next turn of its loop. */
void clock_skip_us(int64_t us);

/** Turns the loop once, without waiting. When several turns in a row gave nobody anything to do,
 * time goes to the first timer: whoever waits for a lease, a pause or a back-off does not wait. */
void clock_turn(struct event_base *base);

/** What a test's own patience is measured by: the machine's clock. */
int64_t clock_real_us(void);
