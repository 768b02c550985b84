/* What the process may have: memory, open files. The numbers are counted on a relay that publishes
 * (tests/integration/test_limits.py). */
#include <event2/event.h>
#include <jansson.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "app/relay_internal.h"
#include "base/fatal.h"
#include "base/memory.h"

enum {
    FILES_BASE = 32,     /* loops, threads, the endpoint and a few clients, a look at PostgreSQL */
    FILES_PIPELINE = 12, /* connections, timers, wake-ups; a file */
    FILES_BROKER = 3,    /* of each pipeline: a connection and its wake-up */
    FILES_GROUPS = 4,
    FILES_RAISED_MAX = 65536, /* a limit that may be raised is raised so far */
};

static size_t limits_brokers(const Config *config)
{
    size_t brokers = 1; /* that the cluster tells of */
    for (const char *c = config->kafka.brokers; *c != '\0'; c++) {
        brokers += *c == ',';
    }
    return brokers + 1;
}

static size_t limits_files(const Config *config)
{
    size_t files = FILES_BASE + (config->monitor.consumer_groups.count > 0 ? FILES_GROUPS : 0);
    for (size_t i = 0; i < config->pipeline_count; i++) {
        bool kafka = config->pipelines[i].sink == SINK_KAFKA;
        files += FILES_PIPELINE + (kafka ? FILES_BROKER * limits_brokers(config) : 0);
    }
    return files;
}

/* The limit that services and shells give is often 1024, and more is allowed. */
static rlim_t limits_raise_files(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return RLIM_INFINITY;
    }
    rlim_t wanted = limit.rlim_max < FILES_RAISED_MAX ? limit.rlim_max : FILES_RAISED_MAX;
    if (limit.rlim_cur < wanted) {
        limit.rlim_cur = wanted;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
        (void)getrlimit(RLIMIT_NOFILE, &limit);
    }
    return limit.rlim_cur;
}

Status relay_prepare(const Config *config, Error *err)
{
    fatal_prepare();
    /* These do not expect to be refused memory. */
    event_set_mem_functions(x_malloc, x_realloc, free);
    json_set_alloc_funcs(x_malloc, free);
    size_t needed = limits_files(config);
    rlim_t limit = limits_raise_files();
    if (limit < needed) {
        error_set(err, CODE_OPEN_FILES_LIMIT,
                  "the process may open %llu files, and this configuration needs at least %zu",
                  (unsigned long long)limit, needed);
        return error_advise(err);
    }
    return OK;
}
