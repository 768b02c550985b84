/* given_schema: schemas of an outbox for tests. They are kept to the end: events and relations may
 * hold on to them. */
#pragma once

#include "base/memory.h"
#include "flow/schema.h"
#include "stub/given.h"

/** That of the pipeline as it is configured now. */
static inline Schema *given_schema_of(const PipelineConfig *pipeline)
{
    static Schema **kept;
    static size_t count;
    if ((count & (count - 1)) == 0) { /* a power of two is full */
        kept = x_realloc(kept, (count > 0 ? 2 * count : 1) * sizeof(Schema *));
    }
    return kept[count++] = schema_of_outbox(pipeline);
}

/** That of given_pipeline, with so many header columns, called "extra 0", "extra 1", ... */
static inline const Schema *given_schema(size_t extra_count)
{
    static char *names[] = {GIVEN("extra 0"), GIVEN("extra 1"), GIVEN("extra 2"), GIVEN("extra 3")};
    enum { MOST = sizeof(names) / sizeof(names[0]) };
    static const Schema *schemas[MOST + 1];
    if (schemas[extra_count] == NULL) {
        PipelineConfig pipeline = given_pipeline();
        pipeline.outbox.header_columns = (StringList){.items = names, .count = extra_count};
        schemas[extra_count] = given_schema_of(&pipeline);
    }
    return schemas[extra_count];
}
