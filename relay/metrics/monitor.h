/* monitor: the HTTP endpoint (GET and HEAD only, on the loop thread).
 *
 * /metrics Prometheus text; /livez 200 while the loop turns; /readyz 200 or 503 with the reason;
 * /status one JSON object, the same that `outboxd status --json` prints. Shows no payloads and no
 * configuration. Slow or hostile clients are bounded: see http.h. */
#pragma once

#include <event2/event.h>
#include <stdbool.h>

#include "base/error.h"
#include "base/text.h"
#include "metrics/metrics.h"

typedef struct Monitor Monitor;

typedef struct MonitorSources {
    void *arg;
    /** Returns readiness; appends the reason when not ready, and else what is worth knowing of it
     * (one line a pipeline). */
    bool (*ready)(void *arg, Text *reason);
    /** Appends the status object. */
    void (*status)(void *arg, Text *json);
} MonitorSources;

/** Listens on "host:port" ("[::1]:9480" for IPv6; port 0: any free one) and logs the address.
 * Copies *sources. The error is FATAL / EXIT_CONFIG when the address cannot be had. */
Status monitor_start(struct event_base *base, const char *listen, Metrics *metrics,
                     const MonitorSources *sources, Monitor **ret_monitor, Error *err);

/** Stops listening and closes every connection; the registry must still live. */
void monitor_stop(Monitor **monitor);

/** The address in use, "127.0.0.1:9480": the first one where the host has several. Owned by the
 * monitor. */
const char *monitor_address(const Monitor *monitor);
