#include "outbox/poll_sweep.h"

#include "base/clock.h"
#include "base/log.h"

enum {
    SWEEP_SHARE = 50,          /* sweeps cost at most one in so many parts of the time; ... */
    SWEEP_BACKLOG_SHARE = 200, /* ... while a backlog comes in, when most rows are known */
    SWEEP_FREE_US = 2000,      /* so little may be the noise of the machine: it does not count */
    SAID_SECONDS = 60,         /* said at most so often */
};

void sweep_want(Sweep *sweep)
{
    sweep->next_us = 0;
}

void sweep_insist(Sweep *sweep)
{
    sweep->insists = true;
}

bool sweep_insists(const Sweep *sweep)
{
    return sweep->insists;
}

bool sweep_is_due(const Sweep *sweep, int64_t now_us)
{
    return now_us >= sweep->next_us;
}

/* What a fetch of this connection costs anyway is the least that one took lately. */
void sweep_plan(Sweep *sweep, const Fetch *fetch)
{
    int64_t slower_us = sweep->plain_us + sweep->plain_us / 16 + 10;
    bool first = sweep->plain_us == 0;
    sweep->plain_us = first || fetch->took_us < slower_us ? fetch->took_us : slower_us;
    if (fetch->sweep) {
        bool free = !fetch->wide && fetch->took_us - sweep->plain_us < SWEEP_FREE_US;
        sweep->cost_us = free ? 0 : fetch->took_us - sweep->plain_us;
        sweep->ended_us = clock_monotonic_us();
    } else if (fetch->cut || sweep->next_us <= sweep->ended_us) {
        return; /* as planned, or wanted by somebody */
    }
    bool whole =
        !fetch->cut || fetch->last_seq > fetch->top; /* beyond the top the next one looks */
    int64_t share = fetch->cut ? SWEEP_BACKLOG_SHARE : SWEEP_SHARE;
    int64_t wait_us = whole ? sweep->cost_us * share : 0;
    int64_t longest_us = sweep->config->poll.sweep_interval_ms * 1000;
    sweep->next_us = sweep->ended_us + (wait_us < longest_us ? wait_us : longest_us);
    sweep->insists = sweep->insists && !(fetch->sweep && whole);
}

void sweep_found(Sweep *sweep, size_t rows)
{
    int64_t now_us = clock_monotonic_us();
    *sweep->stats->rows->swept += rows;
    sweep->unsaid += rows;
    if (sweep->said_us != 0 && now_us - sweep->said_us < SAID_SECONDS * INT64_C(1000000)) {
        return;
    }
    log_write(LOG_INFO, sweep->config->name, CODE_ROWS_SWEPT,
              LOG_FIELDS(log_number("rows", (long long)sweep->unsaid)),
              "found unpublished rows with lower numbers than those already read; publishing them");
    sweep->unsaid = 0;
    sweep->said_us = now_us;
}
