/* notify: systemd's readiness protocol (sd_notify(3)), spoken directly: a datagram to
 * $NOTIFY_SOCKET. Without that variable everything here does nothing. */
#pragma once

#include <stdint.h>

/** Sends a state such as "READY=1\nSTATUS=publishing". */
void notify_send(const char *state);

/** Microseconds between two WATCHDOG=1 that systemd expects, 0 when it expects none. */
int64_t notify_watchdog_us(void);
