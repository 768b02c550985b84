/* The WAL source: its life as the pipeline sees it. The connection of the claim holds the
 * publisher's lock and writes (position, marks, dead letters); the walsender connection brings the
 * stream. Either of them lost means both are: one way to recover. */
#include "cdc/wal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "cdc/wal_internal.h"
#include "pg/ident.h"
#include "rows/row.h"

static WalSource *wal_of(Source *source)
{
    return (WalSource *)source;
}

static void wal_close(void *arg, bool lost)
{
    (void)lost;
    WalSource *wal = arg;
    wal->distrust = wal->distrust || marker_position_is_beyond(wal->marker);
    stream_stop(wal);
    pg_conn_close(wal->walsender);
    pg_conn_close(wal->filler);
    fill_release(wal);
    ask_release(wal);
    waiting_give_back(wal);
    wal->waiting.reread = wal->waiting.rereading = wal->waiting.stands = false;
    position_drop_waiting(wal);
    wal->facts_told = false;
    wal->creation = (SlotCreation){0};
    wal->rotation.switching = wal->rotation.counting = false;
    wal->state = WAL_AWAY;
}

static bool wal_publishes(const void *arg)
{
    const WalSource *wal = arg;
    return wal->state == WAL_ACTIVE || wal->state == WAL_FILLING || wal->state == WAL_STARTING;
}

static bool wal_on_lease_holds(const void *arg)
{
    return wal_lease_holds(arg);
}

static char *wal_place(void *arg, const Error *err)
{
    (void)err;
    const WalSource *wal = arg;
    MarkerPosition at = marker_position(wal->marker);
    char lsn[24];
    char tx_lsn[24];
    return x_format("position %s, in transaction %s: %llu", lsn_format(at.lsn, lsn),
                    lsn_format(at.tx_lsn, tx_lsn), (unsigned long long)at.tx_ordinal);
}

static void wal_check_drained(WalSource *wal)
{
    if (!wal->draining || !claim_is_live(wal->claim)) {
        return;
    }
    if (claim_stands_by(wal->claim)) {
        claim_end(wal->claim);
        return;
    }
    if (marker_pending(wal->marker) || wal->waiting.oldest != NULL) {
        return;
    }
    bool filled = wal->state == WAL_FILLING && wal->fill.complete && wal->outstanding == 0;
    if (filled && !wal->hole && !wal->fill.recorded) {
        fill_next(wal); /* else the next start would read the table again */
        return;
    }
    if (verify_last(wal) || marker_pending(wal->marker)) {
        return;
    }
    if (wal->state == WAL_ACTIVE) {
        stream_send_status(wal, false);
    }
    claim_end(wal->claim);
}

static void wal_pulse(void *arg)
{
    WalSource *wal = arg;
    claim_ping(wal->claim);
    if (wal->state == WAL_ACTIVE) {
        stream_watch(wal);
    }
    wal_slot_watch(wal);
    marker_next(wal->marker);
}

static void wal_start(Source *source, int64_t delay_ms)
{
    WalSource *wal = wal_of(source);
    marker_caught_up(wal->marker, false);
    claim_start(wal->claim, delay_ms);
}

static void wal_resume(Source *source)
{
    WalSource *wal = wal_of(source);
    if (wal->state != WAL_LOCKED) {
        return; /* drained, or lost meanwhile */
    }
    wal_take_up(wal);
    if (!wal->waiting.known) {
        waiting_forget(wal);
    }
    wal->state = WAL_CHECKING;
    wal_want(wal, JOB_FACTS);
}

static void wal_ack(Source *source, Batch *batch)
{
    WalSource *wal = wal_of(source);
    if (wal->outstanding > 0) {
        wal->outstanding--;
        wal->outstanding_events -= batch->count;
    }
    if (waiting_keeps_back(wal, batch)) {
        return;
    }
    wal_pass(wal, batch);
    marker_next(wal->marker);
    if (wal->rotation.switching) {
        claim_pulse_now(wal->claim);
    }
    if (wal->state == WAL_FILLING) {
        fill_next(wal);
    }
}

static bool wal_may_publish(Source *source)
{
    WalSource *wal = wal_of(source);
    if (!wal_publishes(wal)) {
        return false;
    }
    if (wal_lease_holds(wal)) {
        return true;
    }
    wal_lose_lease(wal);
    return false;
}

static void wal_wake(Source *source)
{
    WalSource *wal = wal_of(source);
    claim_wake(wal->claim);
    if (wal->state == WAL_ACTIVE && wal->stream.paused) {
        stream_resume(wal);
    } else if (wal->state == WAL_FILLING) {
        fill_next(wal);
    }
}

static void wal_verified(Source *source, uint64_t wal_end, const char *identity)
{
    verify_take(wal_of(source), wal_end, identity);
}

static void wal_drain(Source *source)
{
    WalSource *wal = wal_of(source);
    wal->draining = true;
    marker_drain(wal->marker);
    wal_check_drained(wal);
}

/* What follows has its place behind all of it: the log behind the rows from before the slot, a
 * table behind the one that was renamed. */
static bool wal_reads_on(const Source *source)
{
    const WalSource *wal = (const WalSource *)source;
    bool filled = wal->state == WAL_FILLING && wal->fill.complete;
    return wal->outstanding == 0 || !(filled || wal->rotation.switching);
}

static void wal_free(Source *source)
{
    WalSource *wal = wal_of(source);
    stream_release(wal);
    fill_release(wal);
    claim_free(&wal->claim);
    pg_conn_free(&wal->walsender);
    pg_conn_free(&wal->filler);
    assembler_release(&wal->assembler);
    fill_forget(&wal->fill);
    error_clear(&wal->error);
    error_clear(&wal->unreadable);
    known_events_release(&wal->again);
    known_seqs_release(&wal->filled);
    ask_release(wal);
    waiting_release(wal);
    wal_rotation_release(wal);
    position_drop_waiting(wal);
    free(wal->position_table);
    free(wal->position_key);
    table_free(&wal->table);
    free(wal);
}

static void wal_reread(Source *source)
{
    WalSource *wal = (WalSource *)source;
    if (!waiting_is_connected(wal) || wal->draining) {
        waiting_forget(wal); /* resume() reads the table, if there is anything */
        return;
    }
    stream_stop(wal);
    pg_conn_close(wal->walsender);
    pg_conn_close(wal->filler);
    fill_release(wal);
    ask_release(wal);
    waiting_begin_reread(wal);
}

static const SourceOps WAL_OPS = {
    .start = wal_start,
    .resume = wal_resume,
    .ack = wal_ack,
    .may_publish = wal_may_publish,
    .wake = wal_wake,
    .drain = wal_drain,
    .unmarked = wal_unmarked,
    .verified = wal_verified,
    .sight = view_sight,
    .look_at_rows = waiting_look_at_rows,
    .backlog = view_backlog,
    .may_park = waiting_may_park,
    .parked = waiting_parked,
    .reread = wal_reread,
    .reads_on = wal_reads_on,
    .status = view_status,
    .slot = view_slot,
    .free = wal_free,
};

/* To the claim. */

static void wal_go_on(WalSource *wal)
{
    waiting_go_on(wal);
    wal_rotation_go_on(wal);
    verify_go_on(wal);
    if (wal->state == WAL_FILLING) {
        fill_next(wal);
    }
}

/* What comes next. */
static void wal_on_news(WalSource *wal, WalNews news)
{
    switch (news) {
    case NEWS_SETTLED:
        wal_check_drained(wal);
        break;
    case NEWS_ANSWERED:
        stream_go_on(wal);
        break;
    case NEWS_NOTED:
        wal_rotation_look_between(wal);
        break;
    case NEWS_TURNED:
        if (wal->state == WAL_FILLING) {
            fill_next(wal);
        } else if (wal->held.bytes != NULL) {
            stream_go_on(wal);
        }
        break;
    case NEWS_SCOUTED:
        fill_next(wal);
        break;
    case NEWS_COMPARED:
        wal_slot_compared(wal);
        break;
    case NEWS_FILLED:
        if (wal->draining) {
            wal_check_drained(wal);
        } else if (wal->state == WAL_FILLING) { /* else all of it is read again */
            wal_slot_stream(wal);
        }
        break;
    }
}

static void wal_pinged(void *arg)
{
    WalSource *wal = arg;
    if (wal->error.class != ERROR_NONE) {
        claim_lose(wal->claim, &wal->error);
        return;
    }
    if (wal->slot_taken) {
        wal_stand_by(wal, "another relay reads the slot");
        return;
    }
    wal_go_on(wal);
    if (wal->state == WAL_ACTIVE) {
        stream_advance_idle(wal);
        if (wal->idle.wanted && wal_is_idle(wal)) {
            stream_send_status(wal, true); /* how far is the stream? */
        }
    }
}

static void wal_marked(void *arg)
{
    WalSource *wal = arg;
    wal_go_on(wal);
    if (wal->state == WAL_ACTIVE) {
        stream_send_status(wal, false);
    }
}

static void wal_idle(void *arg)
{
    wal_go_on(arg);
    wal_check_drained(arg);
}

static const ClaimReader WAL_READER = {
    .replicates = true,
    .looks_itself = true,
    .looked = wal_session_looked,
    .tolerates = wal_session_tolerates,
    .held = wal_session_lock_held,
    .taken = wal_session_lock_taken,
    .pulse = wal_pulse,
    .add_ping = wal_session_add_ping,
    .ping_result = wal_session_ping_result,
    .pinged = wal_pinged,
    .publishes = wal_publishes,
    .lease_holds = wal_on_lease_holds,
    .place = wal_place,
    .close = wal_close,
    .marked = wal_marked,
    .idle = wal_idle,
};

static const ClaimJob WAL_JOBS[JOBS] = {
    [JOB_FACTS] = {.name = "facts", .run = wal_session_run},
    [JOB_POSITION] = {.name = "store position", .run = position_run},
    [JOB_LOG] = {.name = "ask about the log", .run = ask_run},
    [JOB_WAITING] = {.name = "rows that wait", .run = waiting_run},
    [JOB_ROTATION] = {.name = "next table", .run = wal_rotation_run},
    [JOB_VERIFY] = {.name = "verify last row", .run = verify_run},
};

Status wal_source_new(const SourceOptions *options, Source **ret_source, Error *err)
{
    OutboxTable *table = NULL;
    if (table_new(options->pipeline, &table, err) != OK) {
        return FAILED;
    }
    WalSource *wal = x_calloc(1, sizeof(*wal));
    int64_t lease_ms = options->pipeline->claim.lease_ms;
    bool keep = options->pipeline->outbox.on_publish == ON_PUBLISH_KEEP;
    wal->source.ops = &WAL_OPS;
    wal->options = *options;
    wal->table = table;
    wal->tell = wal_on_news;
    wal->assembler.pipeline = options->pipeline;
    wal->assembler.relations.table = table;
    wal->assembler.parked = &wal->waiting.parked;
    AUTO_TEXT name = ident_literal(options->pipeline->name);
    wal->position_key = x_format("pipeline = %s", name);
    wal->claim = claim_new(&(ClaimOptions){.source = &wal->options,
                                           .table = table,
                                           .events = &wal->source,
                                           .reader = &WAL_READER,
                                           .arg = wal,
                                           .shared = keep});
    wal->marker = claim_marker(wal->claim);
    wal->history = claim_history(wal->claim);
    /* The creation of a slot waits for every running transaction. */
    wal->walsender =
        claim_new_conn(wal->claim, &(PgConnOptions){.tcp_user_timeout_ms = lease_ms / 2,
                                                    .replication = true,
                                                    .arg = wal,
                                                    .opened = wal_slot_walsender_opened});
    /* It may read ahead. */
    wal->filler = claim_new_conn(wal->claim, &(PgConnOptions){.tcp_user_timeout_ms = lease_ms,
                                                              .arg = wal,
                                                              .opened = fill_filler_opened});
    for (int job = 0; job < JOBS; job++) {
        wal->jobs[job] = WAL_JOBS[job];
        wal->jobs[job].arg = wal;
    }
    STAILQ_INIT(&wal->row.saves);
    waiting_init(wal);
    wal_rotation_init(wal);
    if (stream_init(wal, err) != OK) {
        wal_free(&wal->source);
        return FAILED;
    }
    *ret_source = &wal->source;
    return OK;
}
