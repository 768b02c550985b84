/* The file sink. Lines are collected on the loop thread; a run of them, the group, is written and
 * flushed by a helper thread of the sink's own (a disk that hangs must hold up neither the loop nor
 * what other pipelines ask of theirs). While one group is on its way the next one collects, so the
 * slower the disk, the more events share a flush. A group settles when its flush has succeeded, and
 * not before; one that failed stays, as a whole, and is written again.
 *
 *   closed ─open or send─▶ opening ─▶ open: idle ◀─▶ writing
 *      ▲                      │ fails        │ fails
 *      └──── purge ────       └──▶ trouble ◀─┘ ── back-off ──▶ again, the same group
 */
#include "sink/file/file.h"

#include <assert.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "sink/file/file_format.h"
#include "sink/file/file_writer.h"

enum {
    GROUP_BYTES_MAX = 4 * 1024 * 1024, /* then the sink is full; one larger event is a group */
    GROUP_EVENTS_MAX = 20000,
};

typedef struct Group {
    Text lines;
    Event **events;
    size_t count;
    size_t capacity;
} Group;

/* What becomes of a group that is being written and that nobody waits for any more. */
typedef enum Fate {
    FATE_KEPT,      /* it settles; if it fails, it is written again */
    FATE_TAKEN,     /* if it fails, it comes back (purge); the file is closed */
    FATE_FORGOTTEN, /* nobody is told (reopen) */
} Fate;

/* The group that is written, or that waits for the next attempt. While busy, all but busy and fate
 * belongs to the helper thread. */
typedef struct FileJob {
    FileWriter *writer;
    Group group;
    Status result;
    Error error;
    bool busy;
    Fate fate;
    int64_t backoff_ms; /* before the next attempt; 0: there is no trouble */
} FileJob;

typedef struct FileSink {
    Sink sink; /* first */
    const PipelineConfig *pipeline;
    Worker *worker;
    struct event *io;     /* its jobs have finished */
    struct event *again;  /* the next attempt */
    struct event *rotate; /* the file is due although nothing is written */
    FileJob *job;
    Group *next; /* collects */
    bool open;   /* was written to, or could be */
    bool full;   /* a send waits for room, or for the file */
} FileSink;

static_assert(offsetof(FileSink, sink) == 0, "a Sink is cast to its FileSink");

static FileSink *file_of(Sink *sink)
{
    return (FileSink *)sink;
}

/* Groups. */

static void group_add(Group *group, Event *event)
{
    if (group->count == group->capacity) {
        group->capacity = group->capacity > 0 ? group->capacity * 2 : 256;
        group->events = x_realloc(group->events, group->capacity * sizeof(Event *));
    }
    group->events[group->count++] = event;
}

static void group_free(Group *group)
{
    text_free(&group->lines);
    free(group->events);
    *group = (Group){0};
}

/* Each event of the group settles. What that leads to may send, purge or reopen. */
static void file_settle(FileSink *file, Group *group, const SinkReport *report)
{
    Group mine = *group;
    *group = (Group){0};
    for (size_t i = 0; i < mine.count; i++) {
        file->sink.events.settled(file->sink.events.arg, mine.events[i], report);
    }
    if (group->capacity == 0 && group->lines.data == NULL &&
        mine.lines.capacity <= 2 * GROUP_BYTES_MAX) {
        mine.count = 0; /* its memory serves the next one */
        text_clear(&mine.lines);
        *group = mine;
    } else {
        group_free(&mine);
    }
}

static void file_take_back(FileSink *file, Group *group)
{
    AUTO_ERROR purged = {0};
    error_set(&purged, CODE_SINK_PURGED, "withdrawn before it was written");
    file_settle(file, group, &(SinkReport){.verdict = SINK_TOOK_BACK, .error = &purged});
}

/* The helper thread. */

static void file_run(void *arg)
{
    FileSink *file = arg;
    Slice lines = {.data = file->job->group.lines.data, .length = file->job->group.lines.length};
    file->job->result =
        file_writer_write(file->job->writer, lines, clock_wall_us(), &file->job->error);
}

static void file_done(void *arg);

static void file_submit(FileSink *file)
{
    assert(!file->job->busy);
    file->job->busy = true;
    event_del(file->again);
    error_clear(&file->job->error);
    worker_submit(file->worker, file_run, file_done, file);
}

static bool file_waits(const FileSink *file)
{
    return file->job->busy || event_pending(file->again, EV_TIMEOUT, NULL);
}

/* Writes what is there, if nothing is on its way. */
static void file_go(FileSink *file)
{
    if (file_waits(file)) {
        return;
    }
    if (file->job->group.count == 0) {
        Group empty = file->job->group;
        file->job->group = *file->next;
        *file->next = empty;
    }
    if (file->job->group.count > 0) {
        file_submit(file);
    }
}

static void file_open_now(FileSink *file)
{
    if (!file_waits(file)) {
        file_submit(file); /* with nothing to write, or with what waits */
    }
}

/* When nothing is written, the clock alone closes a file. */
static void file_await_rotation(FileSink *file)
{
    int64_t due_us = file_writer_due_us(file->job->writer);
    if (due_us == 0) {
        return;
    }
    int64_t wait_us = due_us - clock_wall_us();
    wait_us = wait_us < 0 ? 0 : wait_us;
    wait_us = wait_us > INT64_C(60000000) ? INT64_C(60000000) : wait_us; /* clocks are set */
    event_add(file->rotate,
              &(struct timeval){.tv_sec = wait_us / 1000000, .tv_usec = wait_us % 1000000});
}

static void file_on_rotate(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    FileSink *file = arg;
    if (!file->open || file_waits(file)) {
        return; /* what is on its way rotates, or plans it again */
    }
    if (clock_wall_us() >= file_writer_due_us(file->job->writer)) {
        file_submit(file);
    } else {
        file_await_rotation(file);
    }
}

static void file_close(FileSink *file)
{
    file_writer_close(file->job->writer);
    file->open = false;
    event_del(file->rotate);
    event_del(file->again);
}

/* Anew, without what was sent. */
static void file_start_over(FileSink *file)
{
    file->job->group.count = file->next->count = 0;
    text_clear(&file->job->group.lines);
    text_clear(&file->next->lines);
    file_close(file);
    file->sink.events.reopened(file->sink.events.arg);
    file_open_now(file);
}

static void file_succeeded(FileSink *file)
{
    bool troubled = file->job->backoff_ms > 0;
    if (!file->open) {
        log_write(LOG_INFO, file->pipeline->name, CODE_FILE_OPENED,
                  LOG_FIELDS(log_text("path", file->pipeline->file.path),
                             log_number("bytes", (long long)file->job->writer->size)),
                  "writing to the file");
    }
    file->open = true;
    file->job->backoff_ms = 0;
    file_await_rotation(file); /* before what settles may send on: the writer is ours only now */
    file_settle(file, &file->job->group, NULL);
    if (troubled) {
        file->sink.events.healed(file->sink.events.arg);
    }
}

static void file_failed(FileSink *file)
{
    const ClaimConfig *times = &file->pipeline->claim;
    int64_t wait_ms = file->job->backoff_ms * 2;
    wait_ms = wait_ms < times->backoff_min_ms ? times->backoff_min_ms : wait_ms;
    wait_ms = wait_ms > times->backoff_max_ms ? times->backoff_max_ms : wait_ms;
    file->job->backoff_ms = wait_ms;
    event_add(file->again,
              &(struct timeval){.tv_sec = wait_ms / 1000, .tv_usec = wait_ms % 1000 * 1000});
    file->sink.events.trouble(file->sink.events.arg, &file->job->error);
}

static void file_done(void *arg)
{
    FileSink *file = arg;
    Fate fate = file->job->fate;
    file->job->busy = false;
    file->job->fate = FATE_KEPT;
    if (fate == FATE_FORGOTTEN) {
        file_start_over(file);
        return;
    }
    bool purged = fate == FATE_TAKEN;
    if (file->job->result == OK) {
        file_succeeded(file);
    } else if (purged) {
        file_take_back(file, &file->job->group);
    } else {
        file_failed(file);
    }
    bool idle = file->job->group.count == 0 && file->next->count == 0;
    if (purged && !file->job->busy && idle) { /* and nothing was sent since */
        file_close(file);
        if (file->full) { /* but somebody would have: it waits for the file */
            file_open_now(file);
        }
    }
    if (file->open && file->full) {
        file->full = false;
        file->sink.events.ready(file->sink.events.arg);
    }
    if (file->open) {
        file_go(file);
    }
}

static void file_on_again(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    FileSink *file = arg;
    if (!file->job->busy) {
        file_submit(file);
    }
}

static void file_on_worker(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    worker_dispatch(((FileSink *)arg)->worker);
}

/* What the pipeline asks for. */

static void file_open(Sink *sink)
{
    file_open_now(file_of(sink));
}

static SendResult file_send(Sink *sink, const Record *record, Event *event, Error *err)
{
    FileSink *file = file_of(sink);
    if (!file->open) {
        file->full = true;
        file_open_now(file);
        return SEND_WAIT;
    }
    if (file->next->count >= GROUP_EVENTS_MAX || file->next->lines.length >= GROUP_BYTES_MAX) {
        file->full = true;
        return SEND_FULL;
    }
    if (file_format_add(file->pipeline->file.format, record, event, clock_wall_us(),
                        &file->next->lines, err) != OK) {
        return SEND_POISON;
    }
    group_add(file->next, event);
    return SEND_OK;
}

static void file_flush(Sink *sink)
{
    FileSink *file = file_of(sink);
    if (file->open) {
        file_go(file);
    }
}

/* What is being written cannot be stopped, and settles by what becomes of it. The file is closed,
 * so that the relay that publishes now may write it. */
static void file_purge(Sink *sink)
{
    FileSink *file = file_of(sink);
    file->full = false; /* who waited asks again */
    file_take_back(file, file->next);
    if (file->job->busy) {
        file->job->fate = FATE_TAKEN;
        return;
    }
    file_take_back(file, &file->job->group);
    if (!file->job->busy) {
        file_close(file);
    }
}

static void file_reopen(Sink *sink)
{
    FileSink *file = file_of(sink);
    if (file->job->busy) {
        file->job->fate = FATE_FORGOTTEN;
    } else {
        file_start_over(file);
    }
}

static void file_silent(const Sink *sink, int seconds, Error *err)
{
    const FileSink *file = (const FileSink *)sink;
    error_set(err, CODE_FILE_SILENT, "the disk has not answered for %d s: '%s'", seconds,
              file->pipeline->file.path);
    (void)error_advise(err);
}

static void file_status(const Sink *sink, json_t *json)
{
    (void)sink;
    (void)json;
}

static void file_free(Sink *sink)
{
    FileSink *file = file_of(sink);
    worker_free(&file->worker); /* waits for what is being written */
    event_free(file->io);
    event_free(file->again);
    event_free(file->rotate);
    file_writer_release(file->job->writer);
    error_clear(&file->job->error);
    group_free(&file->job->group);
    group_free(file->next);
    free(file->job->writer);
    free(file->job);
    free(file->next);
    free(file);
}

static const SinkOps FILE_OPS = {
    .open = file_open,
    .send = file_send,
    .flush = file_flush,
    .purge = file_purge,
    .release = file_purge, /* which closes the file */
    .reopen = file_reopen,
    .silent = file_silent,
    .status = file_status,
    .free = file_free,
};

Status sink_file_new(const SinkOptions *options, Sink **ret_sink, Error *err)
{
    if (sink_file_check(options->pipeline, err) != OK) {
        return FAILED;
    }
    signal(SIGXFSZ, SIG_IGN); /* the largest size of a file is an error like a full disk */
    FileSink *file = x_calloc(1, sizeof(*file));
    file->sink.ops = &FILE_OPS;
    file->pipeline = options->pipeline;
    file->next = x_calloc(1, sizeof(*file->next));
    file->job = x_calloc(1, sizeof(*file->job));
    file->job->writer = x_calloc(1, sizeof(*file->job->writer));
    file_writer_init(file->job->writer, options->pipeline->name, &options->pipeline->file);
    file->worker = worker_new();
    file->io = event_new(options->base, worker_fd(file->worker), EV_READ | EV_PERSIST,
                         file_on_worker, file);
    file->again = event_new(options->base, -1, 0, file_on_again, file);
    file->rotate = event_new(options->base, -1, 0, file_on_rotate, file);
    event_add(file->io, NULL);
    *ret_sink = &file->sink;
    return OK;
}
