#include "outbox/poll_pace.h"

enum {
    FIRST_LIMIT = 256, /* rows; grows while rows prove small */
    LIMIT_GROWTH = 4,
};

static size_t pace_bounded(const Pace *pace, size_t limit)
{
    size_t most = (size_t)pace->config->limits.batch_events;
    return limit < most ? limit : most;
}

void pace_reset(Pace *pace)
{
    pace->next_limit = pace_bounded(pace, FIRST_LIMIT);
    pace->caught_up = false;
    pace->complete_us = pace->covered_us = 0;
}

void pace_hurry(Pace *pace)
{
    pace->interval_ms = pace->config->poll.interval_min_ms;
    pace->more = true;
}

void pace_want(Pace *pace)
{
    pace->more = true;
}

bool pace_wants(const Pace *pace)
{
    return pace->more;
}

void pace_take(Pace *pace)
{
    pace->more = false;
}

void pace_note_covered(Pace *pace, const Fetch *fetch)
{
    if (!fetch->cut) {
        pace->complete_us = fetch->sent_us;
    } else {
        pace->covered_us = fetch->sent_us;
        pace->covered_seq = fetch->last_seq;
    }
}

bool pace_has_covered(const Pace *pace, int64_t looked_us, int64_t seq)
{
    return pace->complete_us > looked_us ||
           (pace->covered_us > looked_us && seq <= pace->covered_seq);
}

void pace_adapt(Pace *pace, const Fetch *fetch, bool insists)
{
    const PipelineConfig *config = pace->config;
    if (fetch->events > 0) {
        pace->row_bytes = fetch->bytes / fetch->events + 1;
    }
    if (fetch->cut) {
        pace->next_limit = fetch->limit * LIMIT_GROWTH;
    }
    size_t fitting = pace->row_bytes > 0 ? (size_t)config->limits.batch_bytes / pace->row_bytes + 1
                                         : FIRST_LIMIT;
    pace->next_limit = pace_bounded(pace, pace->next_limit < fitting ? pace->next_limit : fitting);
    pace->more = fetch->cut || insists;
    pace->caught_up = !fetch->cut;
    if (fetch->events > 0) {
        pace->interval_ms = config->poll.interval_min_ms;
    } else {
        pace->interval_ms = pace->interval_ms * 2 > config->poll.interval_max_ms
                                ? config->poll.interval_max_ms
                                : pace->interval_ms * 2;
    }
}

bool pace_fits(const Pace *pace, bool idle, size_t *events, size_t *bytes)
{
    const PipelineConfig *config = pace->config;
    size_t limit = pace->next_limit;
    size_t enough = (size_t)config->limits.in_flight_events / 4;
    if (*bytes > (size_t)config->limits.batch_bytes) {
        *bytes = (size_t)config->limits.batch_bytes;
    }
    size_t fitting = pace->row_bytes > 0 ? *bytes / pace->row_bytes + 1 : limit;
    *events = fitting < *events ? fitting : *events;
    enough = limit < enough ? limit : enough;
    *events = limit < *events ? limit : *events;
    return *events >= enough || idle;
}

int64_t pace_interval_ms(const Pace *pace)
{
    return pace->interval_ms;
}

bool pace_is_caught_up(const Pace *pace)
{
    return pace->caught_up;
}
