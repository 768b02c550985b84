/*   closed ─open or send─▶ opening ─▶ open: idle ◀─▶ writing
 *      ▲                      │ fails        │ fails
 *   closing ◀── purge ──      └──▶ trouble ◀─┘ ── back-off ──▶ again, the same group
 *
 * The helper thread has one job at a time: to write (which opens), or to close. */
#include "sink/lines/lines.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/backoff.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/vec.h"

typedef struct Group {
    Text lines;
    VEC(Event *) events;
} Group;

/* What becomes of a group that is being written and that nobody waits for any more. */
typedef enum Fate {
    FATE_KEPT,      /* it settles; if it fails, it is written again */
    FATE_TAKEN,     /* if it fails, it comes back (purge); what is open is closed */
    FATE_FORGOTTEN, /* nobody is told (reopen) */
} Fate;

/* What the helper thread does, or did last. While busy, all but busy and fate belongs to it. */
typedef struct LinesJob {
    LinesWriter *writer;
    Group group;   /* is written, or waits for the next attempt */
    size_t stored; /* of its bytes, when that is OK */
    Status result;
    Error error;
    bool closes;       /* instead of writing */
    unsigned attempts; /* that failed in a row */
    bool busy;
    Fate fate;
} LinesJob;

typedef struct LinesSink {
    Sink sink; /* first */
    const ClaimConfig *times;
    Worker *worker;
    struct event *io;    /* its jobs have finished */
    struct event *again; /* the next attempt */
    struct event *due;   /* something is, although nothing is written */
    LinesJob *job;
    Group *next; /* collects */
    bool open;   /* was written to, or could be */
    bool full;   /* a send waits for room, or for what is not open */
    bool wanted; /* to be opened once it is closed */
} LinesSink;

static_assert(offsetof(LinesSink, sink) == 0, "a Sink is cast to its LinesSink");

static LinesSink *lines_of(Sink *sink)
{
    return (LinesSink *)sink;
}

/* Groups. */

static void group_clear(Group *group)
{
    group->events.count = 0;
    text_clear(&group->lines);
}

static void group_free(Group *group)
{
    text_free(&group->lines);
    vec_free(&group->events);
    *group = (Group){0};
}

/* Each event of the group settles. What that leads to may send, purge or reopen. */
static void lines_settle(LinesSink *lines, Group *group, const SinkReport *report)
{
    Group mine = *group;
    *group = (Group){0};
    for (size_t i = 0; i < mine.events.count; i++) {
        lines->sink.events.settled(lines->sink.events.arg, mine.events.items[i], report);
    }
    if (group->events.capacity == 0 && group->lines.data == NULL &&
        mine.lines.capacity <= 2 * LINES_BYTES_MAX) {
        group_clear(&mine); /* its memory serves the next one */
        *group = mine;
    } else {
        group_free(&mine);
    }
}

/* Its first lines leave the group. */
static Group group_take(Group *group, size_t stored)
{
    Group taken = *group;
    *group = (Group){0};
    size_t count = 0;
    for (size_t i = 0; i < stored; i++) {
        count += taken.lines.data[i] == '\n';
    }
    for (size_t i = count; i < taken.events.count; i++) {
        *vec_add(&group->events) = taken.events.items[i];
    }
    text_add_slice(&group->lines, (Slice){.data = taken.lines.data + stored,
                                          .length = taken.lines.length - stored});
    taken.events.count = count;
    return taken;
}

static void lines_take_back(LinesSink *lines, Group *group)
{
    AUTO_ERROR purged = {0};
    error_set(&purged, CODE_SINK_PURGED, "withdrawn before it was written");
    lines_settle(lines, group, &(SinkReport){.verdict = SINK_TOOK_BACK, .error = &purged});
}

/* The helper thread. */

static void lines_run(void *arg)
{
    LinesJob *job = ((LinesSink *)arg)->job;
    const LinesOps *ops = job->writer->ops;
    if (!job->closes) {
        Slice lines = {.data = job->group.lines.data, .length = job->group.lines.length};
        job->result = ops->write(job->writer, lines, &job->stored, &job->error);
    } else if (ops->close != NULL) {
        ops->close(job->writer);
    }
}

static void lines_done(void *arg);

static void lines_submit(LinesSink *lines, bool closes)
{
    assert(!lines->job->busy);
    lines->job->busy = true;
    lines->job->closes = closes;
    event_del(lines->again);
    error_clear(&lines->job->error);
    worker_submit(lines->worker, lines_run, lines_done, lines);
}

static bool lines_waits(const LinesSink *lines)
{
    return lines->job->busy || event_pending(lines->again, EV_TIMEOUT, NULL);
}

/* Writes what is there, if nothing is on its way. */
static void lines_go(LinesSink *lines)
{
    if (lines_waits(lines)) {
        return;
    }
    if (lines->job->group.events.count == 0) {
        Group empty = lines->job->group;
        lines->job->group = *lines->next;
        *lines->next = empty;
    }
    if (lines->job->group.events.count > 0) {
        lines_submit(lines, false);
    }
}

/* With nothing to write, or with what waits. */
static void lines_open_now(LinesSink *lines)
{
    if (lines->job->busy && lines->job->closes) {
        lines->wanted = true;
    } else if (!lines_waits(lines)) {
        lines_submit(lines, false);
    }
}

/* The writer is ours alone only while no job is under way. */
static int64_t lines_due_us(const LinesSink *lines)
{
    const LinesWriter *writer = lines->job->writer;
    assert(!lines->job->busy);
    return writer->ops->due_us != NULL ? writer->ops->due_us(writer) : 0;
}

/* When nothing is written, the clock alone moves it on. */
static void lines_await_due(LinesSink *lines)
{
    int64_t due_us = lines_due_us(lines);
    if (due_us == 0) {
        return;
    }
    int64_t wait_us = due_us - clock_wall_us();
    wait_us = wait_us < 0 ? 0 : wait_us;
    wait_us = wait_us > INT64_C(60000000) ? INT64_C(60000000) : wait_us; /* clocks are set */
    event_add(lines->due,
              &(struct timeval){.tv_sec = wait_us / 1000000, .tv_usec = wait_us % 1000000});
}

static void on_due(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    LinesSink *lines = arg;
    if (!lines->open || lines_waits(lines)) {
        return; /* what is on its way sees to it, or plans it again */
    }
    if (clock_wall_us() >= lines_due_us(lines)) {
        lines_submit(lines, false);
    } else {
        lines_await_due(lines);
    }
}

/* To close is a job, too: it may block as a write may. Nothing is to be written. */
static void lines_close(LinesSink *lines)
{
    lines->open = false;
    event_del(lines->due);
    lines_submit(lines, true);
}

/* Anew, without what was sent. */
static void lines_start_over(LinesSink *lines)
{
    group_clear(&lines->job->group);
    group_clear(lines->next);
    lines_close(lines);
    lines->wanted = lines->wanted || lines->full; /* who sent waits for that */
    lines->sink.events.reopened(lines->sink.events.arg);
}

/* The first lines are stored, and what settles may send on: the rest is in its place before. */
static void lines_settle_first(LinesSink *lines, bool purged)
{
    Group first = group_take(&lines->job->group, lines->job->stored);
    Group back = {0};
    if (purged) {
        back = lines->job->group;
        lines->job->group = (Group){0};
    }
    lines_settle(lines, &first, NULL);
    lines_take_back(lines, &back);
    group_free(&first);
    group_free(&back);
}

static void lines_succeeded(LinesSink *lines, bool purged)
{
    bool whole = lines->job->stored == lines->job->group.lines.length;
    bool troubled = lines->job->attempts > 0;
    const LinesWriter *writer = lines->job->writer;
    if (!lines->open && writer->ops->opened != NULL) {
        writer->ops->opened(writer);
    }
    lines->open = true;
    lines->job->attempts = whole ? 0 : lines->job->attempts;
    lines_await_due(lines); /* before what settles may send on: the writer is ours only now */
    if (whole) {
        lines_settle(lines, &lines->job->group, NULL);
    } else {
        lines_settle_first(lines, purged);
    }
    if (troubled && whole) {
        lines->sink.events.healed(lines->sink.events.arg);
    }
}

static void lines_failed(LinesSink *lines)
{
    AUTO_ERROR err = error_of(&lines->job->error);
    if (err.class == ERROR_FATAL) {
        lines->open = false; /* until it is reopened, or asked to go on */
        lines->sink.events.lost(lines->sink.events.arg, &err);
        return;
    }
    int64_t wait_ms = backoff_next_ms(&lines->job->attempts, lines->times->backoff_min_ms,
                                      lines->times->backoff_max_ms);
    event_add(lines->again,
              &(struct timeval){.tv_sec = wait_ms / 1000, .tv_usec = wait_ms % 1000 * 1000});
    lines->sink.events.trouble(lines->sink.events.arg, &err);
}

/* A write is over. */
static void lines_wrote(LinesSink *lines, Fate fate)
{
    bool purged = fate == FATE_TAKEN;
    if (lines->job->result == OK) {
        lines_succeeded(lines, purged);
    } else if (purged) {
        lines_take_back(lines, &lines->job->group);
    } else {
        lines_failed(lines);
    }
    bool idle = lines->job->group.events.count == 0 && lines->next->events.count == 0;
    if (purged && !lines->job->busy && idle) { /* and nothing was sent since */
        lines->wanted = lines->full;           /* but somebody would have: it waits for that */
        lines_close(lines);
    }
    if (lines->open && lines->full) {
        lines->full = false;
        lines->sink.events.ready(lines->sink.events.arg);
    }
    if (lines->open) {
        lines_go(lines);
    }
}

static void lines_done(void *arg)
{
    LinesSink *lines = arg;
    Fate fate = lines->job->fate;
    lines->job->busy = false;
    lines->job->fate = FATE_KEPT;
    if (lines->job->closes) {
        if (lines->wanted) {
            lines->wanted = false;
            lines_open_now(lines);
        }
    } else if (fate == FATE_FORGOTTEN) {
        lines_start_over(lines);
    } else {
        lines_wrote(lines, fate);
    }
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    LinesSink *lines = arg;
    if (!lines->job->busy) {
        lines_submit(lines, false);
    }
}

static void on_worker(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    worker_dispatch(((LinesSink *)arg)->worker);
}

/* What the pipeline asks for. */

void lines_open(Sink *sink)
{
    lines_open_now(lines_of(sink));
}

SendResult lines_send(Sink *sink, const Record *record, Event *event, Error *err)
{
    LinesSink *lines = lines_of(sink);
    const LinesWriter *writer = lines->job->writer;
    if (!lines->open) {
        lines->full = true;
        lines_open_now(lines);
        return SEND_WAIT;
    }
    Text *text = &lines->next->lines;
    size_t before = text->length;
    size_t most = writer->group_bytes > 0 ? writer->group_bytes : LINES_BYTES_MAX;
    bool full = lines->next->events.count >= LINES_EVENTS_MAX || before >= most;
    if (!full && writer->ops->format(writer, record, event, text, err) != OK) {
        return SEND_POISON;
    }
    if (full || (before > 0 && text->length > most)) { /* it begins the next one */
        text->length = before;
        lines->full = true;
        return SEND_FULL;
    }
    *vec_add(&lines->next->events) = event;
    return SEND_OK;
}

void lines_flush(Sink *sink)
{
    LinesSink *lines = lines_of(sink);
    if (lines->open) {
        lines_go(lines);
    }
}

/* What is being written cannot be stopped, and settles by what becomes of it. Then all is closed,
 * so that the relay that publishes now may have it. */
void lines_purge(Sink *sink)
{
    LinesSink *lines = lines_of(sink);
    lines->full = false; /* who waited asks again */
    lines->wanted = false;
    lines_take_back(lines, lines->next);
    if (lines->job->busy) {
        if (lines->job->fate != FATE_FORGOTTEN) { /* of which nobody is told, whatever comes */
            lines->job->fate = FATE_TAKEN;
        }
        return;
    }
    lines_take_back(lines, &lines->job->group);
    if (!lines->job->busy) {
        lines_close(lines);
    }
}

void lines_reopen(Sink *sink)
{
    LinesSink *lines = lines_of(sink);
    lines->wanted = true; /* unless it is purged meanwhile */
    if (!lines->job->busy) {
        lines_start_over(lines);
    } else if (lines->job->closes) { /* it holds nothing */
        lines->sink.events.reopened(lines->sink.events.arg);
    } else {
        lines->job->fate = FATE_FORGOTTEN;
    }
}

void lines_status(const Sink *sink, json_t *json)
{
    (void)sink;
    (void)json;
}

/* What is being written cannot be stopped, and neither is a close that hangs. */
bool lines_finish(Sink *sink)
{
    const LinesSink *lines = lines_of(sink);
    event_del(lines->again);
    event_del(lines->due);
    return !lines->job->busy;
}

void lines_free(Sink *sink)
{
    LinesSink *lines = lines_of(sink);
    LinesWriter *writer = lines->job->writer;
    if (writer->ops->give_up != NULL) {
        writer->ops->give_up(writer);
    }
    worker_free(&lines->worker); /* waits for what is being written */
    event_free(lines->io);
    event_free(lines->again);
    event_free(lines->due);
    writer->ops->free(writer);
    error_clear(&lines->job->error);
    group_free(&lines->job->group);
    group_free(lines->next);
    free(lines->job);
    free(lines->next);
    free(lines);
}

const LinesWriter *lines_writer(const Sink *sink)
{
    return ((const LinesSink *)sink)->job->writer;
}

Sink *lines_new(const SinkOps *ops, LinesWriter *writer, const SinkOptions *options)
{
    LinesSink *lines = x_calloc(1, sizeof(*lines));
    lines->sink.ops = ops;
    lines->times = &options->pipeline->claim;
    lines->next = x_calloc(1, sizeof(*lines->next));
    lines->job = x_calloc(1, sizeof(*lines->job));
    lines->job->writer = writer;
    lines->worker = worker_new();
    lines->io =
        event_new(options->base, worker_fd(lines->worker), EV_READ | EV_PERSIST, on_worker, lines);
    lines->again = event_new(options->base, -1, 0, on_again, lines);
    lines->due = event_new(options->base, -1, 0, on_due, lines);
    event_add(lines->io, NULL);
    return &lines->sink;
}
