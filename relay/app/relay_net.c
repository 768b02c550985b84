/* Between the watch, which sees what the tables show, and the pipelines, which know what they did.
 */
#include "app/relay_internal.h"

static WatchRole relay_role(const Relay *relay, size_t index, const PipelineView *view)
{
    switch (view->state) {
    case PIPELINE_RUNNING:
        return (WatchRole){.judges = pipeline_publishes(relay->lanes.items[index]->pipeline)};
    case PIPELINE_STALLED: /* it counts as behind what it cannot read */
        return (WatchRole){.judges = pipeline_publishes(relay->lanes.items[index]->pipeline),
                           .waits = true};
    case PIPELINE_PAUSED:
    case PIPELINE_REWINDING:
    case PIPELINE_DRAINING:
        return (WatchRole){.waits = true};
    case PIPELINE_STANDBY:
        return (WatchRole){.stands_by = true};
    default:
        return (WatchRole){0};
    }
}

static WatchRole on_role(void *arg, size_t index)
{
    const Relay *relay = arg;
    PipelineView view;
    pipeline_view(relay->lanes.items[index]->pipeline, &view);
    WatchRole role = relay_role(relay, index, &view);
    const Stats *stats = relay->lanes.items[index]->stats;
    role.connected = *stats->rows->postgres_connected > 0 && view.state != PIPELINE_STARTING &&
                     view.state < PIPELINE_STOPPED;
    role.reconnects = *stats->reconnects;
    return role;
}

static SourceSight on_sight(void *arg, size_t index, const Sighting *row)
{
    const Relay *relay = arg;
    return pipeline_sight(relay->lanes.items[index]->pipeline, row->seq, slice_of(row->event_id),
                          row->first_lsn, row->first_us);
}

static void on_look_again(void *arg, size_t index, int64_t seq)
{
    const Relay *relay = arg;
    pipeline_look_again(relay->lanes.items[index]->pipeline, seq);
}

static void on_looked(void *arg, size_t index, const SourceLook *look)
{
    const Relay *relay = arg;
    pipeline_looked(relay->lanes.items[index]->pipeline, look);
}

static void on_follow(void *arg, size_t index, int64_t low, int64_t high)
{
    const Relay *relay = arg;
    pipeline_follow(relay->lanes.items[index]->pipeline, low, high);
}

static void on_unseen(void *arg, size_t index, const Error *err)
{
    const Relay *relay = arg;
    pipeline_set_unseen(relay->lanes.items[index]->pipeline, err);
}

void relay_settled(void *arg, Pipeline *pipeline, const Event *event)
{
    Relay *relay = arg;
    for (size_t i = 0; relay->watch != NULL && i < relay->lanes.count; i++) {
        if (relay->lanes.items[i]->pipeline != pipeline) {
            continue;
        }
        if (event->state == EVENT_PARKED) {
            watch_parked(relay->watch, i, event);
        } else {
            watch_settled(relay->watch, i, event->seq, event_field(event, FIELD_EVENT_ID));
        }
    }
}

void relay_net_options(Relay *relay, WatchOptions *options)
{
    options->arg = relay;
    options->role = on_role;
    options->sight = on_sight;
    options->look_again = on_look_again;
    options->looked = on_looked;
    options->follow = on_follow;
    options->unseen = on_unseen;
}
