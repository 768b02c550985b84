#include "watch/watch_trouble.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"

enum {
    SAID_AGAIN_SECONDS = 60
}; /* a look that fails and recovers in turns is not said more often */

/* Of a pipeline, when ours broke. */
typedef struct Connection {
    bool was_connected;
    uint64_t reconnects;
} Connection;

struct WatchTrouble {
    const WatchOptions *options;
    Connection *connections; /* one for each pipeline */
    bool cut;                /* and nothing was said of it yet ... */
    Error cut_error;         /* ... in these words */
    bool said;               /* and not yet that it recovered */
    int64_t said_us;         /* monotonic */
};

WatchTrouble *watch_trouble_new(const WatchOptions *options)
{
    WatchTrouble *t = x_calloc(1, sizeof(*t));
    t->options = options;
    t->connections = x_calloc(options->config->pipeline_count, sizeof(*t->connections));
    return t;
}

void watch_trouble_free(WatchTrouble **trouble)
{
    if (*trouble != NULL) {
        error_clear(&(*trouble)->cut_error);
        free((*trouble)->connections);
        free(*trouble);
        *trouble = NULL;
    }
}

static WatchRole role_of(const WatchTrouble *t, size_t index)
{
    const WatchOptions *options = t->options;
    return options->role != NULL ? options->role(options->arg, index) : (WatchRole){0};
}

static void note_connections(WatchTrouble *t)
{
    for (size_t i = 0; i < t->options->config->pipeline_count; i++) {
        WatchRole role = role_of(t, i);
        t->connections[i].was_connected = role.connected;
        t->connections[i].reconnects = role.reconnects;
    }
}

/* Whether it is the look alone that fails: else what the pipelines say of their own connections is
 * enough, and one outage is no two lines. */
static bool is_alone(const WatchTrouble *t, bool *ret_publishes)
{
    bool alone = false;
    *ret_publishes = false;
    for (size_t i = 0; i < t->options->config->pipeline_count; i++) {
        const Connection *before = &t->connections[i];
        WatchRole role = role_of(t, i);
        bool kept = !t->cut || (before->was_connected && role.reconnects == before->reconnects);
        alone |= role.connected && kept;
        *ret_publishes |= role.connected && role.judges;
    }
    return alone;
}

void watch_trouble_say(WatchTrouble *t, const Error *err)
{
    int64_t now_us = clock_monotonic_us();
    bool again = t->said_us > 0 && now_us - t->said_us < SAID_AGAIN_SECONDS * INT64_C(1000000);
    bool publishes = false;
    if (t->said || again || !is_alone(t, &publishes)) {
        return;
    }
    t->said = true;
    t->said_us = now_us;
    log_write(LOG_WARN, NULL, CODE_WATCH_FAILED,
              LOG_FIELDS(log_text("error", error_code_name(err->code)),
                         log_text("hint", error_remedy(err))),
              "cannot query PostgreSQL for slots, pauses and the oldest event: %s; %sretrying",
              error_message(err), publishes ? "publishing continues, " : "");
}

void watch_trouble_cut(WatchTrouble *t, const Error *err)
{
    note_connections(t);
    t->cut = true;
    error_copy(&t->cut_error, err);
}

void watch_trouble_say_cut(WatchTrouble *t)
{
    if (t->cut) {
        AUTO_ERROR err = error_of(&t->cut_error);
        watch_trouble_say(t, &err);
        t->cut = false;
    }
}

void watch_trouble_over(WatchTrouble *t)
{
    if (t->said) {
        t->said = false;
        log_write(LOG_INFO, NULL, CODE_WATCH_RECOVERED, LOG_NO_FIELDS,
                  "PostgreSQL answers again about slots, pauses and the oldest event");
    }
}
