/* given: a pipeline's configuration for tests, with the defaults of the option table's kind and
 * every limit small enough to be reached. Texts are literals: never freed, never written. */
#pragma once

#include "config/config.h"

/* A literal where the configuration owns its texts. */
#define GIVEN(text) ((char *)(text))

/* The table has the columns that an event needs, and no others. */
static inline void given_columns_needed(char **columns)
{
    for (size_t i = 0; i < COLUMN_COUNT; i++) {
        bool kept = i == FIELD_AGGREGATE_TYPE || i == FIELD_AGGREGATE_ID || i == FIELD_PAYLOAD ||
                    i == FIELD_PUBLISHED_AT || OUTBOX_COLUMNS[i].because != NULL;
        columns[i] = kept ? columns[i] : GIVEN("");
    }
}

static inline PipelineConfig given_pipeline(void)
{
    return (PipelineConfig){
        .name = GIVEN("orders"),
        .outbox.table = GIVEN("outbox.event"),
        .outbox.columns =
            {
#define COLUMN(field, name, ...) [FIELD_##field] = GIVEN(#name),
#include "config/outbox_columns.inc"
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
