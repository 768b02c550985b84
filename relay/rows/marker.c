/* Decides what goes next on the connection. The work is done by its parts, which stand on the line
 * (marker_line.c) and tell it when the connection is free again. */
#include "rows/marker.h"

#include <assert.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "rows/mark_queue.h"
#include "rows/marker_aside.h"
#include "rows/marker_line.h"
#include "rows/marker_look.h"
#include "rows/marker_marks.h"
#include "rows/marker_upkeep.h"

struct Marker {
    MarkerOptions options;
    struct event *timer; /* something is due */
    bool active;         /* between marker_start() and marker_stop() */
    MarkQueue *queue;
    MarkerLine *line;
    MarkerAsides *asides;
    MarkerMarks *marks;
    MarkerLook *look;
    MarkerUpkeep *upkeep;
};

void marker_add(Marker *marker, const Batch *batch, const MarkerPosition *position)
{
    marks_add(marker->marks, batch);
    if (position != NULL) {
        marker_add_position(marker, position, false);
    }
}

void marker_add_position(Marker *marker, const MarkerPosition *position, bool at_once)
{
    marks_add_position(marker->marks, position, at_once);
}

void marker_add_aside(Marker *marker, Event *event, const Record *record, const Error *reason)
{
    asides_add(marker->asides, event, record, reason);
}

bool marker_look_at(Marker *marker, const EventRow *rows, size_t count)
{
    look_want(marker->look, rows, count);
    marker_next(marker);
    return !look_is_denied(marker->look);
}

bool marker_pending(const Marker *marker)
{
    return !mark_queue_is_empty(marker->queue) || asides_wait(marker->asides);
}

size_t marker_unmarked(const Marker *marker)
{
    return mark_queue_count(marker->queue);
}

bool marker_recovering(const Marker *marker)
{
    return marks_recover(marker->marks);
}

bool marker_has(const Marker *marker, int64_t seq, Slice event_id)
{
    return mark_queue_has(marker->queue, seq, event_id);
}

bool marker_position_is_beyond(const Marker *marker)
{
    return marks_position_is_beyond(marker->marks);
}

bool marker_in_order(const Marker *marker)
{
    return marks_are_in_order(marker->marks);
}

MarkerPosition marker_position(const Marker *marker)
{
    return mark_queue_position(marker->queue);
}

void marker_row_moved(Marker *marker, const char *ctid)
{
    marks_row_moved(marker->marks, ctid);
}

void marker_caught_up(Marker *marker, bool caught_up)
{
    upkeep_set_caught_up(marker->upkeep, caught_up);
}

double marker_backlog(const Marker *marker, bool *ret_capped)
{
    return upkeep_backlog(marker->upkeep, ret_capped);
}

static void marker_arm(const Marker *marker, int64_t after_us)
{
    event_add(marker->timer,
              &(struct timeval){.tv_sec = after_us / 1000000, .tv_usec = after_us % 1000000});
}

static void marker_send_marks(const Marker *marker)
{
    int64_t wait_us = marks_next(marker->marks);
    if (wait_us > 0) {
        marker_arm(marker, wait_us);
    }
}

void marker_next(Marker *marker)
{
    const MarkerOptions *options = &marker->options;
    if (!marker->active || options->owner->yields(options->arg) || !line_is_free(marker->line) ||
        asides_report(marker->asides)) {
        return;
    }
    bool drains = line_drains(marker->line);
    int64_t wait_us = line_retry_us(marker->line) - clock_monotonic_us();
    if (line_asks_holder(marker->line)) {
        line_ask_holder(marker->line);
    } else if (asides_wait(marker->asides) && wait_us > 0) {
        marker_arm(marker, wait_us);
    } else if (asides_wait(marker->asides)) {
        asides_send(marker->asides);
    } else if (marks_wait_for_name(marker->marks)) {
        return;
    } else if (look_is_due(marker->look) && !drains && wait_us <= 0) {
        look_send(marker->look);
    } else if (!mark_queue_is_empty(marker->queue)) {
        marker_send_marks(marker);
    } else if (!drains && wait_us <= 0) {
        upkeep_next(marker->upkeep);
    }
}

static void marker_on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    marker_next(arg);
}

/* What the parts tell. */

static void marker_on_go_on(void *arg)
{
    Marker *marker = arg;
    marker_next(marker);
    if (marker->active && line_is_free(marker->line) && !marker_pending(marker)) {
        marker->options.owner->idle(marker->options.arg);
    }
}

static void marker_on_types_changed(void *arg)
{
    marks_forget_statements(((Marker *)arg)->marks);
}

static const MarkerLineEvents LINE_EVENTS = {
    .go_on = marker_on_go_on,
    .types_changed = marker_on_types_changed,
};

/* Life. */

void marker_start(Marker *marker, const MarkerSession *session)
{
    line_aim(marker->line, session->table_oid);
    marks_begin(marker->marks, session);
    asides_begin(marker->asides, session->dead_letter);
    marker->active = true;
}

void marker_renamed(Marker *marker)
{
    marks_renamed(marker->marks);
    marker_next(marker);
}

void marker_retarget(Marker *marker, uint32_t table_oid)
{
    assert(!marker_pending(marker));
    line_aim(marker->line, table_oid);
    marks_retarget(marker->marks, table_oid);
    upkeep_begin_anew(marker->upkeep);
}

void marker_stop(Marker *marker)
{
    event_del(marker->timer);
    marker->active = false;
    marks_stop(marker->marks);
    line_stop(marker->line);
    look_stop(marker->look);
    upkeep_stop(marker->upkeep);
    asides_stop(marker->asides); /* the pipeline takes these events back */
}

void marker_forget(Marker *marker)
{
    assert(!marker->active);
    marks_forget(marker->marks);
}

void marker_drain(Marker *marker)
{
    line_drain(marker->line);
    marker_next(marker);
}

Marker *marker_new(const MarkerOptions *options)
{
    Marker *marker = x_calloc(1, sizeof(*marker));
    marker->options = *options;
    marker->timer = event_new(options->base, -1, 0, marker_on_timer, marker);
    marker->queue = x_calloc(1, sizeof(*marker->queue));
    marker->line = line_new(&marker->options, marker->queue, &LINE_EVENTS, marker);
    marker->asides = asides_new(marker->line);
    marker->marks = marks_new(marker->line, marker->queue);
    marker->look = look_new(marker->line);
    marker->upkeep = upkeep_new(marker->line);
    return marker;
}

void marker_free(Marker **marker)
{
    if (*marker == NULL) {
        return;
    }
    marker_stop(*marker);
    upkeep_free(&(*marker)->upkeep);
    look_free(&(*marker)->look);
    marks_free(&(*marker)->marks);
    asides_free(&(*marker)->asides);
    line_free(&(*marker)->line);
    mark_queue_release((*marker)->queue);
    free((*marker)->queue);
    event_free((*marker)->timer);
    free(*marker);
    *marker = NULL;
}
