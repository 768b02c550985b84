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

/* Seconds since the oldest event that is read and not settled; 0 when there is none. */
static double view_lag_seconds(const PipelineView *view)
{
    if (view->oldest == NULL || view->oldest->occurred_at_us == EVENT_NO_TIME) {
        return 0;
    }
    double lag = (double)(clock_wall_us() - view->oldest->occurred_at_us) / 1e6;
    return lag > 0 ? lag : 0;
}

/* The same of events that wait for their topic, which are not in memory. */
static double waiting_lag_seconds(const PipelineView *view)
{
    if (view->waiting_events == 0 || view->waiting_oldest_us == EVENT_NO_TIME) {
        return 0;
    }
    double lag = (double)(clock_wall_us() - view->waiting_oldest_us) / 1e6;
    return lag > 0 ? lag : 0;
}

/* The row that the watch found, where it tells more than the pipeline itself. While that publishes
 * it knows better: the watch counts only for a row that stayed, and only as long as nothing was
 * acknowledged after the look. */
static const WatchOldest *relay_watched_oldest(const Relay *relay, size_t index,
                                               const PipelineView *view)
{
    if (relay->watch == NULL) {
        return NULL;
    }
    const WatchOldest *oldest = &watch_facts(relay->watch, index)->oldest;
    bool publishes = view->state == PIPELINE_RUNNING || view->state == PIPELINE_REWINDING;
    bool outdated =
        publishes && (!oldest->stands || view->last_published_us > oldest->looked_at_us);
    return oldest->present && !outdated ? oldest : NULL;
}

double relay_lag_seconds(const Relay *relay, size_t index, const PipelineView *view)
{
    double lag = view_lag_seconds(view);
    double waiting = waiting_lag_seconds(view);
    lag = waiting > lag ? waiting : lag;
    const WatchOldest *oldest = relay_watched_oldest(relay, index, view);
    double watched = oldest != NULL ? watch_lag_seconds(oldest, clock_wall_us()) : 0;
    bool looked = relay->watch != NULL && watch_server(relay->watch)->up &&
                  watch_facts(relay->watch, index)->oldest.looked_at_us > 0;
    bool known = view->oldest != NULL || view->state == PIPELINE_RUNNING || watched > 0 || looked;
    if (!known) {
        return NAN;
    }
    return watched > lag ? watched : lag;
}

static void add_event(Text *json, const Event *event)
{
    if (event->seq == EVENT_NO_SEQ) {
        text_add(json, "\"oldest\":{\"seq\":null,\"event_type\":");
    } else {
        text_printf(json, "\"oldest\":{\"seq\":%" PRId64 ",\"event_type\":", event->seq);
    }
    text_add_json(json, event->field[FIELD_EVENT_TYPE]);
    text_add(json, ",\"aggregate_id\":");
    text_add_json(json, event->field[FIELD_AGGREGATE_ID]);
    text_add_char(json, ',');
    relay_add_time(json, "occurred_at",
                   event->occurred_at_us == EVENT_NO_TIME ? 0 : event->occurred_at_us);
    text_add_char(json, '}');
}

void relay_add_oldest(const Relay *relay, size_t index, const PipelineView *view, Text *json)
{
    const WatchOldest *oldest = relay_watched_oldest(relay, index, view);
    bool older =
        oldest != NULL && watch_lag_seconds(oldest, clock_wall_us()) > view_lag_seconds(view);
    if (view->oldest != NULL && !older) {
        add_event(json, view->oldest);
        return;
    }
    if (oldest == NULL) {
        text_add(json, "\"oldest\":null");
        return;
    }
    text_printf(json, "\"oldest\":{\"seq\":%" PRId64 ",", oldest->seq);
    relay_add_text(json, "event_type", oldest->event_type);
    text_add_char(json, ',');
    relay_add_text(json, "aggregate_id", oldest->aggregate_id);
    text_add_char(json, ',');
    relay_add_time(json, "occurred_at",
                   oldest->occurred_at_us == EVENT_NO_TIME ? 0 : oldest->occurred_at_us);
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
