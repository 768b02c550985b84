#include "config/sink_rules.h"

#include <string.h>

#include "base/memory.h"

static const struct {
    const char *name;
    bool stores;
} SINKS[] = {
#define SINK(kind, name, make, check, stores) [SINK_##kind] = {name, stores},
#include "config/sinks.inc"
#undef SINK
};

bool sink_rules_problem(const PipelineConfig *pipeline, SinkProblem *ret_problem)
{
    *ret_problem = (SinkProblem){.path = "file.path"};
    const char *path = pipeline->file.path;
    OnPublish on_publish = pipeline->outbox.on_publish;
    if (pipeline->sink != SINK_FILE && *path != '\0') {
        ret_problem->warning = true;
        ret_problem->remedy = "remove it, or set sink = \"file\"";
        ret_problem->message = x_strdup("file.path has an effect only with sink = \"file\"");
    } else if (pipeline->sink == SINK_FILE && *path != '/') {
        ret_problem->remedy = "write file: { path = \"/var/lib/outboxd/orders.jsonl\"; }";
        ret_problem->message = *path == '\0'
                                   ? x_strdup("sink = \"file\" needs file.path")
                                   : x_format("file.path \"%s\" is not an absolute path", path);
    } else if (!SINKS[pipeline->sink].stores && on_publish != ON_PUBLISH_KEEP &&
               !pipeline->allow_unstored) {
        ret_problem->path = "sink";
        ret_problem->remedy =
            "set on_publish = \"keep\" with capture = \"wal\"; or, where the events "
            "may be lost, allow_unstored = true";
        ret_problem->message =
            x_format("sink = \"%s\" stores no record, and on_publish = \"%s\" would let nobody "
                     "publish these events again",
                     SINKS[pipeline->sink].name, on_publish == ON_PUBLISH_MARK ? "mark" : "delete");
    }
    return ret_problem->message != NULL;
}

bool sink_rules_share(const PipelineConfig *a, const PipelineConfig *b, SinkProblem *ret_problem)
{
    if (a->sink != SINK_FILE || b->sink != SINK_FILE || *b->file.path == '\0' ||
        strcmp(a->file.path, b->file.path) != 0) {
        return false;
    }
    *ret_problem = (SinkProblem){.path = "file.path",
                                 .remedy = "give each pipeline its own file",
                                 .message = x_format("pipelines \"%s\" and \"%s\" both write '%s'",
                                                     a->name, b->name, b->file.path)};
    return true;
}
