/* What the rules of the configuration say, and where: a problem stands where its option was set. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "config/load.h"

/* Where option `path` of base was set, or else the place of the group or pipeline, or the file. */
char *rules_place(const Load *load, OptionScope scope, const char *path, const void *base)
{
    const char *origin = load_origin(load, base, option_find(scope, path));
    if (origin != NULL) {
        return x_strdup(origin);
    }
    if (scope != SCOPE_CONFIG && scope != SCOPE_PIPELINE) {
        const char *first = load_first_origin(load, base);
        return x_strdup(first != NULL ? first : load->config->file);
    }
    for (size_t i = 0; scope == SCOPE_PIPELINE && i < load->config->pipeline_count; i++) {
        const PipelineConfig *pipeline = &load->config->pipelines[i];
        if (base == pipeline && pipeline->line > 0) {
            /* the name stands on the pipeline's first lines, in the right file */
            const char *name = load_origin(load, base, option_find(SCOPE_PIPELINE, "name"));
            return x_strdup(name != NULL ? name : load->config->file);
        }
    }
    return x_strdup(*load->config->file != '\0' ? load->config->file : "configuration");
}

void rules_problem(Load *load, OptionScope scope, const char *path, const void *base,
                   const char *remedy, const char *format, ...)
{
    char *message = NULL;
    va_list args;
    va_start(args, format);
    int length = vasprintf(&message, format, args); // NOLINT(clang-analyzer-valist.*)
    va_end(args);
    if (length < 0) {
        return;
    }
    AUTO_TEXT place = rules_place(load, scope, path, base);
    problems_add(load->problems, false, place, remedy, "%s", message);
    free(message);
}
