#include "rows/mark_queue.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

void mark_queue_add(MarkQueue *queue, int64_t seq, uint32_t xid)
{
    if (queue->count == queue->capacity) {
        queue->capacity = queue->capacity > 0 ? queue->capacity * 2 : 1024;
        queue->rows = x_realloc(queue->rows, queue->capacity * sizeof(*queue->rows));
    }
    queue->rows[queue->count++] = (MarkRow){.seq = seq, .xid = xid};
    queue->events_added++;
}

void mark_queue_add_position(MarkQueue *queue, const MarkerPosition *position)
{
    MarkBoundary boundary = {.events = queue->events_added, .position = *position};
    if (queue->boundaries != NULL && queue->boundary_count > queue->boundaries_sent &&
        queue->boundaries[queue->boundary_count - 1].events == queue->events_added) {
        queue->boundaries[queue->boundary_count - 1] = boundary;
        return;
    }
    if (queue->boundaries == NULL || queue->boundary_count == queue->boundary_capacity) {
        queue->boundary_capacity = queue->boundary_capacity > 0 ? queue->boundary_capacity * 2 : 64;
        queue->boundaries =
            x_realloc(queue->boundaries, queue->boundary_capacity * sizeof(*queue->boundaries));
    }
    queue->boundaries[queue->boundary_count++] = boundary;
}

void mark_queue_choose(MarkQueue *queue, size_t most)
{
    queue->sent = queue->count < most ? queue->count : most;
    queue->boundaries_sent = 0;
    queue->position_sent = queue->position;
    while (queue->boundaries_sent < queue->boundary_count &&
           queue->boundaries[queue->boundaries_sent].events <= queue->events_done + queue->sent) {
        queue->position_sent = queue->boundaries[queue->boundaries_sent++].position;
    }
}

bool mark_snapshot_shows(const char *snapshot, uint32_t xid)
{
    if (xid == 0) {
        return true;
    }
    char *at = NULL;
    (void)strtoull(snapshot, &at, 10); /* xmin: lower than everything that follows */
    if (*at != ':') {
        return false;
    }
    uint32_t xmax = (uint32_t)strtoull(at + 1, &at, 10);
    if ((int32_t)(xid - xmax) >= 0) {
        return false;
    }
    while (*at == ':' || *at == ',') {
        const char *number = at + 1;
        uint32_t running = (uint32_t)strtoull(number, &at, 10);
        if (at != number && running == xid) {
            return false;
        }
    }
    return true;
}

static int compare_seqs(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a;
    int64_t right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

static bool missing_has(const MarkMissing *missing, int64_t seq)
{
    return missing->count > 0 && bsearch(&seq, missing->seqs, missing->count,
                                         sizeof(*missing->seqs), compare_seqs) != NULL;
}

/* Drops the first `done` boundaries. */
static void boundaries_drop(MarkQueue *queue, size_t done)
{
    if (done > 0) {
        queue->boundary_count -= done;
        memmove(queue->boundaries, queue->boundaries + done,
                queue->boundary_count * sizeof(*queue->boundaries));
    }
    queue->boundaries_sent = 0;
}

size_t mark_queue_settle(MarkQueue *queue, const MarkMissing *missing, size_t *ret_vanished)
{
    size_t kept = 0;
    *ret_vanished = 0;
    if (missing->count > 1) {
        qsort(missing->seqs, missing->count, sizeof(*missing->seqs), compare_seqs);
    }
    for (size_t i = 0; missing->count > 0 && i < queue->sent; i++) {
        MarkRow row = queue->rows[i];
        if (!missing_has(missing, row.seq)) {
            continue;
        }
        if (mark_snapshot_shows(missing->snapshot, row.xid)) {
            ++*ret_vanished;
        } else {
            queue->rows[kept++] = row;
        }
    }
    if (queue->sent > kept) {
        memmove(queue->rows + kept, queue->rows + queue->sent,
                (queue->count - queue->sent) * sizeof(*queue->rows));
    }
    queue->count -= queue->sent - kept;
    queue->events_done += queue->sent - kept;
    queue->sent = 0;
    if (missing->count == 0) {
        queue->position = queue->position_sent;
        boundaries_drop(queue, queue->boundaries_sent);
    } else if (queue->boundaries_sent > 0) {
        boundaries_drop(queue, queue->boundaries_sent - 1); /* the last one implies the others */
    }
    return kept;
}

void mark_queue_unsend(MarkQueue *queue)
{
    queue->sent = 0;
    queue->boundaries_sent = 0;
}

bool mark_queue_is_empty(const MarkQueue *queue)
{
    return queue->count == 0 && queue->boundary_count == 0;
}

void mark_queue_release(MarkQueue *queue)
{
    free(queue->rows);
    free(queue->boundaries);
    *queue = (MarkQueue){0};
}
