#include "rows/mark_queue.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "flow/event.h"

static void row_set_id(MarkRow *row, Slice event_id)
{
    if (slice_is_null(event_id)) {
        row->id_length = MARK_ID_NULL;
        return;
    }
    char *to = row->id.bytes;
    row->id_length = (uint32_t)event_id.length;
    if (event_id.length > MARK_ID_INLINE) {
        row->id.more = x_malloc(event_id.length);
        to = row->id.more;
    }
    memcpy(to, event_id.data, event_id.length);
}

static bool row_has_more(const MarkRow *row)
{
    return row->id_length != MARK_ID_NULL && row->id_length > MARK_ID_INLINE;
}

static void row_release(const MarkRow *row)
{
    if (row_has_more(row)) {
        free(row->id.more);
    }
}

Slice mark_row_id(const MarkRow *row)
{
    if (row->id_length == MARK_ID_NULL) {
        return SLICE_NULL;
    }
    return (Slice){.data = row_has_more(row) ? row->id.more : row->id.bytes,
                   .length = row->id_length};
}

bool mark_queue_has(const MarkQueue *queue, int64_t seq, Slice event_id)
{
    for (size_t i = 0; i < queue->count; i++) {
        const MarkRow *row = &queue->rows[i];
        if (row->seq == seq && slice_equal(mark_row_id(row), event_id)) {
            return true;
        }
    }
    return false;
}

void mark_queue_add(MarkQueue *queue, int64_t seq, Slice event_id, uint32_t xid)
{
    if (queue->count == queue->capacity) {
        queue->capacity = queue->capacity > 0 ? queue->capacity * 2 : 1024;
        queue->rows = x_realloc(queue->rows, queue->capacity * sizeof(*queue->rows));
    }
    MarkRow *row = &queue->rows[queue->count++];
    row->seq = seq;
    row->xid = xid;
    row->refused = false;
    row_set_id(row, event_id);
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

static int compare_rows(const void *a, const void *b)
{
    const MarkRow *left = *(const MarkRow *const *)a;
    const MarkRow *right = *(const MarkRow *const *)b;
    if (left->seq != right->seq) {
        return left->seq < right->seq ? -1 : 1;
    }
    return (left > right) - (left < right); /* the older one first */
}

/* Lists the first `sent` rows by seq. */
static void queue_list_chosen(MarkQueue *queue)
{
    if (queue->chosen_capacity < queue->sent) {
        queue->chosen_capacity = queue->sent;
        free((void *)queue->chosen);
        queue->chosen = x_malloc(queue->sent * sizeof(*queue->chosen));
    }
    bool sorted = true;
    queue->chosen_count = 0;
    for (size_t i = 0; i < queue->sent; i++) {
        const MarkRow *row = &queue->rows[i];
        if (row->seq == EVENT_NO_SEQ || row->refused) {
            continue;
        }
        size_t before = queue->chosen_count;
        sorted = sorted && (before == 0 || queue->chosen[before - 1]->seq < row->seq);
        queue->chosen[queue->chosen_count++] = row;
    }
    if (!sorted) {
        qsort((void *)queue->chosen, queue->chosen_count, sizeof(*queue->chosen), compare_rows);
    }
}

/* How many rows there are before the first whose number one of them has, too; `sent`: none. */
static size_t queue_first_twice(const MarkQueue *queue)
{
    size_t first = queue->sent;
    for (size_t i = 1; i < queue->chosen_count; i++) {
        size_t at = (size_t)(queue->chosen[i] - queue->rows);
        if (queue->chosen[i]->seq == queue->chosen[i - 1]->seq && at < first) {
            first = at;
        }
    }
    return first;
}

void mark_queue_choose(MarkQueue *queue, size_t most)
{
    size_t refused = 0;
    queue->sent = 0;
    while (queue->sent < queue->count && queue->sent - refused < most) {
        refused += queue->rows[queue->sent++].refused;
    }
    queue_list_chosen(queue);
    size_t once = queue_first_twice(queue);
    if (once < queue->sent) {
        queue->sent = once;
        queue_list_chosen(queue);
    }
    queue->boundaries_sent = 0;
    queue->position_sent = queue->position;
    if (refused > 0 || queue->sent < queue->behind) {
        return; /* what is done is not all that came before some place */
    }
    while (queue->boundaries_sent < queue->boundary_count &&
           queue->boundaries[queue->boundaries_sent].events <= queue->events_done + queue->sent) {
        queue->position_sent = queue->boundaries[queue->boundaries_sent++].position;
    }
}

const MarkRow *const *mark_queue_chosen(const MarkQueue *queue, size_t *ret_count)
{
    *ret_count = queue->chosen_count;
    return (const MarkRow *const *)queue->chosen;
}

/* The 32 bits of an xid8 at *at, and what follows it; false: there is none. */
static bool snapshot_number(const char **at, uint32_t *ret_xid)
{
    const char *begin = *at;
    uint64_t number = 0;
    for (; **at >= '0' && **at <= '9'; ++*at) {
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, (uint64_t)(**at - '0'), &number)) {
            return false;
        }
    }
    *ret_xid = (uint32_t)number;
    return *at > begin;
}

/* Of a text that is no snapshot nothing is shown: the row is kept, and asked for again. */
bool mark_snapshot_shows(const char *snapshot, uint32_t xid)
{
    uint32_t xmin = 0; /* lower than everything that follows */
    uint32_t xmax = 0;
    bool runs = false;
    if (xid == 0) {
        return true;
    }
    if (!snapshot_number(&snapshot, &xmin) || *snapshot++ != ':' ||
        !snapshot_number(&snapshot, &xmax) || *snapshot++ != ':') {
        return false;
    }
    for (bool more = *snapshot != '\0'; more; snapshot += more ? 1 : 0) {
        uint32_t running = 0;
        if (!snapshot_number(&snapshot, &running)) {
            return false;
        }
        runs = runs || running == xid;
        more = *snapshot == ',';
    }
    return *snapshot == '\0' && !runs && (int32_t)(xid - xmax) < 0;
}

static int compare_misses(const void *a, const void *b)
{
    int64_t left = ((const MarkMiss *)a)->seq;
    int64_t right = ((const MarkMiss *)b)->seq;
    return (left > right) - (left < right);
}

static const MarkMiss *missing_find(const MarkMissing *missing, int64_t seq)
{
    MarkMiss key = {.seq = seq};
    return missing->count > 0 ? bsearch(&key, missing->rows, missing->count, sizeof(*missing->rows),
                                        compare_misses)
                              : NULL;
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

size_t mark_queue_settle(MarkQueue *queue, const MarkMissing *missing, MarkGone *ret_gone)
{
    size_t kept = 0;
    size_t refused = 0;
    *ret_gone = (MarkGone){0};
    if (missing->count > 1) {
        qsort(missing->rows, missing->count, sizeof(*missing->rows), compare_misses);
    }
    for (size_t i = 0; i < queue->sent; i++) {
        MarkRow row = queue->rows[i];
        if (row.refused) {
            queue->rows[kept++] = row;
            refused++;
            continue;
        }
        const MarkMiss *miss = missing_find(missing, row.seq);
        if (miss != NULL && !mark_snapshot_shows(missing->snapshot, row.xid)) {
            queue->rows[kept++] = row;
            continue;
        }
        ret_gone->replaced += miss != NULL && miss->replaced;
        ret_gone->vanished += miss != NULL && !miss->replaced;
        row_release(&row);
    }
    queue->behind = kept + (queue->behind > queue->sent ? queue->behind - queue->sent : 0);
    if (queue->sent > kept) {
        memmove(queue->rows + kept, queue->rows + queue->sent,
                (queue->count - queue->sent) * sizeof(*queue->rows));
    }
    queue->count -= queue->sent - kept;
    queue->events_done += queue->sent - kept;
    queue->sent = 0;
    queue->chosen_count = 0;
    if (missing->count == 0) {
        queue->position = queue->position_sent;
        boundaries_drop(queue, queue->boundaries_sent);
    } else if (queue->boundaries_sent > 0) {
        boundaries_drop(queue, queue->boundaries_sent - 1); /* the last one implies the others */
    }
    return kept - refused;
}

void mark_queue_refuse(MarkQueue *queue)
{
    for (size_t i = 0; i < queue->chosen_count; i++) {
        queue->rows[queue->chosen[i] - queue->rows].refused = true;
    }
    queue->refused += queue->chosen_count;
    mark_queue_unsend(queue);
}

void mark_queue_excuse(MarkQueue *queue, size_t nth)
{
    if (queue->refused == 0) {
        return;
    }
    size_t left = nth % queue->refused;
    for (size_t i = 0; i < queue->count; i++) {
        if (queue->rows[i].refused && left-- == 0) {
            queue->rows[i].refused = false;
            queue->refused--;
            return;
        }
    }
}

void mark_queue_forgive(MarkQueue *queue)
{
    for (size_t i = 0; i < queue->count; i++) {
        queue->rows[i].refused = false;
    }
    queue->refused = 0;
}

void mark_queue_unsend(MarkQueue *queue)
{
    queue->sent = 0;
    queue->chosen_count = 0;
    queue->boundaries_sent = 0;
}

static void queue_release_rows(MarkQueue *queue)
{
    for (size_t i = 0; i < queue->count; i++) {
        row_release(&queue->rows[i]);
    }
    queue->count = 0;
    queue->refused = 0;
    queue->behind = 0;
}

void mark_queue_forget(MarkQueue *queue)
{
    mark_queue_unsend(queue);
    queue_release_rows(queue);
    queue->events_done = queue->events_added;
    queue->boundary_count = 0;
}

bool mark_queue_is_empty(const MarkQueue *queue)
{
    return queue->count == 0 && queue->boundary_count == 0;
}

void mark_queue_release(MarkQueue *queue)
{
    queue_release_rows(queue);
    free(queue->rows);
    free((void *)queue->chosen);
    free(queue->boundaries);
    *queue = (MarkQueue){0};
}
