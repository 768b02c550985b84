/* What becomes of an event that is not simply sent. This file decides it, for every reason and at
 * every point of its way, and nothing else settles, parks, holds or sets aside.
 *
 * An event is settled (published, dropped, a dead letter), or it waits with its topic (parked in
 * its row, else held in memory), or it goes back to the cursor and is sent again. A row that cannot
 * be published as it is (a header list that is none, a record that its topic does not take, a dead
 * letter that cannot be stored) holds its topic: nothing of it passes, so order per key holds, and
 * the events of all other topics go on. It is parked like those behind it. What is to come again
 * afterwards is seen to in pipeline_wait.c. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "flow/pipeline_internal.h"

void pipeline_settle(Pipeline *p, Event *event, EventState settled)
{
    isolate_settled(p->isolate, event);
    batch_settle(event, settled);
    bool waits = settled == EVENT_PARKED && p->parts->settled != NULL;
    bool follows = event->seq >= p->follow_low && event->seq <= p->follow_high;
    if (waits || (settled != EVENT_PARKED && follows)) {
        p->parts->settled(p->parts->arg, p, event);
    }
}

void pipeline_done(Pipeline *p, const Event *event)
{
    if (held_rows_are(p->rows)) {
        Slice type = event_field(event, FIELD_AGGREGATE_TYPE);
        pipeline_bring(p, held_rows_done(p->rows, event, topics_held_type(p->parts->topics, type)));
    }
}

static void pipeline_fail(Pipeline *p, const Event *event, const Error *err)
{
    AUTO_ERROR fatal = error_of(err);
    fatal.class = ERROR_FATAL;
    pipeline_name_event(event, &fatal);
    pipeline_complain(p, &fatal, false);
    pipeline_input(p, INPUT_FATAL);
}

/* Dead letters. */

static const char NO_EVENT[] =
    "Find out who writes such messages, and stop everyone else: outboxd migrate --guard-messages. "
    "outboxd dead list shows the dead letter, which can only be discarded.";

static const char NO_ROW[] =
    "outboxd dead list shows the dead letter, with this place in the WAL. Fix the cause; then "
    "run outboxd dead requeue, which publishes the row as it is now, or change the row again.";

/* Whether the id can be typed as an argument. */
static bool aside_is_shown(Slice id)
{
    if (slice_is_null(id)) {
        return false;
    }
    for (size_t i = 0; i < id.length; i++) {
        if (!isalnum((unsigned char)id.data[i]) && strchr("._-", id.data[i]) == NULL) {
            return false;
        }
    }
    return id.length > 0 && id.length < 80 && id.data[0] != '-';
}

static void pipeline_say_aside(Pipeline *p, const Event *event, const Error *err)
{
    AUTO_ERROR named = {0};
    error_copy(&named, err);
    bool change = event->schema->field[FIELD_EVENT_ID] == SCHEMA_NONE;
    if (change) { /* nothing else says which it is */
        pipeline_name_event(event, &named);
    }
    LogField seq =
        event->seq != EVENT_NO_SEQ ? log_number("seq", event->seq) : log_text("seq", "none");
    Slice id = event_field(event, FIELD_EVENT_ID);
    char event_id[80];
    snprintf(event_id, sizeof(event_id), "%.*s",
             (int)utf8_cut(id.data, id.length, sizeof(event_id) - 1),
             id.data != NULL ? id.data : "");
    AUTO_TEXT hint = x_format("outboxd dead show %s prints all of it. Fix the cause, then "
                              "requeue the event by the number that this command shows.",
                              event_id);
    log_write(LOG_WARN, p->parts->config->name, CODE_EVENT_SET_ASIDE,
              LOG_FIELDS(seq, log_text("event_id", event_id),
                         log_text("reason", error_code_name(err->code)),
                         log_text("hint", err->code == CODE_MESSAGE_MALFORMED ? NO_EVENT
                                          : change                            ? NO_ROW
                                          : aside_is_shown(id)                ? hint
                                                                              : "")),
              "%s; writing the event to the dead-letter table", error_message(&named));
}

static void pipeline_set_aside(Pipeline *p, Event *event, const Record *record, const Error *err)
{
    isolate_found(p->isolate, event);
    bool again = held_rows_store(p->rows, event);
    window_aside(p->window, event);
    if (!again && log_limit_take(&p->lines->asides, clock_monotonic_us())) {
        pipeline_say_aside(p, event, err);
    }
    p->parts->letters->take(p->parts->letters, event, record, err);
}

/* With its topic. */

/* It may wait in its row, unsettled for good. */
static bool pipeline_may_park(const Pipeline *p, const Event *event)
{
    const Source *source = p->parts->source;
    return event->seq != EVENT_NO_SEQ && source->ops->may_park != NULL &&
           source->ops->may_park(source, event);
}

/* The event waits from now on, with the topic that holds it. */
static void pipeline_park(Pipeline *p, Event *event, Topic *topic, const Record *record)
{
    Hold *hold = topic->hold;
    if (event->origin == EVENT_OF_CLOCK) { /* another follows */
        event->topic = topic;
        pipeline_settle(p, event, EVENT_DROPPED);
        return;
    }
    pipeline_bring(p, held_rows_moved(p->rows, event, topic));
    if (hold->kind == HOLD_ASIDE) {
        pipeline_set_aside(p, event, record, &hold->reason);
        return;
    }
    bool brief = hold->kind == HOLD_ENCODER && !hold->told; /* for a moment, as far as we know */
    bool park = !brief && pipeline_may_park(p, event);
    event->topic = topic;
    parking_add(p->parking, hold, park);
    if (park) {
        pipeline_settle(p, event, EVENT_PARKED);
    } else {
        isolate_settled(p->isolate, event); /* whether it is bad is found when it is sent */
        event->state = EVENT_HELD;
    }
    if (isolate_active(p->isolate)) {
        pipeline_wake(p); /* the group may be complete with it, and nothing in flight */
    }
}

void pipeline_hold_topic(Pipeline *p, Event *event, const Record *record, const Error *reason)
{
    (void)parking_hold(p->parking, record->topic, reason);
    pipeline_park(p, event, record->topic, record);
    if (p->machine->state == MACHINE_STALLED && p->trouble->error.code == reason->code) {
        pipeline_input(p, INPUT_HEALED); /* it was the trouble of all, and is that of one topic */
    }
}

/* Whether the event must wait, or be set aside, because of its topic: then that is done. err: what
 * the router said of the topic. */
static bool pipeline_waits_for_topic(Pipeline *p, Event *event, const Record *record,
                                     const Error *err)
{
    Topic *topic = record->topic;
    if (parking_holds(topic)) {
        pipeline_park(p, event, topic, record);
        return true;
    }
    if (topic->beyond) {
        pipeline_hold_topic(p, event, record, err);
        return true;
    }
    return false;
}

/* The topic's events wait for the encoder from now on; this one is the first. */
static void pipeline_hold_for_encoder(Pipeline *p, Event *event, const Record *record,
                                      const Error *reason)
{
    (void)parking_hold_for_encoder(p->parking, record->topic, reason);
    pipeline_expect_encoder(p);
    pipeline_park(p, event, record->topic, record);
}

/* Behind, or as, a row that cannot be published. */

/* Which event, why, and what to do. */
static void row_reason(const Pipeline *p, const Event *event, const Error *err, Error *ret_reason)
{
    error_copy(ret_reason, err);
    pipeline_name_event(event, ret_reason);
    bool in_row = pipeline_may_park(p, event);
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

/* The event is refused, by us or by the destination (sent): its topic, or else its aggregate type,
 * waits from now on. */
static void pipeline_hold_row(Pipeline *p, Event *event, const Record *record, const Error *err,
                              bool sent)
{
    Topic *topic = record->topic != NULL
                       ? record->topic
                       : topics_of_type(p->parts->topics, event_field(event, FIELD_AGGREGATE_TYPE));
    isolate_found(p->isolate, event);
    if (!parking_holds(topic)) {
        AUTO_ERROR reason = {0};
        row_reason(p, event, err, &reason);
        HeldRow *row = parking_hold_row(p->parking, topic, event, &reason)->row;
        row->sent = sent;
        row->letter = err->code == CODE_DEAD_LETTER_REFUSED;
        row->try_us = clock_monotonic_us() + PARKING_TRY_SECONDS * INT64_C(1000000);
    }
    Hold *hold = topic->hold;
    bool own = parking_is_row(hold, event);
    size_t parked = hold->parked;
    pipeline_park(p, event, topic, record);
    if (own) {
        hold->row->in_row = hold->parked > parked;
    }
}

/* Whether the event must wait behind such a row; then that is done. */
static bool pipeline_waits_for_row(Pipeline *p, Event *event, const Record *record)
{
    if (!held_rows_are(p->rows)) {
        return false;
    }
    Topic *type = topics_held_type(p->parts->topics, event_field(event, FIELD_AGGREGATE_TYPE));
    Topic *topic = type != NULL && parking_holds(type) ? type : record->topic;
    if (topic == NULL || !parking_holds(topic) || topic->hold->kind != HOLD_ROW) {
        return false;
    }
    pipeline_park(p, event, topic, record);
    return true;
}

/* By the policies. */

/* Not of a message: any role may write one, and no row is there to be mended, so it holds nobody
 * up. */
static void pipeline_poison_message(Pipeline *p, Event *event, const Record *record,
                                    const Error *err)
{
    AUTO_ERROR placed = error_of(err);
    error_prefix(&placed, "message %llu of the transaction that commits at %X/%X",
                 (unsigned long long)event->ordinal, (unsigned)(event->commit_lsn >> 32),
                 (unsigned)event->commit_lsn);
    pipeline_set_aside(p, event, record, &placed);
}

void pipeline_poison(Pipeline *p, Event *event, const Record *record, const Error *err, bool sent)
{
    if (event->origin == EVENT_OF_MESSAGE && err->class == ERROR_POISON) {
        pipeline_poison_message(p, event, record, err);
    } else if (err->class == ERROR_FATAL) {
        pipeline_fail(p, event, err);
    } else if (p->parts->config->on_poison == ON_POISON_STOP) {
        pipeline_hold_row(p, event, record, err, sent);
    } else if (!pipeline_waits_for_row(p, event, record)) {
        pipeline_set_aside(p, event, record, err);
    }
}

static void pipeline_unrouted(Pipeline *p, Event *event, const Record *record, const Error *err)
{
    switch (p->parts->config->route.on_unrouted) {
    case ON_UNROUTED_STOP:
        pipeline_hold_row(p, event, record, err, false);
        break;
    case ON_UNROUTED_DROP:
        ++*p->parts->stats->dropped;
        pipeline_settle(p, event, EVENT_DROPPED);
        break;
    case ON_UNROUTED_DEAD_LETTER:
        pipeline_set_aside(p, event, record, err);
        break;
    }
}

bool pipeline_stays(Pipeline *p, Event *event, const Record *record, Made made, const Error *err)
{
    if (pipeline_waits_for_row(p, event, record)) {
        return true;
    }
    switch (made) {
    case MADE_UNROUTED:
        pipeline_unrouted(p, event, record, err);
        return true;
    case MADE_BAD:
        pipeline_poison(p, event, record, err, false);
        return true;
    case MADE_LATER:
        if (!pipeline_waits_for_topic(p, event, record, err)) {
            pipeline_hold_for_encoder(p, event, record, err);
        }
        return true;
    case MADE_WELL:
        break;
    }
    if (pipeline_waits_for_topic(p, event, record, err)) {
        return true;
    }
    if (record->topic->hold != NULL) {
        parking_encoded(p->parking, record->topic);
    }
    return false;
}

/* By what was told afterwards. */

void pipeline_request_refused(Pipeline *p, Event *event, const SinkReport *report)
{
    bool proven = pipeline_is_proven_bad(p, event, report);
    if (proven) {
        Record record;
        AUTO_ERROR ignored = {0};
        (void)pipeline_make_record(p, event, &record, &ignored);
        pipeline_poison(p, event, &record, report->error, true);
    }
    if (!proven || p->window->in_flight > 0) {
        pipeline_input(p, INPUT_RESEND);
    }
}

static void pipeline_letter_stored(Pipeline *p, Event *event, ErrorCode reason)
{
    pipeline_settle(p, event, EVENT_ASIDE);
    ++*p->parts->stats->dead_lettered[reason_of(reason)];
    pipeline_done(p, event);
}

/* It holds its topic until it can be stored. */
static void pipeline_letter_refused(Pipeline *p, Event *event, ErrorCode reason, const Error *err)
{
    if (!machine_goes(p->machine)) {
        return; /* it stays unpublished, or is set aside again */
    }
    Record record;
    AUTO_ERROR why = {0};
    (void)pipeline_make_record(p, event, &record, &why);
    AUTO_ERROR refused = {0};
    error_set(&refused, CODE_DEAD_LETTER_REFUSED,
              "cannot be published (%s), and its dead letter cannot be stored: %s",
              reason_name(reason_of(reason)), error_message(err));
    error_hint(&refused, "%s",
               error_own_hint(err)[0] != '\0'
                   ? error_own_hint(err)
                   : "Fix what PostgreSQL names: a missing privilege on the dead-letter table, a "
                     "full disk, or your own constraint or trigger.");
    held_rows_not_stored(p->rows, event);
    pipeline_hold_row(p, event, &record, &refused, false);
}

void pipeline_letter_settled(void *arg, Event *event, ErrorCode reason, const Error *err)
{
    Pipeline *p = arg;
    if (!window_aside_over(p->window, event)) {
        return; /* a rewind took it back; the row stays unpublished and is looked at again */
    }
    pipeline_wake(p);
    if (err == NULL) {
        pipeline_letter_stored(p, event, reason);
    } else {
        pipeline_letter_refused(p, event, reason, err);
    }
}
