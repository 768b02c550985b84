#include "cdc/wal_beat.h"

#include <stdlib.h>

#include "base/memory.h"

struct Beat {
    Stream *stream;
    struct event *timer;
};

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    stream_beat(((Beat *)arg)->stream);
}

Beat *beat_new(const WalContext *wal, Stream *stream)
{
    int64_t interval_ms = wal->pipeline->tables.heartbeat_ms;
    if (wal->pipeline->capture != CAPTURE_TABLES || interval_ms == 0) {
        return NULL;
    }
    Beat *beat = x_calloc(1, sizeof(*beat));
    beat->stream = stream;
    beat->timer = event_new(wal->options->base, -1, EV_PERSIST, on_timer, beat);
    event_add(beat->timer, &(struct timeval){.tv_sec = interval_ms / 1000,
                                             .tv_usec = interval_ms % 1000 * 1000});
    return beat;
}

void beat_free(Beat **beat)
{
    if (*beat == NULL) {
        return;
    }
    event_free((*beat)->timer);
    free(*beat);
    *beat = NULL;
}
