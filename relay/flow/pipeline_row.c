/* A row that cannot be published as it is (a header list that is none, a record that its topic does
 * not take, a dead letter that cannot be stored) holds its topic: nothing of it passes, so order
 * per key holds, and the events of all other topics go on.
 *
 * It is parked like those behind it. It goes on by itself when the row is mended or removed, or the
 * topic takes more: the source looks at the row every two seconds, the sink tells of the topic's
 * limits, and at ever longer intervals it is tried whatever they say. To try is to read everything
 * that waits again, with nothing held; a row that is still bad is refused again, before anything
 * behind it was sent. It may come late: the reread takes as long as it takes. Until it comes the
 * hold stands, unless the server says that there is no such row. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "flow/pipeline_internal.h"

enum {
    LOOK_SECONDS = 2,
    TRY_SECONDS = 5,        /* doubled after each try in vain, ... */
    TRY_MOST_SECONDS = 300, /* ... up to this, and so much later for each event that waits: */
    TRY_ROW_US = 3000,
    TRY_DOUBLINGS_MAX = 14, /* in memory: each try encodes all that waits once more */
    TRIED_SECONDS = 10, /* so long after everything came again, one that did not is gone, where */
    TRIED_MOST_SECONDS = 60, /* ... no look can tell */
};

/* The topic that the event holds, or waits for. */
static Topic *row_topic(Pipeline *p, const Event *event, const Record *record)
{
    return record->topic != NULL
               ? record->topic
               : topics_of_type(p->parts->topics, event_field(event, FIELD_AGGREGATE_TYPE));
}

/* Which event, why, and what to do. */
static void row_reason(const Pipeline *p, const Event *event, const Error *err, Error *ret_reason)
{
    error_copy(ret_reason, err);
    pipeline_name_event(event, ret_reason);
    const Source *source = p->parts->source;
    bool in_row = event->seq != EVENT_NO_SEQ && source->ops->may_park != NULL &&
                  source->ops->may_park(source, event);
    bool letter = err->code == CODE_DEAD_LETTER_REFUSED;
    bool unrouted = err->code == CODE_EVENT_UNROUTED;
    const char *remedy = error_remedy(err);
    error_hint(ret_reason, "%s%s%s%s", remedy, *remedy != '\0' ? " " : "",
               in_row && !letter
                   ? "When the row is corrected or deleted, the relay continues automatically. "
                   : "",
               letter     ? "The relay retries automatically."
               : unrouted ? ""
                          : "Or set on_poison = \"dead_letter\" and restart the relay.");
}

void pipeline_hold_row(Pipeline *p, Event *event, const Record *record, const Error *err, bool sent)
{
    Topic *topic = row_topic(p, event, record);
    isolate_found(p->isolate, event);
    if (!parking_holds(topic)) {
        AUTO_ERROR reason = {0};
        row_reason(p, event, err, &reason);
        HeldRow *row = &parking_hold_row(p->parking, topic, event, &reason)->row;
        row->sent = sent;
        row->letter = err->code == CODE_DEAD_LETTER_REFUSED;
        row->try_us = clock_monotonic_us() + TRY_SECONDS * INT64_C(1000000);
    }
    Hold *hold = topic->hold;
    bool own = parking_is_row(hold, event);
    size_t parked = hold->parked;
    pipeline_park(p, event, topic, record);
    if (own) {
        hold->row.in_row = hold->parked > parked;
    }
}

bool pipeline_waits_for_row(Pipeline *p, Event *event, const Record *record)
{
    if (p->parking->rows == 0) {
        return false;
    }
    Topic *type = topics_held_type(p->parts->topics, event_field(event, FIELD_AGGREGATE_TYPE));
    Topic *topic = type != NULL && parking_holds(type) ? type : record->topic;
    if (topic == NULL || !parking_holds(topic) || !topic->hold->by_row) {
        return false;
    }
    pipeline_park(p, event, topic, record);
    return true;
}

/* The hold that this event is the reason of, or NULL. */
static Hold *row_hold(const Pipeline *p, const Event *event)
{
    for (Hold *hold = p->parking->rows > 0 ? p->parking->holds : NULL; hold != NULL;
         hold = hold->next) {
        if (parking_is_row(hold, event)) {
            return hold;
        }
    }
    return NULL;
}

bool pipeline_store_held(Pipeline *p, const Event *event)
{
    Hold *hold = row_hold(p, event);
    if (hold != NULL && hold->row.trying && hold->row.letter) {
        p->parking->trying--;
        hold->row.trying = false;
        hold->row.storing = true;
    }
    return hold != NULL && hold->row.storing;
}

/* Nothing is in the way any more: what is behind the row comes, if it is not on its way already. */
static void row_mended(Pipeline *p, Hold *hold)
{
    bool in_memory = hold->in_memory > 0;
    if (hold->parked > 0) {
        (void)parking_release(p->parking, hold->topic);
        pipeline_want_reread(p);
        return;
    }
    parking_end_row(p->parking, hold);
    if (in_memory) {
        pipeline_let_go(p);
    }
}

void pipeline_row_done(Pipeline *p, const Event *event)
{
    if (p->parking->rows == 0) {
        return;
    }
    Hold *own = row_hold(p, event);
    if (own != NULL && (own->row.trying || own->row.storing)) {
        row_mended(p, own);
    }
    /* One behind it is published, so it is not there any more. */
    Topic *type = topics_held_type(p->parts->topics, event_field(event, FIELD_AGGREGATE_TYPE));
    Topic *topics[] = {type, event->topic};
    for (size_t i = 0; i < sizeof(topics) / sizeof(topics[0]) && p->parking->trying > 0; i++) {
        Hold *hold = topics[i] != NULL ? topics[i]->hold : NULL;
        if (hold != NULL && hold->by_row && hold->row.trying && !hold->row.sent &&
            !hold->row.letter && event->seq > hold->row.seq) {
            row_mended(p, hold);
        }
    }
}

void pipeline_row_moved(Pipeline *p, const Event *event, const Topic *topic)
{
    Hold *own = p->parking->trying > 0 ? row_hold(p, event) : NULL;
    if (own != NULL && own->topic != topic && own->row.trying) {
        row_mended(p, own);
    }
}

void pipeline_aside_refused(void *arg, Event *event, const Error *err)
{
    Pipeline *p = arg;
    if (!window_aside_over(p->window, event)) {
        return; /* a rewind took it back */
    }
    pipeline_wake(p);
    if (!machine_goes(p->machine)) {
        return; /* it stays unpublished, or is set aside again */
    }
    Record record;
    AUTO_ERROR why = {0};
    (void)pipeline_make_record(p, event, &record, &why);
    AUTO_ERROR refused = {0};
    error_set(&refused, CODE_DEAD_LETTER_REFUSED,
              "cannot be published (%s), and its dead letter cannot be stored: %s",
              reason_name(event->aside_reason), error_message(err));
    error_hint(&refused, "%s",
               error_own_hint(err)[0] != '\0'
                   ? error_own_hint(err)
                   : "Fix what PostgreSQL names: a missing privilege on the dead-letter table, a "
                     "full disk, or your own constraint or trigger.");
    Hold *own = row_hold(p, event);
    if (own != NULL && own->row.storing) { /* held all the time: as if it had only been tried */
        own->row.storing = false;
        own->row.trying = true;
        p->parking->trying++;
    }
    pipeline_hold_row(p, event, &record, &refused, false);
}

void pipeline_try_row(Pipeline *p, Hold *hold)
{
    if (hold->row.trying || hold->row.storing) {
        return;
    }
    if (hold->parked > 0) {
        pipeline_want_reread(p);
        return;
    }
    parking_try_row(p->parking, hold);
    pipeline_let_go(p);
}

/* It came again already, and is on its way. */
static bool row_is_here(const Pipeline *p, const Hold *hold)
{
    for (const Batch *batch = p->window->acker.oldest; batch != NULL; batch = batch->newer) {
        for (size_t i = 0; i < batch->count; i++) {
            if (!event_is_settled(batch->events[i]) && parking_is_row(hold, batch->events[i])) {
                return true;
            }
        }
    }
    return false;
}

static void row_looks(Pipeline *p, Hold *hold, uint64_t look)
{
    if (hold->row.trying) {
        bool gone = look == SOURCE_ROW_GONE;
        bool before = hold->row.gone; /* a fetch that waited for a lock has an older snapshot */
        hold->row.gone = gone;
        if (gone && before && !row_is_here(p, hold)) {
            row_mended(p, hold);
        }
        return;
    }
    bool changed = hold->row.look != 0 && hold->row.look != look;
    hold->row.look = look;
    if (changed) {
        pipeline_try_row(p, hold);
    }
}

void pipeline_row_looks(void *arg, EventRow row, uint64_t look)
{
    Pipeline *p = arg;
    for (Hold *hold = p->parking->holds, *next; hold != NULL; hold = next) {
        next = hold->next;
        if (hold->by_row && hold->row.in_row && hold->row.seq == row.seq &&
            hold->row.id == row.id) {
            row_looks(p, hold, look);
        }
    }
}

static bool row_is_looked_at(const Hold *hold)
{
    return hold->by_row && hold->row.in_row && !hold->over;
}

/* The rows whose turn it is: in their order, as many as are looked at at once. */
static size_t pipeline_choose_rows(Pipeline *p, Hold *ret_holds[SOURCE_LOOKS_MAX])
{
    size_t count = 0;
    size_t all = 0;
    for (Hold *hold = p->parking->holds; hold != NULL; hold = hold->next) {
        if (row_is_looked_at(hold) && all++ >= p->waiting->look_rows_from &&
            count < SOURCE_LOOKS_MAX) {
            ret_holds[count++] = hold;
        }
    }
    p->waiting->look_rows_from =
        p->waiting->look_rows_from + count < all ? p->waiting->look_rows_from + count : 0;
    return count;
}

static void pipeline_look_at_rows(Pipeline *p, int64_t now_us)
{
    Source *source = p->parts->source;
    if (now_us < p->waiting->look_rows_at_us) {
        return;
    }
    Hold *holds[SOURCE_LOOKS_MAX];
    EventRow rows[SOURCE_LOOKS_MAX];
    size_t count = pipeline_choose_rows(p, holds);
    for (size_t i = 0; i < count; i++) {
        rows[i] = (EventRow){.seq = holds[i]->row.seq, .id = holds[i]->row.id};
    }
    p->waiting->look_rows_at_us = now_us + LOOK_SECONDS * INT64_C(1000000);
    bool told = count > 0 && source->ops->look_at_rows != NULL &&
                source->ops->look_at_rows(source, rows, count);
    for (size_t i = 0; i < count; i++) {
        holds[i]->row.untold = !told;
    }
}

static int64_t row_try_us(const Hold *hold)
{
    unsigned tries = hold->row.tries < TRY_DOUBLINGS_MAX ? hold->row.tries : TRY_DOUBLINGS_MAX;
    int64_t later_s = TRY_SECONDS * ((INT64_C(1) << tries) - 1);
    if (hold->in_memory == 0 && later_s > TRY_MOST_SECONDS) {
        later_s = TRY_MOST_SECONDS;
    }
    return hold->row.try_us + later_s * 1000000 + (int64_t)hold->parked * TRY_ROW_US;
}

/* All that waited came again, and the event did not. Where a look can tell, it does. */
static bool row_is_gone(const Pipeline *p, const Hold *hold, int64_t now_us)
{
    bool by_time = !hold->row.in_row || hold->row.untold;
    int64_t seconds = p->window->acker.events == 0 ? TRIED_SECONDS : TRIED_MOST_SECONDS;
    return by_time && hold->row.trying && now_us >= hold->row.trying_us + seconds * 1000000;
}

void pipeline_watch_held_rows(Pipeline *p, int64_t now_us)
{
    if (p->parking->rows == 0 || !machine_works(p->machine)) {
        return;
    }
    pipeline_look_at_rows(p, now_us);
    for (Hold *hold = p->parking->holds, *next; hold != NULL; hold = next) {
        next = hold->next;
        if (!hold->by_row || hold->over) {
            continue;
        }
        if (row_is_gone(p, hold, now_us)) {
            row_mended(p, hold);
        } else if (!hold->row.trying && now_us >= row_try_us(hold)) {
            pipeline_try_row(p, hold);
        }
    }
}
