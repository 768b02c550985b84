/* Reading the outbox.
 *
 * A narrow fetch is one string of statements, one round trip, each with a snapshot of its own:
 *
 *   1. sometimes: which transactions are writing to the table now?      (poll_fence.c)
 *   2. COPY all unpublished rows in the gaps and beyond the top         (one snapshot)
 *   3. WAL insert and flush positions                                   (poll_guard.c)
 *
 * The order of keys. Writers of one key serialise, so e1 < e2 of a key means: e1's transaction had
 * committed before e2 was inserted. A snapshot that shows e2 shows e1, and both are read by the
 * same statement, in order of seq. That is why every fetch looks at all gaps.
 *
 * What is known (known.h) is left out. Numbers that were seen are no gaps, so a narrow fetch meets
 * no known row as a rule. Where gaps were merged, or where everything is looked at, it would: then
 * the fetch is a wide one (poll_wide.c), which reads in one snapshot, too.
 *
 * The sweep. A number that is no gap cannot appear by an INSERT that draws it, but numbers go back
 * (TRUNCATE ... RESTART IDENTITY, setval), an application draws them long before it inserts, a
 * person unmarks or inserts rows. So as often as it costs next to nothing, and at least every
 * sweep_interval, a fetch looks at the whole table: what it finds is read by the same statement as
 * everything behind it. As a rule that is one more look at the index of what is unpublished; only
 * where dead entries pile up in it (a long snapshot) is it more, which is why not every fetch does
 * it. A fetch that finds other storage of table or sequence than the last one, or a lower last
 * number, is thrown away: the next one is a sweep.
 *
 * After that, and when a sweep finds something, nothing holds that was concluded from numbers: the
 * top and the gaps are made anew from the rows that are there, so that numbers which went back are
 * looked for by every fetch again. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/memory.h"
#include "outbox/fetch_sql.h"
#include "outbox/poll_internal.h"
#include "pg/ident.h"
#include "pg/result.h"
#include "rows/row.h"

enum {
    LIMIT_GROWTH = 4,
    SWEEP_SHARE = 50,          /* sweeps cost at most one in so many parts of the time; ... */
    SWEEP_BACKLOG_SHARE = 200, /* ... while a backlog comes in, when most rows are known */
    SWEEP_FREE_US = 2000,      /* so little may be the noise of the machine: it does not count */
    SWEPT_SAID_SECONDS = 60,   /* said at most so often */
};

static void fetch_say_swept(PollSource *poll)
{
    int64_t now_us = clock_monotonic_us();
    if (poll->swept_said_us != 0 &&
        now_us - poll->swept_said_us < SWEPT_SAID_SECONDS * INT64_C(1000000)) {
        return;
    }
    log_write(LOG_INFO, poll->options.pipeline->name, CODE_ROWS_SWEPT,
              LOG_FIELDS(log_number("rows", (long long)poll->swept_unsaid)),
              "found unpublished rows with lower numbers than those already read; publishing them");
    poll->swept_unsaid = 0;
    poll->swept_said_us = now_us;
}

/* True when numbers may have gone back since the fetch before. The first fetch of a session knows
 * nothing of them yet: that they did since then nothing could tell. */
static bool fetch_finds_numbers_moved(PollSource *poll)
{
    const Numbers *now = &poll->fetch.numbers;
    bool moved = strcmp(now->storage, poll->numbers.storage) != 0 ||
                 (now->last != INT64_MIN && now->last < poll->numbers.last);
    poll->numbers = *now;
    poll->numbers_moved = poll->numbers_moved || moved;
    return moved;
}

/* What was read may stand behind rows that it did not look for. */
static void fetch_repeat(PollSource *poll)
{
    fence_forget_latest(poll);
    fetch_release(poll);
    poll->next_sweep_us = 0;
    poll->more = true;
    fetch_next(poll);
}

/* Notes the numbers that were read as seen. When nothing is concluded any more from those that were
 * seen before: as the only ones, with those of the known rows that are there. */
static void fetch_see_numbers(PollSource *poll)
{
    const Fetch *fetch = &poll->fetch;
    const Batch *batch = fetch->batch;
    size_t present = fetch->present_count;
    if (poll->numbers_moved && fetch->sweep) {
        gaps_reset(&poll->gaps);
        fence_reset(poll);
        poll->numbers_moved = false;
        present = 0;
    }
    for (size_t i = 0; i < batch->count; i++) {
        int64_t seq = batch->events[i]->seq;
        while (present < fetch->present_count && fetch->present[present] < seq) {
            gaps_see(&poll->gaps, fetch->present[present++]);
        }
        gaps_see(&poll->gaps, seq);
    }
    while (present < fetch->present_count) {
        gaps_see(&poll->gaps, fetch->present[present++]);
    }
}

static void fetch_know_rows(PollSource *poll)
{
    const Fetch *fetch = &poll->fetch;
    for (size_t i = 0; i < fetch->batch->count; i++) {
        const Event *event = fetch->batch->events[i];
        known_add(&poll->known, fetch_row_of(event), !gaps_cover(&poll->gaps, event->seq));
    }
    if (fetch->swept > 0) {
        *poll->options.stats->rows->swept += fetch->swept;
        poll->swept_unsaid += fetch->swept;
        poll->numbers_moved = true;
        fetch_say_swept(poll);
    }
}

static void fetch_deliver(PollSource *poll)
{
    Batch *batch = poll->fetch.batch;
    poll->fetch.batch = NULL;
    if (pg_conn_takes_bytes(claim_conn(poll->claim))) {
        row_check_texts(batch);
    }
    if (poll->outstanding_count == poll->outstanding_capacity) {
        poll->outstanding_capacity =
            poll->outstanding_capacity > 0 ? poll->outstanding_capacity * 2 : 16;
        poll->outstanding =
            x_realloc(poll->outstanding, poll->outstanding_capacity * sizeof(Batch *));
    }
    poll->outstanding[poll->outstanding_count++] = batch;
    poll->source.events.batch(poll->source.events.arg, batch);
}

/* How many rows next time, so that they fit the byte budget; how soon. */
static void fetch_adapt(PollSource *poll)
{
    Fetch *fetch = &poll->fetch;
    const PipelineConfig *config = poll->options.pipeline;
    bool full = fetch->cut;
    if (fetch->batch->count > 0) {
        poll->row_bytes = fetch->batch->bytes / fetch->batch->count + 1;
    }
    if (full) {
        poll->next_limit = fetch->limit * LIMIT_GROWTH;
    }
    size_t fitting = poll->row_bytes > 0 ? (size_t)config->limits.batch_bytes / poll->row_bytes + 1
                                         : FETCH_FIRST_LIMIT;
    if (poll->next_limit > fitting) {
        poll->next_limit = fitting;
    }
    if (poll->next_limit > (size_t)config->limits.batch_events) {
        poll->next_limit = (size_t)config->limits.batch_events;
    }
    poll->more = full || poll->widen;
    poll->caught_up = !full;
    marker_caught_up(poll->marker, poll->caught_up);
    if (fetch->batch->count > 0) {
        poll->interval_ms = config->poll.interval_min_ms;
    } else {
        poll->interval_ms = poll->interval_ms * 2 > config->poll.interval_max_ms
                                ? config->poll.interval_max_ms
                                : poll->interval_ms * 2;
    }
}

/* Everything was looked at. When again: see the top. What a fetch of this connection costs anyway
 * is the least that one took lately. */
static void fetch_plan_sweep(PollSource *poll)
{
    const Fetch *fetch = &poll->fetch;
    int64_t slower_us = poll->plain_us + poll->plain_us / 16 + 10;
    bool first = poll->plain_us == 0;
    poll->plain_us = first || fetch->took_us < slower_us ? fetch->took_us : slower_us;
    if (fetch->sweep) {
        bool free = !fetch->wide && fetch->took_us - poll->plain_us < SWEEP_FREE_US;
        poll->sweep_us = free ? 0 : fetch->took_us - poll->plain_us;
        poll->swept_us = clock_monotonic_us();
    } else if (fetch->cut || poll->next_sweep_us <= poll->swept_us) {
        return; /* as planned, or wanted by somebody */
    }
    bool whole =
        !fetch->cut || fetch->last_seq > fetch->top; /* beyond the top the next one looks */
    int64_t share = fetch->cut ? SWEEP_BACKLOG_SHARE : SWEEP_SHARE;
    int64_t wait_us = whole ? poll->sweep_us * share : 0;
    int64_t longest_us = poll->options.pipeline->poll.sweep_interval_ms * 1000;
    poll->next_sweep_us = poll->swept_us + (wait_us < longest_us ? wait_us : longest_us);
    poll->widen = poll->widen && !(fetch->sweep && whole);
}

/* How far the table was read: what this fetch could have shown and did not is not there, or known.
 */
static void fetch_note_covered(PollSource *poll)
{
    const Fetch *fetch = &poll->fetch;
    if (!fetch->cut) {
        poll->complete_us = fetch->sent_us;
    } else {
        poll->covered_us = fetch->sent_us;
        poll->covered_seq = fetch->last_seq;
    }
}

void fetch_complete(PollSource *poll)
{
    if (poll->fetch.table_oid != claim_table(poll->claim)) {
        fetch_release(poll); /* of another table that has the name by now */
        poll_notice_table(poll, NULL);
        return;
    }
    if (poll->fetch.durable) { /* which nobody waits for where nothing was read */
        history_note_flushed(poll->history, poll->fetch.insert_lsn);
    }
    poll->blocked_said = false;
    /* It is read again, and what is behind it too. Or a row was too large for a look without its
     * size, so there was none. */
    bool blind = poll->fetch.small && !poll->small;
    if (poll->rereading || blind) {
        fence_forget_latest(poll);
        fetch_release(poll);
        poll->more = poll->more || blind;
        fetch_next(poll);
        return;
    }
    bool moved = fetch_finds_numbers_moved(poll);
    if (moved && !poll->fetch.sweep) {
        fetch_repeat(poll);
        return;
    }
    AUTO_ERROR err = {0};
    if (FAILPOINT_FAILS("fetched", &err)) {
        claim_lose(poll->claim, &err);
        return;
    }
    fetch_note_covered(poll);
    histogram_observe_us(poll->options.stats->rows->fetch_duration,
                         clock_monotonic_us() - poll->fetch.sent_us);
    fetch_plan_sweep(poll);
    fetch_adapt(poll);
    bool empty = poll->fetch.rows == 0 && poll->fetch.present_count == 0;
    bool nothing_new = poll->fetch.batch->count == 0 && !poll->fetch.cut;
    fetch_know_rows(poll);
    fetch_see_numbers(poll); /* before the fence: what was seen is no gap */
    if (moved) {             /* perhaps behind this snapshot */
        poll->numbers_moved = true;
        poll->next_sweep_us = 0;
        poll->more = true;
    }
    if (poll->fetch.batch->count > 0) {
        poll->rotation.whole = false;
        fetch_deliver(poll);
    }
    fetch_release(poll);
    fence_advance(poll);
    if (empty || (nothing_new && poll->known.parked > 0)) {
        rotation_check_finished(poll);
    }
    fetch_next(poll);
}

static void fetch_on_done(void *arg, const Error *err)
{
    PollSource *poll = arg;
    Fetch *fetch = &poll->fetch;
    bool our_cancel = err != NULL && fetch->cancelling &&
                      pg_conn_is_open(claim_conn(poll->claim)) &&
                      err->code == CODE_POSTGRES_QUERY_CANCELED;
    if (fetch->error.class != ERROR_NONE) {
        claim_lose(poll->claim, &fetch->error);
        return;
    }
    if (err != NULL && !our_cancel) {
        fetch_on_failure(poll, err);
        return;
    }
    poll_accepted(poll);
    unreadable_passed(&poll->unreadable, fetch->batch->count,
                      (size_t)poll->options.pipeline->limits.batch_events);
    fetch->took_us = clock_monotonic_us() - fetch->sent_us;
    fetch->cut = fetch->cut || fetch->truncated || (!fetch->wide && fetch->rows >= fetch->limit);
    if (our_cancel) {
        fence_forget_latest(poll); /* this fetch was not complete: it says nothing about gaps */
        fetch->insert_lsn[0] = '\0';
        fetch->durable = false;
    }
    if (fetch->batch->count > 0 && !fetch->durable) {
        guard_ask(poll);
    } else {
        fetch_complete(poll);
    }
}

static void fetch_send(PollSource *poll, size_t limit, size_t budget_bytes)
{
    int64_t now_us = clock_monotonic_us();
    fetch_release(poll);
    if (marker_in_order(poll->marker)) {
        known_release(&poll->known, marker_unmarked(poll->marker),
                      *poll->options.stats->rows->marked, now_us,
                      poll->options.pipeline->poll.sweep_interval_ms * 1000);
    }
    bool sweep = now_us >= poll->next_sweep_us || poll->gaps.top == INT64_MIN;
    bool meets_known = (poll->known.count > 0 && (sweep || gaps_are_merged(&poll->gaps))) ||
                       poll->unreadable.probe > 0;
    limit = unreadable_limit(&poll->unreadable, limit);
    memset(&poll->fetch, 0, sizeof(poll->fetch));
    poll->fetch.batch = batch_new();
    poll->fetch.limit = limit;
    poll->fetch.budget_bytes = budget_bytes;
    poll->fetch.top = poll->gaps.top;
    poll->fetch.last_seq = INT64_MIN;
    poll->fetch.sweep = sweep;
    poll->fetch.wide = meets_known;
    poll->fetch.sent_us = now_us;
    poll->fetch.done = fetch_on_done;
    poll->fetch.failed = fetch_on_failure;
    if (fetch_send_lean(poll)) {
        return;
    }
    bool with_fence = fence_is_due(poll, now_us);
    if (meets_known) {
        wide_send(poll, with_fence, now_us);
        return;
    }
    AUTO_BUFFER sql = TEXT_EMPTY;
    if (with_fence) {
        fence_add_query(poll, now_us, &sql);
    }
    const Gaps *gaps = sweep ? &GAPS_NONE : &poll->gaps;
    poll->fetch.small = poll->small;
    if (poll->small) {
        fetch_add_small_sql(poll->table, gaps, limit, &sql);
    } else {
        fetch_add_sql(poll->table, gaps, limit, &sql);
    }
    guard_add_query(poll, &sql);
    claim_ask(poll->claim, &(PgQuery){.step = "fetch",
                                      .sql = sql.data,
                                      .arg = poll,
                                      .rows_wanted = with_fence ? 2 : 1,
                                      .row = fetch_on_row,
                                      .result = fetch_on_result,
                                      .done = fetch_on_done});
}

void poll_fetch_widen(PollSource *poll, int64_t seq)
{
    (void)seq;                                 /* a sweep looks at every number */
    known_drop(&poll->known, poll->forgotten); /* by a fail point, if any */
    poll->forgotten = (KnownRow){0};
    poll->next_sweep_us = 0;
    poll->widen = true;
    poll->more = true;
    fetch_next(poll);
}

/* Bounds rows and bytes of the next fetch by the room there is. False when that would be so small a
 * remainder that waiting for more room is cheaper. */
static bool fetch_fits(const PollSource *poll, size_t *events, size_t *bytes)
{
    const PipelineConfig *config = poll->options.pipeline;
    size_t limit = poll->next_limit;
    size_t enough = (size_t)config->limits.in_flight_events / 4;
    if (*bytes > (size_t)config->limits.batch_bytes) {
        *bytes = (size_t)config->limits.batch_bytes;
    }
    size_t fitting = poll->row_bytes > 0 ? *bytes / poll->row_bytes + 1 : limit;
    *events = fitting < *events ? fitting : *events;
    enough = limit < enough ? limit : enough;
    *events = limit < *events ? limit : *events;
    bool idle = poll->outstanding_count == 0 &&
                marker_unmarked(poll->marker) == 0; /* no more room will come */
    return *events >= enough || idle;
}

void fetch_next(PollSource *poll)
{
    if (poll->state != POLL_ACTIVE || pg_conn_is_busy(claim_conn(poll->claim)) || poll->draining) {
        return;
    }
    const PipelineConfig *config = poll->options.pipeline;
    int64_t rest_us = poll->refused_until_us - clock_monotonic_us();
    if (poll->refused && rest_us > 0) {
        poll_set_timer(poll, rest_us / 1000 + 1);
        return;
    }
    if (marker_recovering(poll->marker)) {
        /* Rows acknowledged before the reconnect still look unpublished. */
        poll_set_timer(poll, config->poll.interval_max_ms);
        return;
    }
    if (rotation_next(poll)) { /* marks may wait for the answer */
        return;
    }
    if (poll->rereading) {
        if (poll->outstanding_count > 0 || marker_unmarked(poll->marker) > 0) {
            poll_set_timer(poll, config->poll.interval_max_ms); /* or on_marked() */
            return;
        }
        fetch_reset(poll);
        poll->more = true;
        if (left_is_wanted(&poll->left) || poll->rotation.undone) {
            rotation_return(poll);
            return;
        }
    }
    size_t events = 0;
    size_t bytes = 0;
    bool room = poll->source.events.room(poll->source.events.arg, marker_unmarked(poll->marker),
                                         &events, &bytes);
    if (poll->more && room && fetch_fits(poll, &events, &bytes)) {
        poll->more = false;
        event_del(poll->timer);
        fetch_send(poll, events, bytes);
        return;
    }
    int64_t silent_us = clock_monotonic_us() - claim_asked_us(poll->claim);
    if (silent_us > config->claim.lease_ms * 1000 / 3) {
        claim_ping(poll->claim);
    }
    poll_set_timer(poll, poll->more ? config->poll.interval_max_ms : poll->interval_ms);
}
