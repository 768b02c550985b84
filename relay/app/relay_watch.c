/* What the watch knows, in /status, and what follows from both its view and the pipeline's own. */
#include <math.h>

#include "app/relay_internal.h"
#include "base/document.h"
#include "base/timestamp.h"

/* Seconds for which the oldest event has been waiting that is read and not settled; 0: there is
 * none. */
static double view_lag_seconds(const Relay *relay, size_t index, const PipelineView *view)
{
    if (view->oldest == NULL || relay->watch == NULL) {
        return 0;
    }
    return watch_event_age(relay->watch, index, view->oldest);
}

/* The row that the watch saw, where it tells more than the pipeline itself. */
static bool relay_watched_oldest(const Relay *relay, size_t index, const PipelineView *view,
                                 WatchOldest *ret)
{
    bool owner = view->state == PIPELINE_RUNNING || view->state == PIPELINE_PAUSED ||
                 view->state == PIPELINE_STALLED || view->state == PIPELINE_REWINDING ||
                 view->state == PIPELINE_DRAINING;
    return relay->watch != NULL &&
           watch_oldest(relay->watch, index, owner, view->published_monotonic_us, ret);
}

double relay_lag_seconds(const Relay *relay, size_t index, const PipelineView *view)
{
    double lag = view_lag_seconds(relay, index, view);
    WatchOldest oldest;
    bool watched = relay_watched_oldest(relay, index, view, &oldest);
    bool looked = relay->watch != NULL && watch_server(relay->watch)->up &&
                  watch_has_looked(relay->watch, index);
    /* A row that was seen once, before the database went away, says nothing of now. */
    bool known = view->oldest != NULL || view->state == PIPELINE_RUNNING || looked ||
                 (watched && oldest.waits);
    if (!known) {
        return NAN;
    }
    return watched && oldest.lag_seconds > lag ? oldest.lag_seconds : lag;
}

static void set_event(json_t *oldest, const Event *event)
{
    if (event->seq == EVENT_NO_SEQ) {
        document_null(oldest, "seq");
    } else {
        document_count(oldest, "seq", event->seq);
    }
    document_slice(oldest, "event_type", event_field(event, FIELD_EVENT_TYPE));
    document_slice(oldest, "aggregate_id", event_field(event, FIELD_AGGREGATE_ID));
    document_time(oldest, "occurred_at",
                  event->occurred_at_us == EVENT_NO_TIME ? 0 : event->occurred_at_us);
}

void relay_set_oldest(const Relay *relay, size_t index, const PipelineView *view, json_t *pipeline)
{
    WatchOldest oldest;
    bool watched = relay_watched_oldest(relay, index, view, &oldest);
    bool older = watched && oldest.lag_seconds > view_lag_seconds(relay, index, view);
    if (view->oldest != NULL && !older) {
        set_event(document_object(pipeline, "oldest"), view->oldest);
        return;
    }
    if (!watched) {
        document_null(pipeline, "oldest");
        return;
    }
    json_t *object = document_object(pipeline, "oldest");
    document_count(object, "seq", oldest.seq);
    document_text(object, "event_type", oldest.event_type);
    document_text(object, "aggregate_id", oldest.aggregate_id);
    document_time(object, "occurred_at",
                  oldest.occurred_at_us == EVENT_NO_TIME ? 0 : oldest.occurred_at_us);
}

static void set_paused(json_t *pipeline, const WatchFacts *facts)
{
    if (facts == NULL || !facts->paused) {
        document_null(pipeline, "paused");
        return;
    }
    json_t *paused = document_object(pipeline, "paused");
    document_time(paused, "since", facts->paused_since_us);
    document_text(paused, "by", facts->paused_by);
    document_known(paused, "reason", facts->pause_reason);
}

static void set_slot(json_t *pipeline, const Source *source, const WatchFacts *facts)
{
    static const WatchSlot UNKNOWN = {.retained_wal_bytes = NAN,
                                      .confirmed_lag_bytes = NAN,
                                      .safe_wal_bytes = NAN,
                                      .seconds_left = NAN};
    const WatchSlot *slot = facts != NULL ? &facts->slot : &UNKNOWN;
    if (source->ops->slot == NULL) {
        return;
    }
    json_t *object = document_object(pipeline, "slot");
    source->ops->slot(source, object);
    document_known(object, "status", slot->status);
    if (slot->present) {
        document_bool(object, "active", slot->active);
    } else {
        document_null(object, "active");
    }
    document_number(object, "retained_wal_bytes", "%.0f", slot->retained_wal_bytes);
    document_number(object, "confirmed_lag_bytes", "%.0f", slot->confirmed_lag_bytes);
    document_number(object, "safe_wal_bytes", "%.0f", slot->safe_wal_bytes);
    document_number(object, "seconds_left", "%.0f", slot->seconds_left);
}

void relay_set_watched(const Relay *relay, size_t index, json_t *pipeline)
{
    const WatchFacts *facts = relay->watch != NULL ? watch_facts(relay->watch, index) : NULL;
    double age =
        relay->watch != NULL ? watch_server(relay->watch)->oldest_transaction_seconds : NAN;
    set_paused(pipeline, facts);
    document_number(pipeline, "dead_letters", "%.0f", facts != NULL ? facts->dead_letters : NAN);
    document_time(pipeline, "dead_letter_at", facts != NULL ? facts->dead_letter_at_us : 0);
    document_number(pipeline, "oldest_transaction_seconds", "%.3f", age);
    set_slot(pipeline, pipeline_source(relay->lanes.items[index]->pipeline), facts);
}

void relay_set_postgres(const Relay *relay, json_t *postgres)
{
    if (relay->watch == NULL || watch_server(relay->watch)->address[0] == '\0') {
        return;
    }
    document_text(postgres, "server", watch_server(relay->watch)->address);
    document_text(postgres, "version", watch_server(relay->watch)->version);
}

void relay_add_pause(const Relay *relay, size_t index, Text *text)
{
    const WatchFacts *facts = relay->watch != NULL ? watch_facts(relay->watch, index) : NULL;
    char scratch[TIMESTAMP_TEXT_MAX];
    if (facts == NULL || !facts->paused) {
        return;
    }
    text_printf(text, " by %s since %.*s", facts->paused_by,
                SLICE_ARG(timestamp_format(facts->paused_since_us, scratch)));
    if (facts->pause_reason[0] != '\0') {
        text_printf(text, ": %s", facts->pause_reason);
    }
}
