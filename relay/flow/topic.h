/* topic: the topics a pipeline writes, interned by name, so that hot code compares pointers.
 *
 * Topics come from templates over row data: their number is capped (TOPICS_MAX), or a faulty
 * template such as "${aggregate_id}" would make memory and metrics grow without bound. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/slice.h"
#include "flow/reason.h"
#include "metrics/metrics.h"

enum { TOPICS_MAX = 2000, TOPIC_NAME_MAX = 249 };

typedef struct Topic {
    char *name;
    uint64_t *published; /* outboxd_events_published_total{pipeline,topic} */
    uint64_t
        *failed[REASON_COUNT]; /* outboxd_events_failed_total{pipeline,topic,reason}, or NULL */
    void *sink_data;           /* of the sink; freed by it */
    struct Topic *next;        /* same bucket */
} Topic;

typedef struct Topics Topics;

Topics *topics_new(Metrics *metrics, const char *pipeline);
void topics_free(Topics **topics);

/** The topic of that name, made on first use. POISON when the name is not one that Kafka accepts
 * ([a-zA-Z0-9._-]{1,249}, not "." or ".."); FATAL beyond TOPICS_MAX names. */
Status topics_get(Topics *topics, Slice name, Topic **ret_topic, Error *err);

/** Counts a delivery report that was a failure. A topic's series of a reason is made when it is
 * first needed: all of them for each topic would be many that stay 0. */
void topics_count_failed(Topics *topics, Topic *topic, Reason reason);

/** Calls visit for every topic. */
void topics_each(Topics *topics, void (*visit)(void *arg, Topic *topic), void *arg);
