/* Whether records can go where the configuration sends them, as far as that is known without
 * connecting. */
#include "base/memory.h"
#include "check/check.h"
#include "sink/sinks.h"

void check_sinks(Check *check)
{
    for (size_t i = 0; i < check->config->pipeline_count; i++) {
        const PipelineConfig *pipeline = &check->config->pipelines[i];
        AUTO_ERROR err = {0};
        if (pipeline->outbox.table != NULL && sink_check(pipeline, &err) != OK) {
            AUTO_TEXT place = x_format("pipeline \"%s\"", pipeline->name);
            check_problem(check, err.exit_code, place, error_remedy(&err), "%s",
                          error_message(&err));
        }
    }
}
