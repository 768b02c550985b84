/* What the watch knows, in /status, and what follows from both its view and the pipeline's own. */
#include <inttypes.h>
#include <math.h>

#include "app/relay_internal.h"
#include "base/clock.h"
#include "base/timestamp.h"

void relay_add_time(Text *json, const char *key, int64_t us)
{
    char scratch[TIMESTAMP_TEXT_MAX];
    text_printf(json, "\"%s\":", key);
    text_add_json(json, us > 0 ? timestamp_format(us, scratch) : SLICE_NULL);
}

void relay_add_text(Text *json, const char *key, const char *value)
{
    text_printf(json, "\"%s\":", key);
    text_add_json(json, slice_of(value));
}

static void add_real(Text *json, const char *key, double value, int digits)
{
    if (isnan(value)) {
        text_printf(json, "\"%s\":null", key);
    } else {
        text_printf(json, "\"%s\":%.*f", key, digits, value);
    }
}

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
    bool known = view->oldest != NULL || view->state == PIPELINE_RUNNING || watched || looked;
    if (!known) {
        return NAN;
    }
    return watched && oldest.lag_seconds > lag ? oldest.lag_seconds : lag;
}

static void add_event(Text *json, const Event *event)
{
    if (event->seq == EVENT_NO_SEQ) {
        text_add(json, "\"oldest\":{\"seq\":null,\"event_type\":");
    } else {
        text_printf(json, "\"oldest\":{\"seq\":%" PRId64 ",\"event_type\":", event->seq);
    }
    text_add_json(json, event_field(event, FIELD_EVENT_TYPE));
    text_add(json, ",\"aggregate_id\":");
    text_add_json(json, event_field(event, FIELD_AGGREGATE_ID));
    text_add_char(json, ',');
    relay_add_time(json, "occurred_at",
                   event->occurred_at_us == EVENT_NO_TIME ? 0 : event->occurred_at_us);
    text_add_char(json, '}');
}

void relay_add_oldest(const Relay *relay, size_t index, const PipelineView *view, Text *json)
{
    WatchOldest oldest;
    bool watched = relay_watched_oldest(relay, index, view, &oldest);
    bool older = watched && oldest.lag_seconds > view_lag_seconds(relay, index, view);
    if (view->oldest != NULL && !older) {
        add_event(json, view->oldest);
        return;
    }
    if (!watched) {
        text_add(json, "\"oldest\":null");
        return;
    }
    text_printf(json, "\"oldest\":{\"seq\":%" PRId64 ",", oldest.seq);
    relay_add_text(json, "event_type", oldest.event_type);
    text_add_char(json, ',');
    relay_add_text(json, "aggregate_id", oldest.aggregate_id);
    text_add_char(json, ',');
    relay_add_time(json, "occurred_at",
                   oldest.occurred_at_us == EVENT_NO_TIME ? 0 : oldest.occurred_at_us);
    text_add_char(json, '}');
}

static void add_paused(Text *json, const WatchFacts *facts)
{
    if (facts == NULL || !facts->paused) {
        text_add(json, "\"paused\":null");
        return;
    }
    text_add(json, "\"paused\":{");
    relay_add_time(json, "since", facts->paused_since_us);
    text_add_char(json, ',');
    relay_add_text(json, "by", facts->paused_by);
    text_add(json, ",\"reason\":");
    text_add_json(json,
                  facts->pause_reason[0] != '\0' ? slice_of(facts->pause_reason) : SLICE_NULL);
    text_add_char(json, '}');
}

static void add_slot(Text *json, const Source *source, const WatchFacts *facts)
{
    static const WatchSlot UNKNOWN = {.retained_wal_bytes = NAN,
                                      .confirmed_lag_bytes = NAN,
                                      .safe_wal_bytes = NAN,
                                      .seconds_left = NAN};
    const WatchSlot *slot = facts != NULL ? &facts->slot : &UNKNOWN;
    if (source->ops->slot == NULL) {
        return;
    }
    text_add(json, ",\"slot\":{");
    source->ops->slot(source, json);
    text_add(json, ",\"status\":");
    text_add_json(json, slot->status[0] != '\0' ? slice_of(slot->status) : SLICE_NULL);
    const char *active = slot->active ? "true" : "false";
    text_printf(json, ",\"active\":%s,", slot->present ? active : "null");
    add_real(json, "retained_wal_bytes", slot->retained_wal_bytes, 0);
    text_add_char(json, ',');
    add_real(json, "confirmed_lag_bytes", slot->confirmed_lag_bytes, 0);
    text_add_char(json, ',');
    add_real(json, "safe_wal_bytes", slot->safe_wal_bytes, 0);
    text_add_char(json, ',');
    add_real(json, "seconds_left", slot->seconds_left, 0);
    text_add_char(json, '}');
}

void relay_add_watched(const Relay *relay, size_t index, Text *json)
{
    const WatchFacts *facts = relay->watch != NULL ? watch_facts(relay->watch, index) : NULL;
    double age =
        relay->watch != NULL ? watch_server(relay->watch)->oldest_transaction_seconds : NAN;
    add_paused(json, facts);
    text_add_char(json, ',');
    add_real(json, "dead_letters", facts != NULL ? facts->dead_letters : NAN, 0);
    text_add_char(json, ',');
    relay_add_time(json, "dead_letter_at", facts != NULL ? facts->dead_letter_at_us : 0);
    text_add_char(json, ',');
    add_real(json, "oldest_transaction_seconds", age, 3);
    add_slot(json, pipeline_source(relay->pipelines[index]), facts);
}

void relay_add_postgres(const Relay *relay, Text *json)
{
    if (relay->watch == NULL || watch_server(relay->watch)->address[0] == '\0') {
        return;
    }
    text_add_char(json, ',');
    relay_add_text(json, "server", watch_server(relay->watch)->address);
    text_add_char(json, ',');
    relay_add_text(json, "version", watch_server(relay->watch)->version);
}

void relay_add_pause(const Relay *relay, size_t index, Text *text)
{
    const WatchFacts *facts = watch_facts(relay->watch, index);
    char scratch[TIMESTAMP_TEXT_MAX];
    if (!facts->paused) {
        return;
    }
    text_printf(text, " by %s since %.*s", facts->paused_by,
                SLICE_ARG(timestamp_format(facts->paused_since_us, scratch)));
    if (facts->pause_reason[0] != '\0') {
        text_printf(text, ": %s", facts->pause_reason);
    }
}
