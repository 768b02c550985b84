/* What the broker refused: taken apart (flow/isolate.h). A refusal purges the sink and lets
 * everything settle. */
#include "flow/pipeline_internal.h"

/* A time that the broker refuses, although the topic's limits as we know them and our clock allow
 * it, is no reason to give the event up: it gets the time of publishing, as others do beforehand.
 */
static bool pipeline_retime(Pipeline *p, Event *event, const Error *err)
{
    if (event->retimed || err->code != CODE_RECORD_TIMESTAMP_REFUSED ||
        p->parts->config->encode.timestamp == TIMESTAMP_PUBLISH) {
        return false;
    }
    event->retimed = true;
    ++*p->parts->stats->timestamps_replaced;
    return true;
}

void pipeline_request_refused(Pipeline *p, Event *event, const Error *err)
{
    bool going = machine_goes(p->machine);
    bool first = event->request != p->isolate->request || event->request == 0;
    *p->parts->stats->refused_requests += first;
    p->isolate->refused = true;
    bool proven = going && isolate_proves(p->isolate, event);
    isolate_refused(p->isolate, event);
    if (proven && pipeline_retime(p, event, err)) {
        proven = false;
    }
    if (proven) {
        Record record;
        AUTO_ERROR ignored = {0};
        (void)pipeline_make_record(p, event, &record, &ignored);
        pipeline_poison(p, event, &record, err, true);
    }
    if (!proven || p->window->in_flight > 0) {
        pipeline_input(p, INPUT_RESEND);
    }
}
