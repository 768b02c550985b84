#include "wal_rig.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

Rig rig;

/* The pipeline. */

static void note_parted(void)
{
    rig.walsender = 0;
}

static void note_delivered(const Batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        const Event *event = batch->events[i];
        RigRow *row = &rig.rows[event->seq];
        bool known = event->state == EVENT_PARKED ? row->parked : row->acknowledged;
        cr_assert_eq(event_is_settled(event), known, "row %" PRId64, event->seq);
        cr_assert_not(row->out, "row %" PRId64 " is handed on twice", event->seq);
        row->out = true;
        row->delivered += !event_is_settled(event);
    }
}

static void note_given_back(const Batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        RigRow *row = &rig.rows[batch->events[i]->seq];
        row->out = false;
        row->acknowledged |= event_is_over(batch->events[i]);
        row->parked = batch->events[i]->state == EVENT_PARKED;
    }
}

void rig_prepare(void)
{
    error_clear(&rig.pipe.error);
    memcpy(&rig,
           &(Rig){.end_lsn = 0x10000,
                  .timeline = 1,
                  .publication = "publication 1",
                  .position.end = SLOT_NO_END,
                  .has_publication = true,
                  .wal_status = "reserved",
                  .snapshot = "10:10:",
                  .pipe = source_rig_of()},
           sizeof(rig));
    rig.pipe.came = note_delivered;
    rig.pipe.went = note_given_back;
    rig.pipe.parted = note_parted;
    rig.pipe.pipeline.capture = CAPTURE_WAL;
    given_columns_needed(rig.pipe.pipeline.outbox.columns);
    rig.pipe.pipeline.wal.slot = GIVEN("outboxd_orders");
    rig.pipe.pipeline.wal.publication = GIVEN("outboxd_orders");
    rig.pipe.pipeline.outbox.mark_interval_ms = 0;
    rig.pipe.pipeline.wal.shutdown_grace_ms = 10000;
    stub_reset(rig_serve, NULL);
    stub_stream_receive(rig_receive);
}

void rig_begin(void)
{
    source_rig_begin(&rig.pipe, wal_source_new);
}

void rig_given_position(uint64_t lsn)
{
    rig.has_slot = true;
    rig.confirmed = lsn;
    rig.position = (RigPosition){.lsn = lsn, .end = SLOT_NO_END};
}

void rig_begin_streaming(void)
{
    rig_given_position(rig.end_lsn);
    rig_begin();
    RIG_WAIT(rig.walsender != 0 && rig.pipe.active == 1);
}

void rig_end(void)
{
    source_rig_end(&rig.pipe);
    for (size_t i = 0; i < RIG_ROWS; i++) {
        rig.rows[i].out = false;
    }
    rig.walsender = 0;
    text_free(&rig.trace);
    cr_assert_eq(stub_open_connections(), 0);
    cr_assert_eq(stub_open_results(), 0);
}

TestSuite(wal, .init = rig_prepare, .fini = rig_end);

void rig_watch(void)
{
    if (!rig.unwatched && rig.pipe.source != NULL && rig.walsender != 0) {
        rig.pipe.source->ops->verified(rig.pipe.source, rig_log_end(), rig.publication);
    }
}

void rig_turn(void)
{
    rig_watch();
    source_rig_turn(&rig.pipe);
}

size_t rig_delivered(void)
{
    size_t count = 0;
    for (size_t i = 0; i < RIG_ROWS; i++) {
        count += rig.rows[i].delivered;
    }
    return count;
}

static void settle(Batch *batch, int64_t except)
{
    for (size_t i = 0; i < batch->count; i++) {
        if (batch->events[i]->seq != except && !event_is_settled(batch->events[i])) {
            batch_settle(batch->events[i], EVENT_PUBLISHED);
        }
    }
}

void rig_ack(int64_t except)
{
    Batch *batch = source_rig_take_oldest(&rig.pipe);
    settle(batch, except);
    source_rig_give_back(&rig.pipe, batch);
}

void rig_ack_parked(int64_t first, int64_t last)
{
    cr_assert_gt(rig.pipe.batch_count, 0);
    Batch *batch = rig.pipe.batches[0];
    for (size_t i = 0; i < batch->count; i++) {
        Event *event = batch->events[i];
        if (!event_is_settled(event)) {
            bool waits = event->seq >= first && event->seq <= last;
            batch_settle(event, waits ? EVENT_PARKED : EVENT_PUBLISHED);
        }
    }
    rig_ack(-1);
}

void rig_ack_all(void)
{
    while (rig.pipe.batch_count > 0) {
        rig_ack(-1);
    }
}

void rig_restart(void)
{
    source_rig_restart(&rig.pipe);
}

void rig_lose_a_mark(void)
{
    rig_begin_streaming();
    rig.hang_marks = true;
    rig_commit(1, 2);
    RIG_WAIT(rig.pipe.batch_count == 1);
    rig_ack_all();
    RIG_WAIT(rig.marks == 1);
    stub_break_idle(rig.walsender);
    RIG_WAIT(rig.pipe.lost == 1);
    rig.hang_marks = false;
    rig.position.lsn = 0x10000;
    rig.position.writes--;
}

void rig_assert_published_once(int64_t first, int64_t last)
{
    for (int64_t seq = first; seq <= last; seq++) {
        cr_assert_eq(rig.rows[seq].delivered, 1, "row %" PRId64, seq);
        cr_assert(rig.rows[seq].marked, "row %" PRId64, seq);
    }
}

void rig_assert_trace(const char *expected)
{
    cr_assert_str_eq(text_string(&rig.trace), expected, "%s", text_string(&rig.trace));
}
