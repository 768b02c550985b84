#include "rows/mark_positions.h"

void mark_positions_add(MarkPositions *positions, uint64_t events, const MarkerPosition *position)
{
    size_t count = positions->waiting.count;
    MarkBoundary boundary = {.events = events, .position = *position};
    if (count > positions->sent && positions->waiting.items[count - 1].events == events) {
        positions->waiting.items[count - 1] = boundary;
    } else {
        *vec_add(&positions->waiting) = boundary;
    }
}

void mark_positions_hold(MarkPositions *positions)
{
    positions->sent = 0;
    positions->on_its_way = positions->committed;
}

void mark_positions_send(MarkPositions *positions, uint64_t events)
{
    mark_positions_hold(positions);
    while (positions->sent < positions->waiting.count &&
           positions->waiting.items[positions->sent].events <= events) {
        positions->on_its_way = positions->waiting.items[positions->sent++].position;
    }
}

/* Drops the first `done`. */
static void positions_drop(MarkPositions *positions, size_t done)
{
    vec_remove(&positions->waiting, 0, done);
    positions->sent = 0;
}

void mark_positions_settle(MarkPositions *positions, bool whole)
{
    if (whole) {
        positions->committed = positions->on_its_way;
        positions_drop(positions, positions->sent);
    } else if (positions->sent > 0) {
        positions_drop(positions, positions->sent - 1); /* the last one implies the others */
    }
}

void mark_positions_unsend(MarkPositions *positions)
{
    positions->sent = 0;
}

void mark_positions_forget(MarkPositions *positions)
{
    positions->sent = 0;
    positions->waiting.count = 0;
}

void mark_positions_release(MarkPositions *positions)
{
    vec_free(&positions->waiting);
    *positions = (MarkPositions){0};
}
