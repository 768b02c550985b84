/* sink_rules: what the options of a sink say together. */
#pragma once

#include <stdbool.h>

#include "config/config.h"

typedef struct SinkProblem {
    const char *path; /* of the option */
    const char *remedy;
    char *message; /* freed by the caller */
    bool warning;
} SinkProblem;

/** The first thing that is wrong with the pipeline's sink; false: nothing. */
bool sink_rules_problem(const PipelineConfig *pipeline, SinkProblem *ret_problem);

/** Whether both write one place that only one can write, also by links or another spelling: looks
 * at the file system. */
bool sink_rules_share(const PipelineConfig *a, const PipelineConfig *b, SinkProblem *ret_problem);
