#include "outbox/poll_read.h"

#include <string.h>

#include "base/failpoint.h"
#include "flow/refusal.h"
#include "outbox/poll_culprit.h"
#include "outbox/poll_fence.h"
#include "outbox/poll_guard.h"
#include "outbox/poll_internal.h"
#include "pg/result.h"
#include "rows/row.h"

void intake_begin(Intake *intake, size_t budget_bytes)
{
    KnownRow forgotten = intake->forgotten;
    intake_release(intake);
    memset(intake, 0, sizeof(*intake));
    intake->batch = batch_new();
    intake->budget_bytes = budget_bytes;
    intake->last_seq = INT64_MIN;
    intake->forgotten = forgotten;
}

void intake_release(Intake *intake)
{
    batch_free(&intake->batch);
    error_clear(&intake->error);
}

bool intake_strip_header(bool *header_read, const char **bytes, size_t *length, Error *err)
{
    if (!*header_read) {
        *header_read = true;
        if (row_skip_header(bytes, length, err) != OK || *length == 0) {
            return false;
        }
    }
    return !row_is_trailer(*bytes, *length);
}

static void read_refuse_lean(const Poll *poll, Event *event)
{
    const OutboxTable *table = poll->table;
    bool old = strcmp(table->name, table->configured) != 0; /* renamed, and finished first */
    refusal_set_unreadable(event, old ? table->name : poll->options.pipeline->outbox.table,
                           culprit_error(poll->reading->culprit));
}

/* A cancel request costs a connection and a process: dropping a few rows is cheaper. */
static void read_drop(const Poll *poll, Intake *intake, size_t length)
{
    intake->dropped_bytes += length;
    if (!intake->cancelling &&
        intake->dropped_bytes > (size_t)poll->options.pipeline->limits.batch_bytes) {
        intake->cancelling = true;
        pg_conn_cancel(claim_conn(poll->claim));
    }
}

void read_on_row(void *arg, const char *bytes, size_t length)
{
    Poll *poll = arg;
    Reading *reading = poll->reading;
    Intake *intake = reading->intake;
    if (intake->error.class != ERROR_NONE ||
        !intake_strip_header(&intake->header_read, &bytes, &length, &intake->error)) {
        return;
    }
    intake->rows++;
    if (intake->batch->bytes >= intake->budget_bytes) {
        read_drop(poll, intake, length);
        return;
    }
    size_t bytes_before = intake->batch->bytes;
    Event *event = NULL;
    Status read =
        row_read(bytes, length, poll->table->schema, intake->batch, &event, &intake->error);
    if (read != OK) {
        return;
    }
    intake->last_seq = event->seq;
    KnownRow row = known_row(event->seq, event->row[FIELD_EVENT_ID]);
    event->id_hash = row.id; /* once */
    bool known = known_may_have(reading->known, event->seq) && known_has(reading->known, row);
    AUTO_ERROR forgotten = {0};
    if (!known && FAILPOINT_FAILS("forget_row",
                                  &forgotten)) { /* as if it had been handed on, until widened */
        known_add(reading->known, intake->forgotten = row, false);
        known = true;
    }
    if (known) {
        batch_take_back(intake->batch);
        intake->batch->bytes = bytes_before;
        if (!reading->fetch->wide) { /* not again: many of them would fill every fetch */
            gaps_see(reading->gaps, event->seq);
        }
        return;
    }
    if (reading->fetch->lean != LEAN_NONE) {
        read_refuse_lean(poll, event);
    }
    intake->swept += !gaps_cover(reading->gaps, event->seq);
}

void read_on_result(void *arg, const PGresult *result)
{
    Poll *poll = arg;
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1) {
        return;
    }
    if (strcmp(PQfname(result, 0), "writers") == 0) {
        fence_note(poll->reading->fence, pg_value(result, 0, 0));
    } else {
        guard_read(poll->reading->guard, result);
    }
}

const Batch *intake_batch(const Intake *intake)
{
    return intake->batch;
}

Batch *intake_take_batch(Intake *intake)
{
    Batch *batch = intake->batch;
    intake->batch = NULL;
    return batch;
}

size_t intake_rows(const Intake *intake)
{
    return intake->rows;
}

size_t intake_swept(const Intake *intake)
{
    return intake->swept;
}

int64_t intake_last_seq(const Intake *intake)
{
    return intake->last_seq;
}

bool intake_is_cut(const Intake *intake)
{
    return intake->dropped_bytes > 0;
}

bool intake_cancels(const Intake *intake)
{
    return intake->cancelling;
}

void intake_keep_error(Intake *intake, const Error *err)
{
    error_copy(&intake->error, err);
}

const Error *intake_error(const Intake *intake)
{
    return &intake->error;
}

void intake_remember_forgotten(Intake *intake, Known *known)
{
    known_drop(known, intake->forgotten); /* if any */
    intake->forgotten = (KnownRow){0};
}
