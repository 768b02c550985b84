/* What a fetch brings, row by row, and what becomes of what is known when its batch comes back. */
#include <stdlib.h>
#include <string.h>

#include "base/failpoint.h"
#include "base/memory.h"
#include "flow/refusal.h"
#include "outbox/poll_internal.h"
#include "pg/result.h"
#include "rows/row.h"

const Gaps GAPS_NONE = {.top = INT64_MIN, .low = INT64_MIN};

KnownRow fetch_row_of(const Event *event)
{
    return (KnownRow){.seq = event->seq, .id = event->id_hash};
}

static void wide_release(Fetch *fetch)
{
    free(fetch->wanted);
    free(fetch->present);
    fetch->wanted = NULL;
    fetch->wanted_count = fetch->wanted_capacity = 0;
    fetch->present = NULL;
    fetch->present_count = fetch->present_capacity = 0;
}

void fetch_release(PollSource *poll)
{
    batch_free(&poll->fetch.batch);
    wide_release(&poll->fetch);
    error_clear(&poll->fetch.error);
}

void fetch_reset(PollSource *poll)
{
    fetch_release(poll);
    memset(&poll->fetch, 0, sizeof(poll->fetch));
    gaps_reset(&poll->gaps);
    fence_reset(poll);
    poll->fence.next_us = 0;
    poll->numbers = (Numbers){0};
    poll->sequence_known = false;
    poll->small = false;
    poll->numbers_moved = false;
    known_unpark(&poll->known);
    poll->rereading = false;
    poll->unreadable.lean = LEAN_NONE;
    poll->next_limit = FETCH_FIRST_LIMIT;
    if (poll->next_limit > (size_t)poll->options.pipeline->limits.batch_events) {
        poll->next_limit = (size_t)poll->options.pipeline->limits.batch_events;
    }
    poll->next_sweep_us = 0;
    poll->caught_up = false;
    poll->complete_us = poll->covered_us = 0;
    marker_caught_up(poll->marker, false);
}

void fetch_take_back(PollSource *poll, const Batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        const Event *event = batch->events[i];
        if (event->state == EVENT_PARKED) {
            known_park(&poll->known, fetch_row_of(event));
        } else if (event_is_settled(event)) {
            known_settle(&poll->known, fetch_row_of(event));
        } else {
            known_drop(&poll->known, fetch_row_of(event));
        }
    }
}

bool fetch_strip_header(Fetch *fetch, const char **bytes, size_t *length)
{
    if (!fetch->header_read) {
        fetch->header_read = true;
        if (row_skip_header(bytes, length, &fetch->error) != OK || *length == 0) {
            return false;
        }
    }
    return !row_is_trailer(*bytes, *length);
}

static void fetch_refuse_lean(PollSource *poll, Event *event)
{
    const OutboxTable *table = poll->table;
    bool old = strcmp(table->name, table->configured) != 0; /* renamed, and finished first */
    refusal_set_unreadable(event, old ? table->name : poll->options.pipeline->outbox.table,
                           &poll->unreadable.error);
}

void fetch_on_row(void *arg, const char *bytes, size_t length)
{
    PollSource *poll = arg;
    Fetch *fetch = &poll->fetch;
    if (fetch->error.class != ERROR_NONE || !fetch_strip_header(fetch, &bytes, &length)) {
        return;
    }
    fetch->rows++;
    if (fetch->batch->bytes >= fetch->budget_bytes) {
        fetch->truncated = true;
        fetch->dropped_bytes += length;
        /* A cancel request costs a connection and a process: dropping a few rows is cheaper. */
        if (!fetch->cancelling &&
            fetch->dropped_bytes > (size_t)poll->options.pipeline->limits.batch_bytes) {
            fetch->cancelling = true;
            pg_conn_cancel(claim_conn(poll->claim));
        }
        return;
    }
    size_t bytes_before = fetch->batch->bytes;
    Event *event = NULL;
    Status read = row_read(bytes, length, poll->table->schema, fetch->batch, &event, &fetch->error);
    if (read != OK) {
        return;
    }
    fetch->last_seq = event->seq;
    event->id_hash = known_row(event->seq, event->row[FIELD_EVENT_ID]).id; /* once */
    bool known =
        known_may_have(&poll->known, event->seq) && known_has(&poll->known, fetch_row_of(event));
    AUTO_ERROR forgotten = {0};
    if (!known && FAILPOINT_FAILS("forget_row",
                                  &forgotten)) { /* as if it had been handed on, until widened */
        known_add(&poll->known, poll->forgotten = fetch_row_of(event), false);
        known = true;
    }
    if (known) {
        batch_take_back(fetch->batch);
        fetch->batch->bytes = bytes_before;
        if (!fetch->wide) { /* not again: many of them would fill every fetch */
            gaps_see(&poll->gaps, event->seq);
        }
        return;
    }
    if (fetch->lean != LEAN_NONE) {
        fetch_refuse_lean(poll, event);
    }
    fetch->swept += !gaps_cover(&poll->gaps, event->seq);
}

void fetch_on_result(void *arg, const PGresult *result)
{
    PollSource *poll = arg;
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1) {
        return;
    }
    if (strcmp(PQfname(result, 0), "writers") == 0) {
        free(poll->fence.latest);
        poll->fence.latest = x_strdup(pg_value(result, 0, 0));
        return;
    }
    guard_read(poll, result);
}
