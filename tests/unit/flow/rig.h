/* rig: a pipeline between a source and a sink that the test plays by hand, on a real event loop.
 *
 * The source remembers what came back through ack(); the sink holds what was sent until the test
 * settles it. One rig for each test process. */
#pragma once

#include <criterion/criterion.h>
#include <event2/event.h>

#include "flow/pipeline_internal.h"
#include "stub/given.h"

enum { RIG_EVENTS_MAX = 4096 };

typedef struct RigSource {
    Source source; /* first */
    Letters letters;
    size_t starts;
    size_t resumes;
    int64_t last_delay_ms;
    size_t wakes;
    uint64_t verified; /* the last WAL end */
    size_t drains;
    size_t checks; /* calls of may_publish */
    bool may_publish;
    size_t unmarked;
    bool may_park;
    bool stands;                    /* until what is out comes back */
    int64_t parked[RIG_EVENTS_MAX]; /* seqs that came back parked */
    size_t parked_count;
    size_t rereads;
    EventRow looked_at[SOURCE_LOOKS_MAX]; /* the last look_at_rows */
    size_t looked_at_count;
    size_t looks;
    bool untold;    /* look_at_rows cannot tell */
    double backlog; /* events that source.backlog tells */
    int64_t next_position;
    size_t acked_batches;
    int64_t last_acked;
    int64_t published[RIG_EVENTS_MAX]; /* seqs that came back settled, in order */
    size_t published_count;
    int64_t unsettled[RIG_EVENTS_MAX]; /* seqs that came back unsettled */
    size_t unsettled_count;
    Event *aside[RIG_EVENTS_MAX]; /* handed to set_aside, not yet done */
    size_t aside_count;
    Record aside_record; /* of the last one */
    Error aside_reason;
} RigSource;

typedef struct RigSink {
    Sink sink; /* first */
    size_t opens;
    size_t flushes;
    size_t purges;
    size_t releases;
    size_t holds;
    bool held_back;    /* by hold() */
    bool answers;      /* its destination does */
    uint32_t requests; /* refused */
    size_t reopens;
    bool purge_at_once; /* else nothing has "not left yet": purge() takes nothing back */
    bool settle_at_once;
    SendResult next; /* of the next send only; then SEND_OK again */
    Error next_error;
    int64_t poison_seq;  /* SEND_POISON for it */
    const char *missing; /* SEND_HELD for this topic; NULL: none */
    Event *held[RIG_EVENTS_MAX];
    size_t held_count;
    int64_t sent[RIG_EVENTS_MAX * 4]; /* every accepted send, in order */
    size_t sent_count;
    char topic[256]; /* of the last send */
    size_t attempts; /* sends, accepted or not */
} RigSink;

typedef struct RigEncoder {
    Encoder encoder;
    int64_t unready[16]; /* seqs that it is not ready for */
    size_t unready_count;
    size_t asked; /* calls of encode */
} RigEncoder;

typedef struct Rig {
    struct event_base *base;
    Metrics *metrics;
    Stats stats;
    PipelineConfig config;
    Pipeline *pipeline;
    RigSource source;
    RigSink sink;
    RigEncoder encoder;
    Letters *letters; /* NULL: those of the source */
    bool hold;        /* nothing moves before pipeline_pause() */
    size_t ended;
    size_t changes;
    size_t doubts;
    size_t boundaries;
    const char *next_topic; /* of all events from the next boundary on; NULL: as before */
    bool in_call;           /* of the pipeline into source or sink */
    struct {
        size_t sent;
        size_t published;
        size_t unsettled;
        size_t parked;
    } seen; /* by the last assertion */
} Rig;

extern Rig rig;
extern const SourceOps RIG_SOURCE;
extern const Letters RIG_LETTERS;
extern const SinkOps RIG_SINK;

/** What a sink reports with this error, which must outlive it. */
SinkReport rig_report(const Error *err);

/** outboxd_events_failed_total of that reason, all topics that the tests use. */
uint64_t rig_failed(Reason reason);

/** Before rig_begin: the defaults of tests, to be changed. */
void rig_prepare(void);
/** Makes the pipeline and starts it. */
void rig_begin(void);
/** As begin, and the source is active. */
void rig_run(void);
void rig_end(void);

/** Turns the loop until nothing is active; never waits. */
void rig_turn(void);
/** Turns the loop until *flag reaches least, with a deadline. */
void rig_wait(const size_t *count, size_t least);

/** Hands a batch over and turns the loop: "1a 2b!" is seq 1 of key a and seq 2 of key b, which the
 * encoder refuses; "3c?" has an event type that no route knows; "4d+" goes to topic other.events.
 */
void rig_batch(const char *rows);

/** The sink acknowledges the event (err == NULL) or reports err; turns the loop. */
void rig_settle(int64_t seq, const Error *err);
void rig_settle_all(void);
/** The broker accepts what it got in one request: "1 2 3"; then the loop turns. */
void rig_accept(const char *seqs);
/** The broker refuses one request with these events: "1 2 3". */
void rig_refuse(const char *seqs);
/** The encoder is not ready for these events: "1 3"; "": for all others it is. */
void rig_unready(const char *seqs);
/** It says that something may be there now. */
void rig_encoder_ready(void);
void rig_locked(void);
void rig_active(void);
/** Locked, then active. */
void rig_take_over(void);
void rig_standby(void);
void rig_drained(void);
/** The pipeline is asked to stop. */
void rig_stop(void);
/** Whether the source may read more now. */
bool rig_has_room(void);
void rig_source_lost(ErrorClass class);
void rig_source_lost_by(ErrorClass class, ErrorCode code);
void rig_sink_lost(ErrorClass class);
void rig_reopened(void);
void rig_aside_done(void);
/** The server refuses to store the first of those. */
void rig_aside_refused(void);
void rig_trouble(ErrorClass class);
void rig_healed(void);
void rig_ready(void);
/** The sink says so of a topic that the pipeline has used. */
void rig_missing(const char *topic);
void rig_denied(const char *topic);
void rig_found(const char *topic);

Error rig_error(ErrorClass class, ErrorCode code);

/** Asserts the sends since the last call, as "1 2 3". */
void rig_assert_sent(const char *expected);
/** Asserts what came back settled since the last call. */
void rig_assert_acked(const char *expected);
/** Asserts what came back unsettled since the last call. */
void rig_assert_returned(const char *expected);
/** Asserts what came back parked since the last call or reread. */
void rig_assert_parked(const char *expected);
/** What waits with its topic. */
PipelineWaiting rig_waiting(void);
void rig_assert_state(PipelineState state);
/** Asserts the code of what is wrong now; "": nothing. */
void rig_assert_error(ErrorCode code);
