/* What the pipeline and its source know of rows that somebody saw in the table. */
#include <string.h>

#include "base/clock.h"
#include "flow/pipeline_internal.h"

static const Error NONE = {0};

void pipeline_follow(Pipeline *p, int64_t low, int64_t high)
{
    bool nobody = p->parts->settled == NULL;
    p->follow_low = nobody ? INT64_MAX : low;
    p->follow_high = nobody ? INT64_MIN : high;
}

void pipeline_set_unseen(Pipeline *p, const Error *err)
{
    if (p->unseen->error.class == ERROR_NONE) {
        p->unseen->since = clock_moment();
    }
    error_copy(&p->unseen->error, err != NULL ? err : &NONE);
    pipeline_changed(p);
}

void pipeline_set_alarm(Pipeline *p, const Error *err)
{
    if (err == NULL || err->code != p->alarm->error.code) { /* one that comes anew lasts, too */
        p->alarm->since = clock_moment();
    }
    error_copy(&p->alarm->error, err != NULL ? err : &NONE);
}

/* It has lasted for a lease: then whoever it is does not go by itself. */
const Error *pipeline_alarm(const Pipeline *p)
{
    int64_t lease_us = p->parts->config->claim.lease_ms * 1000;
    return p->alarm->error.class != ERROR_NONE && clock_since_us(&p->alarm->since) >= lease_us
               ? &p->alarm->error
               : &NONE;
}

bool pipeline_publishes(const Pipeline *p)
{
    return machine_works(p->machine);
}

SourceSight pipeline_sight(const Pipeline *p, int64_t seq, Slice event_id, uint64_t insert_lsn,
                           int64_t looked_us)
{
    const Event *event = window_find(p->window, seq, event_id);
    if (event != NULL) {
        return event_is_over(event) ? SIGHT_PUBLISHED : SIGHT_KNOWN;
    }
    const Source *source = p->parts->source;
    return source->ops->sight != NULL
               ? source->ops->sight(source, seq, event_id, insert_lsn, looked_us)
               : SIGHT_BEHIND;
}

void pipeline_look_again(Pipeline *p, int64_t seq)
{
    Source *source = p->parts->source;
    if (source->ops->look_again != NULL && pipeline_publishes(p)) {
        source->ops->look_again(source, seq);
    }
}

void pipeline_looked(Pipeline *p, const SourceLook *look)
{
    Source *source = p->parts->source;
    if (source->ops->looked != NULL) {
        source->ops->looked(source, look);
    }
}
