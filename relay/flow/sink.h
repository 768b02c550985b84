/* sink: where records go. One for each pipeline; all calls on the loop thread.
 *
 * What a sink must keep, so that nothing is lost and no key loses its order. The pipeline relies on
 * each of these, and on nothing else, of whatever it writes to.
 *
 *  1. `settled` without a report says that the record is as safe as this sink makes anything: on
 * all replicas in sync, or on the disk. A sink that stores nothing says so in the help of the
 * option that names it. Nothing is settled because it was taken, queued or written without being
 *     flushed.
 *  2. Each record that send() took settles exactly once, or the sink says `lost` and is reopened;
 *     then none of the earlier ones settles any more. An unknown outcome does not settle.
 *  3. Records of one topic and key are stored in the order of their sends. Reports may come in any
 *     order; the pipeline acknowledges no further than the first that is missing.
 *  4. A record that settles with a report has stopped what was sent after it: nothing behind it in
 *     the same topic and key is stored before the pipeline sends again. A sink that cannot stop in
 *     time numbers the refused requests (SinkReport), and the pipeline takes them apart by halves
 *     (flow/isolate.h) and counts what was overtaken. A sink whose records stand or fall each by
 *     itself leaves the numbers at 0.
 *  5. A trouble of the destination (no broker, a full disk) is no error of a record: the sink keeps
 *     what it holds, says `trouble`, tries again at growing intervals, and says `healed` once
 *     something is stored again. It never drops a record, and never gives one back unasked.
 *  6. After purge() nothing leaves before the next send: what had not left settles as
 *     SINK_TOOK_BACK, what may have left settles by its own report. After hold(true) nothing leaves
 *     and nothing is given up, until hold(false). By these a relay that lost the right to publish
 *     stays silent; a sink without hold() is purged instead.
 *  7. What the destination can never take (a topic's name, a record's size) is said in
 *     refuse_topic() or by SEND_POISON, before anything leaves. Such rules belong to the sink; the
 *     engine knows none of them.
 *  8. What the pipeline must do about a record that is not stored is the report's verdict, and how
 *     a topic fails is a TopicFault. No decision reads the code of an error, which is for people.
 *
 * Key, value and headers of a record are borrowed until it settles (flow/record.h).
 *
 * Room for transactions (delivery = "exactly-once"): a sink whose destination can store records
 * and a position as one will have three more operations: begin(), of a group of batches;
 * commit(position), after which the records of the group and the position of the source count
 * together or not at all, reported once for the group; and abort(), after which none of them
 * counts and the pipeline sends them again in a new group. Between begin and commit `settled` means
 * stored, not visible. They will be NULL for sinks without transactions. */
#pragma once

#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
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

/* Why a record is not stored. */
typedef enum SinkVerdict {
    SINK_TOOK_BACK,    /* by purge() */
    SINK_FAILED,       /* not accepted now: a trouble of all */
    SINK_DENIES_TOPIC, /* not accepted now: a trouble of its topic alone, sends to which say
                          SEND_HELD from now on */
    SINK_REFUSED,      /* its request was, for what a record in it is */
    SINK_REFUSED_TIME, /* the same, for the time of a record alone */
} SinkVerdict;

typedef struct SinkReport {
    SinkVerdict verdict;
    const Error *error;
    uint32_t request;        /* refused: which one it was, counted by the sink; 0: it had none */
    uint32_t request_events; /* and how many events were in it */
} SinkReport;

typedef enum TopicFault { TOPIC_ABSENT, TOPIC_DENIED } TopicFault;

/* Called by the sink on the loop thread; `settled` may be called from inside send(). */
typedef struct SinkEvents {
    void *arg;
    /** One for each sent event. NULL: it is stored; else why it is not, valid during the call. What
     * is behind one that is not must not pass it. */
    void (*settled)(void *arg, Event *event, const SinkReport *report);
    /** After SEND_FULL or SEND_WAIT: try again. */
    void (*ready)(void *arg);
    /** The destination says (again) that the topic is not there, or not for us. */
    void (*missing)(void *arg, Topic *topic, TopicFault fault, const Error *err);
    /** The topic of which `missing`, or SEND_HELD, told can be written now; or it takes more than
     * it did when a record was refused (SEND_POISON). */
    void (*found)(void *arg, Topic *topic);
    /** Something outside is wrong; the sink keeps trying. Called at most once per state change. */
    void (*trouble)(void *arg, const Error *err);
    /** The trouble is over as far as the sink can tell. */
    void (*healed)(void *arg);
    /** The sink is of no use any more: nothing more will settle. The pipeline calls reopen().
     * FATAL: give up. */
    void (*lost)(void *arg, const Error *err);
    /** reopen() is complete: no memory of earlier sends is referenced any more. */
    void (*reopened)(void *arg);
} SinkEvents;

/* An operation that a sink does not need is NULL, but for open, send, purge, reopen and free. */
typedef struct SinkOps {
    /** Whether no topic of this name can be: FAILED, and a POISON *err says why. NULL: any text of
     * at most TOPIC_NAME_MAX bytes is a name. */
    TopicRule refuse_topic;
    /** The pipeline became the publisher: connect. Called again after every take-over; cheap then.
     */
    void (*open)(Sink *sink);
    SendResult (*send)(Sink *sink, const Record *record, Event *event, Error *err);
    /** End of a run of sends: what is collected leaves. */
    void (*flush)(Sink *sink);
    /** Promise 6. */
    void (*purge)(Sink *sink);
    /** Promise 6; false: the same records go on in the same order. NULL: it is purged instead. */
    void (*hold)(Sink *sink, bool hold);
    /** The sink holds nothing, and another relay publishes, or may: lets go of what that one needs
     * (a lock), until the next send or open. NULL: there is nothing of the kind. */
    void (*release)(Sink *sink);
    /** Throws away what it is connected by and makes it anew, then `reopened`. Sent events do not
     * settle. */
    void (*reopen)(Sink *sink);
    /** Files of the configuration may hold other secrets or certificates, and the configuration
     * another way to the destination: what is connected from now on uses them. Nothing that was
     * sent is lost or sent twice by it. NULL: there are none. */
    void (*renew)(Sink *sink);
    /** The topic is about to be freed; no event of it is in the sink. */
    void (*forget)(Sink *sink, Topic *topic);
    /** Whether the destination answers at all: then silence about what was sent is a fault of the
     * sink's own. NULL: it cannot be told, and silence is waited for. */
    bool (*answers)(const Sink *sink);
    /** Nothing that was sent has settled for that long: into *err, what is waited for. */
    void (*silent)(const Sink *sink, int seconds, Error *err);
    /** The pipeline has ended: lets go of what it is connected by, and is not used again. True once
     * nothing of it is under way in other threads, so that free() does not wait; asked again until
     * then. NULL: nothing ever is. */
    bool (*close)(Sink *sink);
    /** Sets a member of its own (or none) of the status object. */
    void (*status)(const Sink *sink, json_t *status);
    void (*free)(Sink *sink);
} SinkOps;

struct Sink {
    const SinkOps *ops;
    SinkEvents events;
};

static inline bool sink_answers(const Sink *sink)
{
    return sink->ops->answers != NULL && sink->ops->answers(sink);
}

/* What a sink is made of. All of it must outlive the sink. */
typedef struct SinkOptions {
    struct event_base *base;
    Worker *worker;
    const Config *config;
    const PipelineConfig *pipeline;
    Stats *stats;
} SinkOptions;
