/* notify: systemd's readiness protocol (sd_notify(3)), spoken directly: a datagram to
 * $NOTIFY_SOCKET. Without that variable everything here does nothing. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/** Sends a state such as "READY=1\nSTATUS=publishing"; true when a service manager took it. Waits
 * at most 100 ms for room in the socket. */
bool notify_send(const char *state);

/** Microseconds between two WATCHDOG=1 that systemd expects at the latest (send at half of it), 0
 * when it expects none from this process. */
int64_t notify_watchdog_us(void);
