/* Holds are few (as many as topics), events are many: an event costs a count. */
#include "flow/parking.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/memory.h"
#include "flow/encoder.h"
#include "flow/source.h"

enum { STILL_WAITING_SECONDS = 60 };

/* The topic's trouble is another one from now on. */
static void parking_change(Parking *parking, Hold *hold, HoldKind kind, const HeldRow *row)
{
    parking->trying -= hold_is_tried(hold);
    parking->rows -= hold->kind == HOLD_ROW;
    parking->rows += kind == HOLD_ROW;
    hold->kind = kind;
    if (row == NULL) {
        free(hold->row);
        hold->row = NULL;
        return;
    }
    if (hold->row == NULL) {
        hold->row = x_malloc(sizeof(*hold->row));
    }
    *hold->row = *row;
}

static void parking_say(Parking *parking, Hold *hold)
{
    hold->told = true;
    if (parking->metrics != NULL && hold->gauge == NULL) {
        hold->gauge = metrics_gauge(parking->metrics, "outboxd_topic_waiting_events",
                                    "Events that wait for their topic.", "pipeline",
                                    parking->pipeline, "topic", hold->topic->name, NULL);
    }
    /* One line tells of many topics by their stand-in: it is no repetition of theirs. */
    if (hold->topic->beyond || log_limit_take(&parking->lines, clock_monotonic_us())) {
        log_error(LOG_WARN, parking->pipeline, &hold->reason,
                  hold->kind == HOLD_ROW ? "the events of its topic wait, all others are published"
                                         : "its events wait, all others are published");
    }
}

static Hold *parking_begin(Parking *parking, Topic *topic, const Error *reason)
{
    Hold *hold = x_calloc(1, sizeof(*hold));
    hold->topic = topic;
    error_copy(&hold->reason, reason);
    hold->since = clock_moment();
    Hold **end = &parking->holds;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = hold;
    topic->hold = hold;
    if (parking->said_us == 0) {
        parking->said_us = clock_monotonic_us();
    }
    return hold;
}

Hold *parking_hold(Parking *parking, Topic *topic, const Error *reason)
{
    Hold *hold = topic->hold;
    if (hold != NULL && parking_holds(topic)) {
        return hold;
    }
    if (hold != NULL) {
        parking_change(parking, hold, HOLD_TOPIC, NULL);
        error_copy(&hold->reason, reason);
        hold->missing_us = 0;
    } else {
        hold = parking_begin(parking, topic, reason);
    }
    parking_say(parking, hold);
    return hold;
}

/* A message has no number: its place in the log tells it from others. */
static uint64_t row_id(const Event *event)
{
    uint64_t place =
        event->seq == EVENT_NO_SEQ ? event->commit_lsn ^ event->ordinal << 48 : UINT64_C(0);
    return event_id_hash(event_field(event, FIELD_EVENT_ID)) ^ place;
}

bool parking_is_row(const Hold *hold, const Event *event)
{
    return hold->kind == HOLD_ROW && hold->row->seq == event->seq && hold->row->id == row_id(event);
}

Hold *parking_hold_row(Parking *parking, Topic *topic, const Event *event, const Error *reason)
{
    Hold *hold = topic->hold;
    if (hold != NULL && parking_holds(topic)) {
        return hold;
    }
    bool again = hold != NULL && parking_is_row(hold, event) && hold->reason.code == reason->code;
    HeldRow row = again ? *hold->row : (HeldRow){.seq = event->seq, .id = row_id(event)};
    row.tries += again;
    row.trying = row.storing = false;
    if (hold == NULL) {
        hold = parking_begin(parking, topic, reason);
    }
    parking_change(parking, hold, HOLD_ROW, &row);
    error_copy(&hold->reason, reason);
    if (!again) {
        parking_say(parking, hold);
    }
    return hold;
}

void parking_try_row(Parking *parking, Hold *hold)
{
    HeldRow *row = hold->row;
    parking->trying += !row->trying;
    row->trying = true;
    row->storing = false;
    row->gone = row->look == SOURCE_ROW_GONE; /* what comes is read after that look */
    row->trying_us = clock_monotonic_us();
}

Hold *parking_hold_for_encoder(Parking *parking, Topic *topic, const Error *reason)
{
    Hold *hold = topic->hold;
    assert(!parking_holds(topic));
    if (hold == NULL) {
        hold = parking_begin(parking, topic, reason);
        hold->kind = HOLD_ENCODER;
    } else if (hold->kind != HOLD_ENCODER) { /* else it was asked again, in vain */
        parking_change(parking, hold, HOLD_ENCODER, NULL);
        hold->since = clock_moment();
        hold->told = false;
    }
    error_copy(&hold->reason, reason);
    return hold;
}

bool parking_tell_late(Parking *parking, int64_t now_us)
{
    bool told = false;
    for (Hold *hold = parking->holds; hold != NULL; hold = hold->next) {
        int64_t waited_us = now_us - hold->since.monotonic_us;
        if (hold->kind == HOLD_ENCODER && !hold->told && hold_events(hold) > 0 &&
            waited_us >= ENCODER_LATE_SECONDS * INT64_C(1000000)) {
            parking_say(parking, hold);
            told = true;
        }
    }
    return told;
}

static void parking_end(Parking *parking, Hold *hold)
{
    Hold **at = &parking->holds;
    while (*at != hold) {
        at = &(*at)->next;
    }
    *at = hold->next;
    hold->topic->hold = NULL;
    parking_change(parking, hold, HOLD_TOPIC, NULL);
    if (hold->gauge != NULL) {
        metrics_remove(parking->metrics, "outboxd_topic_waiting_events", "pipeline",
                       parking->pipeline, "topic", hold->topic->name, NULL);
    }
    error_clear(&hold->reason);
    free(hold);
    if (parking->holds == NULL) {
        parking->said_us = 0;
    }
}

void parking_add(Parking *parking, Hold *hold, bool parked)
{
    parking->topics += hold_events(hold) == 0;
    if (parked) {
        hold->parked++;
        parking->parked++;
    } else {
        hold->in_memory++;
        parking->in_memory++;
    }
}

void parking_remove(Parking *parking, Hold *hold)
{
    if (hold == NULL || hold->parked == 0) {
        return;
    }
    hold->parked--;
    parking->parked--;
    parking->topics -= hold_events(hold) == 0;
}

bool parking_confirm(Parking *parking, Topic *topic, const Error *reason, int64_t now_us)
{
    Hold *hold = topic->hold;
    if (hold == NULL || hold->over || hold->kind != HOLD_TOPIC) {
        return false;
    }
    error_copy(&hold->reason, reason);
    if (hold->missing_us == 0) {
        hold->missing_us = now_us;
    }
    bool sure = now_us - hold->missing_us >= PARKING_MISSING_SECONDS * INT64_C(1000000) ||
                FAILPOINT_FAILS("topic_missing", NULL);
    if (!sure || !parking->dead_letter) {
        return false;
    }
    hold->kind = HOLD_ASIDE;
    log_error(LOG_WARN, parking->pipeline, reason,
              "from now on its events become dead letters, by on_missing_topic");
    return hold_events(hold) > 0;
}

void parking_doubt(Parking *parking)
{
    for (Hold *hold = parking->holds; hold != NULL; hold = hold->next) {
        hold->missing_us = 0;
    }
}

static void parking_say_back(const Parking *parking, const Hold *hold)
{
    if (hold->kind == HOLD_ROW) {
        log_write(LOG_INFO, parking->pipeline, CODE_HELD_ROW_MENDED,
                  LOG_FIELDS(log_text("topic", hold->topic->name),
                             hold->row->seq != EVENT_NO_SEQ ? log_number("seq", hold->row->seq)
                                                            : log_text("seq", "none"),
                             log_text("was", error_code_name(hold->reason.code)),
                             log_number("after_ms", clock_since_us(&hold->since) / 1000)),
                  "the held row was fixed or deleted: the events behind it follow");
        return;
    }
    log_write(LOG_INFO, parking->pipeline, CODE_TOPIC_READY,
              LOG_FIELDS(log_text("topic", hold->topic->name),
                         log_number("events", (long long)hold_events(hold)),
                         log_number("after_ms", clock_since_us(&hold->since) / 1000)),
              "the topic can be written now: its events follow");
}

bool parking_release(Parking *parking, Topic *topic)
{
    Hold *hold = topic->hold;
    if (hold == NULL || hold->over) {
        return false;
    }
    if (hold_events(hold) > 0) {
        parking_say_back(parking, hold);
    }
    hold->over = true;
    if (hold->parked > 0) {
        return true;
    }
    parking->in_memory -= hold->in_memory;
    parking->topics -= hold->in_memory > 0;
    parking_end(parking, hold);
    return false;
}

void parking_encoded(Parking *parking, Topic *topic)
{
    Hold *hold = topic->hold;
    if (hold == NULL || hold->kind != HOLD_ENCODER) {
        return;
    }
    if (hold->told) {
        parking_say_back(parking, hold);
    }
    parking_end(parking, hold);
}

void parking_end_row(Parking *parking, Hold *hold)
{
    parking_say_back(parking, hold);
    parking->in_memory -= hold->in_memory;
    parking->topics -= hold_events(hold) > 0;
    parking->parked -= hold->parked;
    parking_end(parking, hold);
}

void parking_clear_memory(Parking *parking)
{
    for (Hold *hold = parking->holds; hold != NULL; hold = hold->next) {
        parking->topics -= hold->in_memory > 0 && hold->parked == 0;
        hold->in_memory = 0;
    }
    parking->in_memory = 0;
}

void parking_rewound(Parking *parking)
{
    for (Hold *hold = parking->holds, *next; hold != NULL; hold = next) {
        next = hold->next;
        hold->parked = 0;
        if (hold->over) {
            parking->in_memory -= hold->in_memory;
            parking_end(parking, hold);
        } else if (hold->kind == HOLD_ROW) {
            parking_try_row(parking, hold);
        }
    }
    parking->parked = 0;
    parking->topics = 0;
    for (const Hold *hold = parking->holds; hold != NULL; hold = hold->next) {
        parking->topics += hold->in_memory > 0;
    }
}

bool parking_needs(const Topic *topic)
{
    return topic->hold != NULL && (topic->hold->kind == HOLD_ROW || hold_events(topic->hold) > 0);
}

void parking_forget(Parking *parking, Topic *topic)
{
    if (topic->hold != NULL) {
        parking_end(parking, topic->hold);
    }
}

void parking_clear(Parking *parking)
{
    while (parking->holds != NULL) {
        parking_end(parking, parking->holds);
    }
    parking->topics = 0;
    parking->parked = 0;
    parking->in_memory = 0;
}

const Hold *parking_first(const Parking *parking)
{
    for (const Hold *hold = parking->holds; hold != NULL; hold = hold->next) {
        if (hold->told && (hold_events(hold) > 0 || hold->kind == HOLD_ROW)) {
            return hold;
        }
    }
    return NULL;
}

void parking_tick(Parking *parking, int64_t now_us)
{
    (void)log_limit_due(&parking->lines, now_us, false);
    const Hold *first = parking_first(parking);
    if (first == NULL || now_us - parking->said_us < STILL_WAITING_SECONDS * INT64_C(1000000)) {
        return;
    }
    parking->said_us = now_us;
    log_write(LOG_WARN, parking->pipeline, first->reason.code,
              LOG_FIELDS(log_text("topic", first->topic->name),
                         log_number("topics", (long long)parking->topics),
                         log_number("events", (long long)(parking->parked + parking->in_memory)),
                         log_number("for_s", clock_since_us(&first->since) / 1000000)),
              "still waiting: %s", error_message(&first->reason));
}

void parking_collect(const Parking *parking)
{
    for (const Hold *hold = parking->holds; hold != NULL; hold = hold->next) {
        if (hold->gauge != NULL) {
            *hold->gauge = (double)hold_events(hold);
        }
    }
}
