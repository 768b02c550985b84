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
    for (size_t i = 0; i < queue->rows.count; i++) {
        const MarkRow *row = &queue->rows.items[i];
        if (row->seq == seq && slice_equal(mark_row_id(row), event_id)) {
            return true;
        }
    }
    return false;
}

void mark_queue_add_position(MarkQueue *queue, const MarkerPosition *position)
{
    mark_positions_add(&queue->positions, queue->events_added, position);
}

size_t mark_queue_count(const MarkQueue *queue)
{
    return queue->rows.count;
}

size_t mark_queue_refused(const MarkQueue *queue)
{
    return queue->refused;
}

MarkerPosition mark_queue_position(const MarkQueue *queue)
{
    return queue->positions.committed;
}

const MarkerPosition *mark_queue_position_sent(const MarkQueue *queue)
{
    return &queue->positions.on_its_way;
}

void mark_queue_set_position(MarkQueue *queue, const MarkerPosition *position)
{
    queue->positions.committed = *position;
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
    bool sorted = true;
    queue->chosen.count = 0;
    for (size_t i = 0; i < queue->sent; i++) {
        const MarkRow *row = &queue->rows.items[i];
        if (row->seq == EVENT_NO_SEQ || row->refused) {
            continue;
        }
        size_t before = queue->chosen.count;
        sorted = sorted && (before == 0 || queue->chosen.items[before - 1]->seq < row->seq);
        *vec_add(&queue->chosen) = row;
    }
    if (!sorted) {
        qsort((void *)queue->chosen.items, queue->chosen.count, sizeof(*queue->chosen.items),
              compare_rows);
    }
}

void mark_queue_add(MarkQueue *queue, int64_t seq, Slice event_id, uint32_t xid)
{
    bool moves = queue->rows.count == queue->rows.capacity;
    MarkRow *row = vec_add(&queue->rows);
    row->seq = seq;
    row->xid = xid;
    row->refused = false;
    row_set_id(row, event_id);
    queue->events_added++;
    if (moves && queue->sent > 0) {
        queue_list_chosen(queue); /* those of the running statement stand elsewhere now */
    }
}

/* How many rows there are before the first whose number one of them has, too; `sent`: none. */
static size_t queue_first_twice(const MarkQueue *queue)
{
    size_t first = queue->sent;
    for (size_t i = 1; i < queue->chosen.count; i++) {
        size_t at = (size_t)(queue->chosen.items[i] - queue->rows.items);
        if (queue->chosen.items[i]->seq == queue->chosen.items[i - 1]->seq && at < first) {
            first = at;
        }
    }
    return first;
}

void mark_queue_choose(MarkQueue *queue, size_t most)
{
    size_t refused = 0;
    queue->sent = 0;
    while (queue->sent < queue->rows.count && queue->sent - refused < most) {
        refused += queue->rows.items[queue->sent++].refused;
    }
    queue_list_chosen(queue);
    size_t once = queue_first_twice(queue);
    if (once < queue->sent) {
        queue->sent = once;
        queue_list_chosen(queue);
    }
    if (refused > 0 || queue->sent < queue->behind) {
        mark_positions_hold(&queue->positions); /* not all that came before some place is done */
    } else {
        mark_positions_send(&queue->positions, queue->events_done + queue->sent);
    }
}

const MarkRow *const *mark_queue_chosen(const MarkQueue *queue, size_t *ret_count)
{
    *ret_count = queue->chosen.count;
    return (const MarkRow *const *)queue->chosen.items;
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

size_t mark_queue_settle(MarkQueue *queue, const MarkMissing *missing, MarkGone *ret_gone)
{
    size_t kept = 0;
    size_t refused = 0;
    *ret_gone = (MarkGone){0};
    if (missing->count > 1) {
        qsort(missing->rows, missing->count, sizeof(*missing->rows), compare_misses);
    }
    for (size_t i = 0; i < queue->sent; i++) {
        MarkRow row = queue->rows.items[i];
        if (row.refused) {
            queue->rows.items[kept++] = row;
            refused++;
            continue;
        }
        const MarkMiss *miss = missing_find(missing, row.seq);
        if (miss != NULL && !mark_snapshot_shows(missing->snapshot, row.xid)) {
            queue->rows.items[kept++] = row;
            continue;
        }
        ret_gone->replaced += miss != NULL && miss->replaced;
        ret_gone->vanished += miss != NULL && !miss->replaced;
        row_release(&row);
    }
    queue->behind = kept + (queue->behind > queue->sent ? queue->behind - queue->sent : 0);
    vec_remove(&queue->rows, kept, queue->sent - kept);
    queue->events_done += queue->sent - kept;
    queue->sent = 0;
    queue->chosen.count = 0;
    mark_positions_settle(&queue->positions, missing->count == 0);
    return kept - refused;
}

void mark_queue_refuse(MarkQueue *queue)
{
    for (size_t i = 0; i < queue->chosen.count; i++) {
        queue->rows.items[queue->chosen.items[i] - queue->rows.items].refused = true;
    }
    queue->refused += queue->chosen.count;
    mark_queue_unsend(queue);
}

void mark_queue_excuse(MarkQueue *queue, size_t nth)
{
    if (queue->refused == 0) {
        return;
    }
    size_t left = nth % queue->refused;
    for (size_t i = 0; i < queue->rows.count; i++) {
        if (queue->rows.items[i].refused && left-- == 0) {
            queue->rows.items[i].refused = false;
            queue->refused--;
            return;
        }
    }
}

void mark_queue_forgive(MarkQueue *queue)
{
    for (size_t i = 0; i < queue->rows.count; i++) {
        queue->rows.items[i].refused = false;
    }
    queue->refused = 0;
}

void mark_queue_unsend(MarkQueue *queue)
{
    queue->sent = 0;
    queue->chosen.count = 0;
    mark_positions_unsend(&queue->positions);
}

static void queue_release_rows(MarkQueue *queue)
{
    for (size_t i = 0; i < queue->rows.count; i++) {
        row_release(&queue->rows.items[i]);
    }
    queue->rows.count = 0;
    queue->refused = 0;
    queue->behind = 0;
}

void mark_queue_forget(MarkQueue *queue)
{
    mark_queue_unsend(queue);
    queue_release_rows(queue);
    queue->events_done = queue->events_added;
    mark_positions_forget(&queue->positions);
}

bool mark_queue_is_empty(const MarkQueue *queue)
{
    return queue->rows.count == 0 && queue->positions.waiting.count == 0;
}

void mark_queue_release(MarkQueue *queue)
{
    queue_release_rows(queue);
    vec_free(&queue->rows);
    vec_free(&queue->chosen);
    mark_positions_release(&queue->positions);
    *queue = (MarkQueue){0};
}
