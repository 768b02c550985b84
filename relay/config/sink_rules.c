#include "config/sink_rules.h"

#include <string.h>
#include <sys/stat.h>

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

/* The same file or directory, whatever it is called. False: one of them is not there. */
static bool is_same(const char *a, const char *b)
{
    struct stat one;
    struct stat other;
    return stat(a, &one) == 0 && stat(b, &other) == 0 && one.st_dev == other.st_dev &&
           one.st_ino == other.st_ino;
}

/* Of absolute paths: a file that is not there yet is known by its directory and its name. */
static bool leads_to_one_file(const char *a, const char *b)
{
    const char *name_a = strrchr(a, '/') + 1;
    const char *name_b = strrchr(b, '/') + 1;
    AUTO_TEXT directory_a = x_strndup(a, (size_t)(name_a - a));
    AUTO_TEXT directory_b = x_strndup(b, (size_t)(name_b - b));
    return strcmp(a, b) == 0 || is_same(a, b) ||
           (strcmp(name_a, name_b) == 0 && is_same(directory_a, directory_b));
}

bool sink_rules_share(const PipelineConfig *a, const PipelineConfig *b, SinkProblem *ret_problem)
{
    if (a->sink != SINK_FILE || b->sink != SINK_FILE || *a->file.path != '/' ||
        *b->file.path != '/' || !leads_to_one_file(a->file.path, b->file.path)) {
        return false;
    }
    bool spelled_alike = strcmp(a->file.path, b->file.path) == 0;
    *ret_problem = (SinkProblem){
        .path = "file.path",
        .remedy = "give each pipeline its own file",
        .message = spelled_alike
                       ? x_format("pipelines \"%s\" and \"%s\" both write '%s'", a->name, b->name,
                                  b->file.path)
                       : x_format("pipelines \"%s\" and \"%s\" both write one file: '%s' and '%s'",
                                  a->name, b->name, a->file.path, b->file.path)};
    return true;
}
