/* given: a pipeline's configuration for tests, with the defaults of the option table's kind and
 * every limit small enough to be reached. Texts are literals: never freed, never written. */
#pragma once

#include "config/config.h"

/* A literal where the configuration owns its texts. */
#define GIVEN(text) ((char *)(text))

/* The table has the columns that an event needs, and no others. */
static inline void given_columns_needed(ColumnsConfig *columns)
{
    columns->event_version = columns->aggregate_version = columns->payload_bytes =
        columns->content_type = columns->correlation_id = columns->causation_id =
            columns->traceparent = columns->headers = columns->topic = columns->occurred_at =
                GIVEN("");
}

static inline PipelineConfig given_pipeline(void)
{
    return (PipelineConfig){
        .name = GIVEN("orders"),
        .outbox.table = GIVEN("outbox.event"),
        .outbox.columns =
            {
                .seq = GIVEN("seq"),
                .event_id = GIVEN("event_id"),
                .event_type = GIVEN("event_type"),
                .event_version = GIVEN("event_version"),
                .aggregate_type = GIVEN("aggregate_type"),
                .aggregate_id = GIVEN("aggregate_id"),
                .aggregate_version = GIVEN("aggregate_version"),
                .payload = GIVEN("payload"),
                .payload_bytes = GIVEN("payload_bytes"),
                .content_type = GIVEN("content_type"),
                .correlation_id = GIVEN("correlation_id"),
                .causation_id = GIVEN("causation_id"),
                .traceparent = GIVEN("traceparent"),
                .headers = GIVEN("headers"),
                .topic = GIVEN("topic"),
                .occurred_at = GIVEN("occurred_at"),
                .published_at = GIVEN("published_at"),
            },
        .outbox.retain_ms = DURATION_FOREVER,
        .encode.source = GIVEN("/shop/orders"),
        .route.topic = GIVEN("${aggregate_type}.events"),
        .route.key = GIVEN("${aggregate_id}"),
        .poll.interval_min_ms = 1,
        .poll.interval_max_ms = 5,
        .poll.sweep_interval_ms = 3600000,
        .outbox.unseen_after_ms = 15000,
        .limits.batch_events = 100,
        .limits.batch_bytes = 1000000,
        .limits.in_flight_events = 1000,
        .limits.in_flight_bytes = 10000000,
        .claim.lease_ms = 30000,
        .claim.standby_interval_ms = 5,
    };
}
