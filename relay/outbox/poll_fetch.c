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
#include "base/clock.h"
#include "base/failpoint.h"
#include "outbox/fetch_sql.h"
#include "outbox/poll_culprit.h"
#include "outbox/poll_fence.h"
#include "outbox/poll_guard.h"
#include "outbox/poll_internal.h"
#include "outbox/poll_pace.h"
#include "outbox/poll_read.h"
#include "outbox/poll_rotation.h"
#include "outbox/poll_sweep.h"
#include "outbox/poll_wide.h"
#include "rows/row.h"

/* It says nothing about gaps. */
static void fetch_throw_away(const Poll *poll)
{
    fence_forget_latest(poll->reading->fence);
    reading_end_fetch(poll->reading);
}

/* What was read may stand behind rows that it did not look for. */
static void fetch_repeat(Poll *poll)
{
    fetch_throw_away(poll);
    sweep_want(poll->reading->sweep);
    pace_want(poll->reading->pace);
    fetch_next(poll);
}

/* Notes the numbers that were read as seen. When nothing is concluded any more from those that were
 * seen before: as the only ones, with those of the known rows that are there. */
static void fetch_see_numbers(const Poll *poll)
{
    const Reading *reading = poll->reading;
    const Batch *batch = intake_batch(reading->intake);
    Gaps *gaps = reading->gaps;
    size_t count = 0;
    const int64_t *numbers = wide_present(reading->wide, &count);
    size_t present = count;
    if (guard_doubts_numbers(reading->guard) && reading->fetch->sweep) {
        gaps_reset(gaps);
        fence_reset(reading->fence, false);
        guard_doubt_numbers(reading->guard, false);
        present = 0;
    }
    for (size_t i = 0; i < batch->count; i++) {
        int64_t seq = batch->events[i]->seq;
        while (present < count && numbers[present] < seq) {
            gaps_see(gaps, numbers[present++]);
        }
        gaps_see(gaps, seq);
    }
    while (present < count) {
        gaps_see(gaps, numbers[present++]);
    }
}

static void fetch_know_rows(const Poll *poll)
{
    const Reading *reading = poll->reading;
    const Batch *batch = intake_batch(reading->intake);
    size_t swept = intake_swept(reading->intake);
    for (size_t i = 0; i < batch->count; i++) {
        const Event *event = batch->events[i];
        known_add(reading->known, reading_row_of(event), !gaps_cover(reading->gaps, event->seq));
    }
    if (swept > 0) {
        guard_doubt_numbers(reading->guard, true);
        sweep_found(reading->sweep, swept);
    }
}

static void fetch_deliver(const Poll *poll)
{
    Batch *batch = intake_take_batch(poll->reading->intake);
    if (pg_conn_takes_bytes(claim_conn(poll->claim))) {
        row_check_texts(batch);
    }
    handed_add(&poll->reading->handed, batch);
    poll->source->events.batch(poll->source->events.arg, batch);
}

/* What the fetch says about the next ones. */
static void fetch_plan(const Poll *poll)
{
    const Reading *reading = poll->reading;
    const Fetch *fetch = reading->fetch;
    pace_note_covered(reading->pace, fetch);
    histogram_observe_us(poll->options.stats->rows->fetch_duration,
                         clock_monotonic_us() - fetch->sent_us);
    sweep_plan(reading->sweep, fetch);
    pace_adapt(reading->pace, fetch, sweep_insists(reading->sweep));
    marker_caught_up(poll->marker, pace_is_caught_up(reading->pace));
}

/* The rows are read and durable. */
static void fetch_complete(Poll *poll)
{
    const Reading *reading = poll->reading;
    const Guard *guard = reading->guard;
    if (guard_table(guard) != claim_table(poll->claim)) {
        reading_end_fetch(poll->reading); /* of another table that has the name by now */
        rotation_notice(poll, NULL);
        return;
    }
    if (guard_is_durable(guard)) { /* which nobody waits for where nothing was read */
        history_note_flushed(poll->history, guard_insert_lsn(guard));
    }
    poll_forget_blocked(poll);
    /* It is read again, and what is behind it too. Or a row was too large for a look without its
     * size, so there was none. */
    bool blind = reading->fetch->small && !guard_finds_small(guard);
    if (reading->rereading || blind) {
        fetch_throw_away(poll);
        if (blind) {
            pace_want(reading->pace);
        }
        fetch_next(poll);
        return;
    }
    bool back = guard_finds_numbers_back(reading->guard);
    if (back && !reading->fetch->sweep) {
        fetch_repeat(poll);
        return;
    }
    AUTO_ERROR err = {0};
    if (FAILPOINT_FAILS("fetched", &err)) {
        claim_lose(poll->claim, &err);
        return;
    }
    fetch_plan(poll);
    size_t present = 0;
    (void)wide_present(reading->wide, &present);
    size_t events = intake_batch(reading->intake)->count;
    bool empty = intake_rows(reading->intake) == 0 && present == 0;
    bool nothing_new = events == 0 && !reading->fetch->cut;
    fetch_know_rows(poll);
    fetch_see_numbers(poll); /* before the fence: what was seen is no gap */
    if (back) {              /* perhaps behind this snapshot */
        guard_doubt_numbers(reading->guard, true);
        sweep_want(reading->sweep);
        pace_want(reading->pace);
    }
    if (events > 0) {
        rotation_note_read(poll);
        fetch_deliver(poll);
    }
    reading_end_fetch(poll->reading);
    fence_advance(reading->fence, reading->gaps, reading->fetch);
    if (empty || (nothing_new && known_parked(reading->known) > 0)) {
        rotation_check_finished(poll);
    }
    fetch_next(poll);
}

/* Is what the fetch saw on disk by now? */

static void fetch_ask_guard(Poll *poll);

static void guard_on_result(void *arg, const PGresult *result)
{
    guard_read_answer(((const Poll *)arg)->reading->guard, result);
}

static void guard_on_done(void *arg, const Error *err)
{
    Poll *poll = arg;
    if (err != NULL) {
        claim_lose(poll->claim, err);
    } else if (guard_is_durable(poll->reading->guard)) {
        fetch_complete(poll);
    } else {
        fetch_ask_guard(poll);
    }
}

static void fetch_ask_guard(Poll *poll)
{
    AUTO_BUFFER sql = TEXT_EMPTY;
    int rows = guard_add_question(poll->reading->guard, poll->table, claim_table(poll->claim),
                                  poll->reading->fetch->wide, &sql);
    claim_ask(poll->claim, &(PgQuery){.step = "guard",
                                      .sql = sql.data,
                                      .rows_wanted = rows,
                                      .arg = poll,
                                      .result = guard_on_result,
                                      .done = guard_on_done});
}

/* The rows are there. */

static void fetch_note_rows(const Poll *poll)
{
    Fetch *fetch = poll->reading->fetch;
    const Intake *intake = poll->reading->intake;
    const Batch *batch = intake_batch(intake);
    fetch->took_us = clock_monotonic_us() - fetch->sent_us;
    fetch->cut = fetch->cut || intake_is_cut(intake) ||
                 (!fetch->wide && intake_rows(intake) >= fetch->limit);
    fetch->last_seq = intake_last_seq(intake);
    fetch->events = batch->count;
    fetch->bytes = batch->bytes;
}

static void fetch_on_done(void *arg, const Error *err)
{
    Poll *poll = arg;
    const Reading *reading = poll->reading;
    const Intake *intake = reading->intake;
    bool our_cancel = err != NULL && intake_cancels(intake) &&
                      pg_conn_is_open(claim_conn(poll->claim)) &&
                      err->code == CODE_POSTGRES_QUERY_CANCELED;
    if (intake_error(intake)->class != ERROR_NONE) {
        claim_lose(poll->claim, intake_error(intake));
        return;
    }
    if (err != NULL && !our_cancel) {
        fetch_on_failure(poll, err);
        return;
    }
    poll_accepted(poll);
    culprit_passed(reading->culprit, intake_batch(intake)->count,
                   (size_t)poll->options.pipeline->limits.batch_events);
    fetch_note_rows(poll);
    if (our_cancel) {
        fence_forget_latest(reading->fence); /* it was not complete: it says nothing about gaps */
        guard_cancelled(reading->guard);
    }
    if (reading->fetch->events > 0 && !guard_is_durable(reading->guard)) {
        fetch_ask_guard(poll);
    } else {
        fetch_complete(poll);
    }
}

/* Sending. */

static void fetch_send_narrow(Poll *poll, bool with_fence, int64_t now_us)
{
    const Reading *reading = poll->reading;
    Fetch *fetch = reading->fetch;
    AUTO_BUFFER sql = TEXT_EMPTY;
    if (with_fence) {
        fence_add_query(reading->fence, claim_table(poll->claim), now_us, &sql);
    }
    const Gaps *gaps = fetch->sweep ? &GAPS_NONE : reading->gaps;
    fetch->small = guard_finds_small(reading->guard);
    if (fetch->small) {
        fetch_add_small_sql(poll->table, gaps, fetch->limit, &sql);
    } else {
        fetch_add_sql(poll->table, gaps, fetch->limit, &sql);
    }
    guard_add_query(reading->guard, poll->table, claim_table(poll->claim), &sql);
    claim_ask(poll->claim, &(PgQuery){.step = "fetch",
                                      .sql = sql.data,
                                      .arg = poll,
                                      .rows_wanted = with_fence ? 2 : 1,
                                      .row = read_on_row,
                                      .result = read_on_result,
                                      .done = fetch_on_done});
}

static void fetch_send(Poll *poll, size_t limit, size_t budget_bytes)
{
    int64_t now_us = clock_monotonic_us();
    Reading *reading = poll->reading;
    reading_end_fetch(reading);
    if (marker_in_order(poll->marker)) {
        known_release(reading->known, marker_unmarked(poll->marker),
                      *poll->options.stats->rows->marked, now_us,
                      poll->options.pipeline->poll.sweep_interval_ms * 1000);
    }
    bool sweep = sweep_is_due(reading->sweep, now_us) || reading->gaps->top == INT64_MIN;
    bool meets_known =
        (known_count(reading->known) > 0 && (sweep || gaps_are_merged(reading->gaps))) ||
        culprit_is_sought(reading->culprit);
    *reading->fetch = (Fetch){.sweep = sweep,
                              .wide = meets_known,
                              .limit = culprit_limit(reading->culprit, limit),
                              .top = reading->gaps->top,
                              .sent_us = now_us};
    intake_begin(reading->intake, budget_bytes);
    guard_begin(reading->guard);
    wide_begin(reading->wide, fetch_on_done, fetch_on_failure);
    if (fetch_send_lean(poll)) {
        return;
    }
    bool with_fence = fence_is_due(reading->fence, reading->gaps, now_us);
    if (meets_known) {
        wide_send(poll, with_fence, now_us);
    } else {
        fetch_send_narrow(poll, with_fence, now_us);
    }
}

void fetch_widen(Poll *poll)
{
    const Reading *reading = poll->reading;
    intake_remember_forgotten(reading->intake, reading->known);
    sweep_want(reading->sweep);
    sweep_insist(reading->sweep);
    pace_want(reading->pace);
    fetch_next(poll);
}

/* True when everything is to be read anew, and that waits, or is begun by another table. */
static bool fetch_rereads(Poll *poll)
{
    if (!handed_is_empty(&poll->reading->handed) || marker_unmarked(poll->marker) > 0) {
        poll_set_timer(poll, poll->options.pipeline->poll.interval_max_ms); /* or on_marked() */
        return true;
    }
    poll_reset_reading(poll);
    pace_want(poll->reading->pace);
    if (left_is_wanted(&poll->left) || rotation_is_undone(poll->rotation)) {
        rotation_return(poll);
        return true;
    }
    return false;
}

/* Reads, if there is room; or keeps the lease, and comes again. */
static void fetch_go_on(Poll *poll)
{
    const PipelineConfig *config = poll->options.pipeline;
    const SourceEvents *source = &poll->source->events;
    Pace *pace = poll->reading->pace;
    size_t unmarked = marker_unmarked(poll->marker);
    bool idle = handed_is_empty(&poll->reading->handed) && unmarked == 0;
    size_t events = 0;
    size_t bytes = 0;
    bool room = source->room(source->arg, unmarked, &events, &bytes);
    if (pace_wants(pace) && room && pace_fits(pace, idle, &events, &bytes)) {
        pace_take(pace);
        event_del(poll->timer);
        fetch_send(poll, events, bytes);
        return;
    }
    int64_t silent_us = clock_monotonic_us() - claim_asked_us(poll->claim);
    if (silent_us > config->claim.lease_ms * 1000 / 3) {
        claim_ping(poll->claim);
    }
    poll_set_timer(poll, pace_wants(pace) ? config->poll.interval_max_ms : pace_interval_ms(pace));
}

void fetch_next(Poll *poll)
{
    if (poll->state != POLL_ACTIVE || pg_conn_is_busy(claim_conn(poll->claim)) || poll->draining ||
        poll->refusal->telling) {
        return;
    }
    int64_t rest_us = poll_rests_us(poll);
    if (rest_us > 0) {
        poll_set_timer(poll, rest_us / 1000 + 1);
        return;
    }
    if (marker_recovering(poll->marker)) {
        /* Rows acknowledged before the reconnect still look unpublished. */
        poll_set_timer(poll, poll->options.pipeline->poll.interval_max_ms);
        return;
    }
    if (rotation_next(poll)) { /* marks may wait for the answer */
        return;
    }
    if (!poll->reading->rereading || !fetch_rereads(poll)) {
        fetch_go_on(poll);
    }
}
