/* All that needs no connection: `outboxd check --offline`, and the relay before a reload. */
#include "check/check.h"

void check_offline(Check *check)
{
    const Config *config = check->config;
    for (size_t i = 0; i < config->pipeline_count; i++) {
        if (config->pipelines[i].outbox.table != NULL) {
            check_static_topics(check, &config->pipelines[i]);
        }
    }
    size_t before = check->problems->count;
    check_sinks(check);
    check_properties(check); /* librdkafka repeats values */
    load_hide_references(check->load, check->problems, before);
    check_secrets(check);
}
