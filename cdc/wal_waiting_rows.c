#include "cdc/wal_waiting_rows.h"

#include <stdlib.h>

#include "base/memory.h"

struct WaitingRows {
    Parked parked;          /* the position has passed them */
    bool known;             /* ... and they are all there are */
    Parked rowless;         /* events that have no such row */
    uint64_t rowless_until; /* the last of them committed there */
};

void waiting_rows_note(WaitingRows *rows, const Batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        const Event *event = batch->events[i];
        if (event->state == EVENT_PARKED && !parked_is_full(&rows->parked)) {
            parked_add(&rows->parked, event->seq, event->row[FIELD_EVENT_ID]);
        }
    }
}

const Parked *waiting_rows_parked(const WaitingRows *rows)
{
    return &rows->parked;
}

bool waiting_rows_are_known(const WaitingRows *rows)
{
    return rows->known;
}

void waiting_rows_know(WaitingRows *rows)
{
    rows->known = true;
}

void waiting_rows_forget(WaitingRows *rows)
{
    rows->known = false;
    parked_clear(&rows->parked);
}

void waiting_rows_add_rowless(WaitingRows *rows, const Event *event)
{
    if (parked_is_full(&rows->rowless)) {
        parked_clear(&rows->rowless); /* those that wait still are found again */
    }
    parked_add(&rows->rowless, event->seq, event->row[FIELD_EVENT_ID]);
    if (event->commit_lsn > rows->rowless_until) {
        rows->rowless_until = event->commit_lsn;
    }
}

bool waiting_rows_is_rowless(const WaitingRows *rows, const Event *event)
{
    return event->commit_lsn != 0 &&
           parked_has(&rows->rowless, event->seq, event->row[FIELD_EVENT_ID]);
}

bool waiting_rows_have_rowless(const WaitingRows *rows)
{
    return rows->rowless.count > 0;
}

void waiting_rows_acked(WaitingRows *rows, uint64_t lsn)
{
    if (rows->rowless.count > 0 && lsn > rows->rowless_until) {
        waiting_rows_forget_rowless(rows);
    }
}

void waiting_rows_forget_rowless(WaitingRows *rows)
{
    parked_clear(&rows->rowless);
    rows->rowless_until = 0;
}

WaitingRows *waiting_rows_new(void)
{
    return x_calloc(1, sizeof(WaitingRows));
}

void waiting_rows_free(WaitingRows **rows)
{
    if (*rows == NULL) {
        return;
    }
    parked_clear(&(*rows)->parked);
    parked_clear(&(*rows)->rowless);
    free(*rows);
    *rows = NULL;
}
