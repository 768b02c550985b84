/* sink: where records go. One for each pipeline; all calls on the loop thread. */
#pragma once

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/text.h"
#include "base/worker.h"
#include "config/config.h"
#include "flow/event.h"
#include "flow/record.h"
#include "flow/stats.h"

typedef struct Sink Sink;

typedef enum SendResult {
    SEND_OK,     /* the sink holds the event; `settled` will follow */
    SEND_FULL,   /* queue is full; `ready` will follow */
    SEND_WAIT,   /* destination is not usable now; `trouble` says why, `ready` will follow */
    SEND_POISON, /* this record can never be accepted; *err says why */
    SEND_HELD,   /* its topic is not there, or not for us: *err says why; `found` may follow */
} SendResult;

/* Called by the sink on the loop thread; `settled` may be called from inside send(). */
typedef struct SinkEvents {
    void *arg;
    /** One for each sent event. err == NULL: the broker acknowledged. RETRY: not accepted now
     * (err->code SINK_PURGED: taken back by purge()). POISON: a request that held it was refused:
     * event->request and request_events say which; what is behind it must not pass it.
     */
    void (*settled)(void *arg, Event *event, const Error *err);
    /** After SEND_FULL or SEND_WAIT: try again. */
    void (*ready)(void *arg);
    /** The brokers say (again) that the topic is not there, or not for us: *err says which. */
    void (*missing)(void *arg, Topic *topic, const Error *err);
    /** The topic of which `missing`, or SEND_HELD, told can be written now; or it takes more than
     * it did when a record was refused (SEND_POISON). */
    void (*found)(void *arg, Topic *topic);
    /** Something outside is wrong; the sink keeps trying. Called at most once per state change. */
    void (*trouble)(void *arg, const Error *err);
    /** The trouble is over as far as the sink can tell. */
    void (*healed)(void *arg);
    /** The producer is lost: nothing more will settle. The pipeline calls reopen(). FATAL: give up.
     */
    void (*lost)(void *arg, const Error *err);
    /** reopen() or close() is complete: no memory of earlier sends is referenced any more. */
    void (*reopened)(void *arg);
} SinkEvents;

typedef struct SinkOps {
    /** The pipeline became the publisher: connect. Called again after every take-over; cheap then.
     */
    void (*open)(Sink *sink);
    SendResult (*send)(Sink *sink, const Record *record, Event *event, Error *err);
    /** End of a run of sends: flush buffers if the sink has any. */
    void (*flush)(Sink *sink);
    /** Takes back what has not left yet; each such event settles with SINK_PURGED. Until the next
     * send nothing leaves, not even as a retry. */
    void (*purge)(Sink *sink);
    /** Nothing leaves any more, not even as a retry, and nothing is given up (true); goes on, the
     * same records in the same order (false). NULL: the sink keeps nothing. */
    void (*hold)(Sink *sink, bool hold);
    /** Throws the producer away and makes a new one, then `reopened`. Sent events do not settle. */
    void (*reopen)(Sink *sink);
    /** The topic is about to be freed; no event of it is in the sink. */
    void (*forget)(Sink *sink, Topic *topic);
    /** Appends the member "kafka" (or none) to the status object, with a leading comma. */
    void (*status)(const Sink *sink, Text *json);
    void (*free)(Sink *sink);
} SinkOps;

struct Sink {
    const SinkOps *ops;
    SinkEvents events;
};

/* What a sink is made of. All of it must outlive the sink. */
typedef struct SinkOptions {
    struct event_base *base;
    Worker *worker;
    const Config *config;
    const PipelineConfig *pipeline;
    Stats *stats;
} SinkOptions;
