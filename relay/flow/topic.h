/* topic: the topics a pipeline writes, interned by name, so that hot code compares pointers.
 *
 * Topics come from templates over row data: their number is capped (TOPICS_MAX), or a faulty
 * template such as "${aggregate_id}" would make memory and metrics grow without bound. Templates
 * over names of tables give as many as there are tables (topics_allow). A topic that was not
 * written for TOPIC_IDLE_SECONDS gives its place to a new one. While there is none to give,
 * all further names share one stand-in, whose events wait (flow/parking.h). An event for which no
 * topic can be named waits by its aggregate type: that has a stand-in, too. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/reason.h"
#include "base/slice.h"
#include "metrics/metrics.h"

enum {
    TOPICS_MAX = 2000,
    TOPICS_MAX_TABLES = 65536, /* as many as tables are known (CAPTURED_MAX of cdc) */
    TOPIC_NAME_MAX = 255,      /* bytes; a sink may take less (SinkOps.refuse_topic) */
    TOPIC_IDLE_SECONDS = 3600,
    TOPIC_TYPES_MAX =
        100, /* aggregate types with a stand-in of their own; further ones share one */
};

struct Hold;
struct Topics;

typedef struct Topic {
    char *name;
    uint64_t *published; /* outboxd_events_published_total{pipeline,topic} */
    uint64_t
        *failed[REASON_COUNT]; /* outboxd_events_failed_total{pipeline,topic,reason}, or NULL */
    double *partitions;        /* outboxd_topic_partitions{pipeline,topic}, or NULL */
    void *sink_data;           /* of the sink; freed by it */
    struct Hold *hold;         /* its events wait (flow/parking.h); NULL: they do not */
    size_t in_flight;          /* events that the sink holds */
    int64_t used_us;           /* monotonic, to a second: last asked for */
    bool beyond;               /* stands for all names beyond TOPICS_MAX */
    uint64_t type;             /* stands for an aggregate type: its hash; 0: does not */
    struct Topics *owner;
    struct Topic *next; /* same bucket */
} Topic;

typedef struct Topics Topics;

/** Whether a name can be no topic: FAILED, and a POISON *err says why. */
typedef Status (*TopicRule)(Slice name, Error *err);

Topics *topics_new(Metrics *metrics, const char *pipeline);
void topics_free(Topics **topics);

/** So many names, in the place of TOPICS_MAX. */
void topics_allow(Topics *topics, size_t most);

/** What the destination says of names that were not met before; NULL: it takes any. */
void topics_set_rule(Topics *topics, TopicRule rule);

/** A topic that was not used for long is freed: when may_forget(arg, topic) agrees, and after
 * forget(arg, topic). */
void topics_on_forget(Topics *topics, bool (*may_forget)(void *arg, const Topic *topic),
                      void (*forget)(void *arg, Topic *topic), void *arg);

/** What time it is, monotonic: each second or so. */
void topics_pass_time(Topics *topics, int64_t now_us);

/** The topic of that name, made on first use; beyond TOPICS_MAX names the stand-in, with
 * *err saying why its events wait. POISON when the name is none: empty, longer than
 * TOPIC_NAME_MAX, not UTF-8, with a control character in it, or refused by the rule. */
Status topics_get(Topics *topics, Slice name, Topic **ret_topic, Error *err);

/** The stand-in of an aggregate type, for an event of it that has no topic. */
Topic *topics_of_type(Topics *topics, Slice aggregate_type);

/** The stand-in by which events of this aggregate type are held (Topic.hold), or NULL. */
Topic *topics_held_type(const Topics *topics, Slice aggregate_type);

/** Counts a delivery report that was a failure. A topic's series of a reason is made when it is
 * first needed: all of them for each topic would be many that stay 0. */
void topics_count_failed(Topics *topics, Topic *topic, Reason reason);

/** Whether a new name would get a topic of its own: asks before the stand-in is let go. */
bool topics_have_room(const Topics *topics);

/** How many partitions the topic has. */
void topic_set_partitions(Topic *topic, int partitions);

/** Calls visit for every topic. */
void topics_each(Topics *topics, void (*visit)(void *arg, Topic *topic), void *arg);
