/* monitor: the HTTP endpoint (GET and HEAD only).
 *
 * A thread of its own serves the sockets. It answers /livez by itself, within milliseconds whatever
 * the loop does: 503 once the loop has not turned for MONITOR_STILL_MS_MAX, else 200. Everything
 * else is filled by the loop, at its next turn. The functions here are the loop thread's.
 *
 * /metrics Prometheus text; /livez 200 while the loop turns; /readyz 200 or 503 with the reason;
 * /status one JSON object, the same that `outboxd status --json` prints. Shows no payloads and no
 * configuration. Slow or hostile clients are bounded: see http.h. */
#pragma once

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"
#include "metrics/metrics.h"

/* As long as WatchdogSec of the systemd unit. One turn of a healthy loop may take seconds: an event
 * of half a gigabyte is read and decoded in one. */
enum { MONITOR_STILL_MS_MAX = 30000 };

typedef struct Monitor Monitor;

/* The callbacks are called on the loop thread. */
typedef struct MonitorSources {
    void *arg;
    /** Returns readiness; appends the reason when not ready, and else what is worth knowing of it
     * (one line a pipeline). */
    bool (*ready)(void *arg, Text *reason);
    /** Appends the status object. */
    void (*status)(void *arg, Text *json);
    int64_t still_ms_max; /* 0: MONITOR_STILL_MS_MAX */
} MonitorSources;

/** Listens on "host:port" ("[::1]:9480" for IPv6; port 0: any free one) and logs the address.
 * Copies *sources. The error is FATAL / EXIT_CONFIG when the address cannot be had. */
Status monitor_start(struct event_base *base, const char *listen, Metrics *metrics,
                     const MonitorSources *sources, Monitor **ret_monitor, Error *err);

/** The loop turns: at least once a second. NULL: nothing happens. */
void monitor_beat(Monitor *monitor);

/** Stops listening and closes every connection; the registry must still live. */
void monitor_stop(Monitor **monitor);

/** The address in use, "127.0.0.1:9480": the first one where the host has several. Owned by the
 * monitor. */
const char *monitor_address(const Monitor *monitor);
