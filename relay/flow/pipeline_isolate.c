/* What a refused request says of an event: it is taken apart (flow/isolate.h) until one stands
 * alone. */
#include "flow/pipeline_internal.h"

/* A time that the destination refuses, although what the topic takes as we know it and our clock
 * allow it, is no reason to give the event up: it gets the time of publishing, as others do
 * beforehand. */
static bool pipeline_retime(Pipeline *p, Event *event, SinkVerdict verdict)
{
    if (event->retimed || verdict != SINK_REFUSED_TIME ||
        p->parts->config->encode.timestamp == TIMESTAMP_PUBLISH) {
        return false;
    }
    event->retimed = true;
    ++*p->parts->stats->timestamps_replaced;
    return true;
}

bool pipeline_is_proven_bad(Pipeline *p, Event *event, const SinkReport *report)
{
    bool first = report->request != p->isolate->request || report->request == 0;
    *p->parts->stats->refused_requests += first;
    p->isolate->refused = true;
    bool proven = machine_goes(p->machine) && isolate_proves(p->isolate, report->request_events);
    isolate_refused(p->isolate, event, report->request);
    return proven && !pipeline_retime(p, event, report->verdict);
}
