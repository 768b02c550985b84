/* The sink of the rig: it holds what was sent until the test settles it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rig.h"

static void sink_open(Sink *sink)
{
    ((RigSink *)sink)->opens++;
}

static SendResult sink_send(Sink *sink, const Record *record, Event *event, Error *err)
{
    RigSink *s = (RigSink *)sink;
    SendResult result = s->next;
    s->attempts++;
    s->next = SEND_OK;
    if (event->seq == s->poison_seq) {
        error_set(err, CODE_RECORD_TOO_LARGE, "too large");
        return SEND_POISON;
    }
    if (s->missing != NULL && strcmp(record->topic->name, s->missing) == 0) {
        error_set(err, CODE_KAFKA_TOPIC_UNKNOWN, "test: KAFKA_TOPIC_UNKNOWN");
        return SEND_HELD;
    }
    if (result != SEND_OK) {
        error_copy(err, &s->next_error);
        return result;
    }
    snprintf(s->topic, sizeof(s->topic), "%s", record->topic->name);
    s->sent[s->sent_count++] = event->seq;
    if (s->settle_at_once) {
        s->sink.events.settled(s->sink.events.arg, event, NULL);
    } else {
        s->held[s->held_count++] = event;
    }
    return SEND_OK;
}

static void sink_flush(Sink *sink)
{
    ((RigSink *)sink)->flushes++;
}

SinkReport rig_report(const Error *err)
{
    SinkVerdict verdict = err->code == CODE_SINK_PURGED                ? SINK_TOOK_BACK
                          : err->code == CODE_KAFKA_TOPIC_DENIED       ? SINK_DENIES_TOPIC
                          : err->code == CODE_RECORD_TIMESTAMP_REFUSED ? SINK_REFUSED_TIME
                          : err->class == ERROR_POISON                 ? SINK_REFUSED
                                                                       : SINK_FAILED;
    return (SinkReport){.verdict = verdict, .error = err};
}

static void sink_purge(Sink *sink)
{
    RigSink *s = (RigSink *)sink;
    s->purges++;
    AUTO_ERROR err = rig_error(ERROR_RETRY, CODE_SINK_PURGED);
    SinkReport purged = rig_report(&err);
    while (s->purge_at_once && s->held_count > 0) {
        Event *event = s->held[--s->held_count];
        s->sink.events.settled(s->sink.events.arg, event, &purged);
    }
}

static void sink_release(Sink *sink)
{
    RigSink *s = (RigSink *)sink;
    cr_assert_eq(s->held_count, 0, "something is in it");
    s->releases++;
}

static void sink_hold(Sink *sink, bool hold)
{
    RigSink *s = (RigSink *)sink;
    s->holds += hold;
    s->held_back = hold;
}

static void sink_reopen(Sink *sink)
{
    ((RigSink *)sink)->reopens++;
}

static void sink_status(const Sink *sink, json_t *json)
{
    (void)sink;
    (void)json;
}

static void sink_free(Sink *sink)
{
    (void)sink;
}

static bool sink_connected(const Sink *sink)
{
    return ((const RigSink *)sink)->answers;
}

static void sink_silent(const Sink *sink, int seconds, Error *err)
{
    (void)sink;
    error_set(err, CODE_KAFKA_NO_ACKNOWLEDGEMENT, "no acknowledgement from Kafka for %d s",
              seconds);
    (void)error_advise(err);
}

const SinkOps RIG_SINK = {
    .answers = sink_connected,
    .silent = sink_silent,
    .open = sink_open,
    .send = sink_send,
    .flush = sink_flush,
    .purge = sink_purge,
    .release = sink_release,
    .hold = sink_hold,
    .reopen = sink_reopen,
    .status = sink_status,
    .free = sink_free,
};

void rig_settle(int64_t seq, const Error *err)
{
    RigSink *s = &rig.sink;
    for (size_t i = 0; i < s->held_count; i++) {
        if (s->held[i]->seq == seq) {
            Event *event = s->held[i];
            memmove(s->held + i, s->held + i + 1, (s->held_count - i - 1) * sizeof(Event *));
            s->held_count--;
            SinkReport report = err != NULL ? rig_report(err) : (SinkReport){0};
            s->sink.events.settled(s->sink.events.arg, event, err != NULL ? &report : NULL);
            rig_turn();
            return;
        }
    }
    cr_assert_fail("the sink does not hold seq %lld", (long long)seq);
}

void rig_settle_all(void)
{
    while (rig.sink.held_count > 0) {
        rig_settle(rig.sink.held[0]->seq, NULL);
    }
}

static Event *rig_take_held(int64_t seq)
{
    RigSink *s = &rig.sink;
    for (size_t i = 0; i < s->held_count; i++) {
        Event *event = s->held[i];
        if (event->seq == seq) {
            s->held_count--;
            memmove(s->held + i, s->held + i + 1, (s->held_count - i) * sizeof(Event *));
            return event;
        }
    }
    cr_assert_fail("the sink does not hold seq %lld", (long long)seq);
    return NULL;
}

static void rig_answer(const char *seqs, const Error *err)
{
    Event *events[RIG_EVENTS_MAX];
    uint32_t count = 0;
    char *end = NULL;
    for (const char *at = seqs; *at != '\0'; at = end) {
        events[count++] = rig_take_held(strtoll(at, &end, 10));
    }
    rig.sink.requests += err != NULL;
    SinkReport report = err != NULL ? rig_report(err) : (SinkReport){0};
    report.request = rig.sink.requests;
    report.request_events = count;
    for (size_t i = 0; i < count; i++) {
        rig.sink.sink.events.settled(rig.sink.sink.events.arg, events[i],
                                     err != NULL ? &report : NULL);
    }
    rig_turn();
}

void rig_accept(const char *seqs)
{
    rig_answer(seqs, NULL);
}

void rig_refuse(const char *seqs)
{
    AUTO_ERROR err = rig_error(ERROR_POISON, CODE_RECORD_REFUSED);
    rig_answer(seqs, &err);
}

void rig_sink_lost(ErrorClass class)
{
    AUTO_ERROR err = rig_error(class, CODE_KAFKA_PRODUCER_FATAL);
    rig.sink.held_count = 0;
    rig.sink.sink.events.lost(rig.sink.sink.events.arg, &err);
    rig_turn();
}

void rig_reopened(void)
{
    rig.sink.held_count = 0;
    rig.sink.sink.events.reopened(rig.sink.sink.events.arg);
    rig_turn();
}

void rig_trouble(ErrorClass class)
{
    AUTO_ERROR err = rig_error(class, CODE_KAFKA_UNREACHABLE);
    rig.sink.sink.events.trouble(rig.sink.sink.events.arg, &err);
    rig_turn();
}

void rig_healed(void)
{
    rig.sink.sink.events.healed(rig.sink.sink.events.arg);
    rig_turn();
}

void rig_ready(void)
{
    rig.sink.sink.events.ready(rig.sink.sink.events.arg);
    rig_turn();
}

static Topic *rig_topic(const char *name)
{
    Topic *topic = NULL;
    Topics *topics = rig.pipeline->parts->topics;
    cr_assert_eq(topics_get(topics, slice_of(name), &topic, NULL), OK);
    return topic;
}

void rig_missing(const char *topic)
{
    AUTO_ERROR err = rig_error(ERROR_RETRY, CODE_KAFKA_TOPIC_UNKNOWN);
    rig.sink.sink.events.missing(rig.sink.sink.events.arg, rig_topic(topic), TOPIC_ABSENT, &err);
    rig_turn();
}

void rig_denied(const char *topic)
{
    AUTO_ERROR err = rig_error(ERROR_RETRY, CODE_KAFKA_TOPIC_DENIED);
    rig.sink.sink.events.missing(rig.sink.sink.events.arg, rig_topic(topic), TOPIC_DENIED, &err);
    rig_turn();
}

void rig_found(const char *topic)
{
    rig.sink.sink.events.found(rig.sink.sink.events.arg, rig_topic(topic));
    rig_turn();
}
