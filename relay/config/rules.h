/* rules: names that Kafka and the outbox table know. */
#pragma once

#include <stdbool.h>

#include "base/slice.h"
#include "config/config.h"

/** True for what Kafka takes as a topic: [a-zA-Z0-9._-]{1,249}, not "." or "..". */
bool topic_is_valid(Slice topic);

/** The column that templates may name and that is nearest to name, or NULL; borrowed. */
const char *rules_nearest_column(const PipelineConfig *pipeline, const char *name);
