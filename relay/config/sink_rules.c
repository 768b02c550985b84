/* What the options of a sink say together. */
#include <string.h>

#include "base/memory.h"
#include "config/load.h"

static const bool STORES[] = {
#define SINK(kind, name, make, check, stores) [SINK_##kind] = stores,
#include "config/sinks.inc"
#undef SINK
};

static void rules_check_file(Load *load, const PipelineConfig *pipeline)
{
    if (pipeline->sink != SINK_FILE && *pipeline->file.path != '\0') {
        AUTO_TEXT place = rules_place(load, SCOPE_PIPELINE, "file.path", pipeline);
        problems_add(load->problems, true, place, "remove it, or set sink = \"file\"",
                     "file.path has a meaning only with sink = \"file\"");
    }
    if (pipeline->sink == SINK_FILE && *pipeline->file.path != '/') {
        rules_problem(load, SCOPE_PIPELINE, "file.path", pipeline,
                      "write file: { path = \"/var/lib/outboxd/orders.jsonl\"; }",
                      *pipeline->file.path == '\0' ? "sink = \"file\" needs file.path"
                                                   : "file.path \"%s\" is no absolute path",
                      pipeline->file.path);
    }
}

void rules_check_sink(Load *load, const PipelineConfig *pipeline)
{
    rules_check_file(load, pipeline);
    if (!STORES[pipeline->sink] && pipeline->outbox.on_publish != ON_PUBLISH_KEEP &&
        !pipeline->allow_unstored) {
        rules_problem(
            load, SCOPE_PIPELINE, "sink", pipeline,
            "set on_publish = \"keep\" with capture = \"wal\"; or, where the events may be "
            "lost, allow_unstored = true",
            "sink = \"%s\" stores no record, and on_publish = \"%s\" would let nobody "
            "publish these events again",
            pipeline->sink == SINK_STDOUT ? "stdout" : "null",
            pipeline->outbox.on_publish == ON_PUBLISH_MARK ? "mark" : "delete");
    }
}

void rules_check_files(Load *load, const PipelineConfig *a, const PipelineConfig *b)
{
    if (a->sink == SINK_FILE && b->sink == SINK_FILE && *a->file.path != '\0' &&
        strcmp(a->file.path, b->file.path) == 0) {
        rules_problem(load, SCOPE_PIPELINE, "file.path", b, "give each pipeline its own file",
                      "pipelines \"%s\" and \"%s\" both write '%s'", a->name, b->name,
                      b->file.path);
    }
}
