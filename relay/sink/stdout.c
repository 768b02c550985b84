/* Lines (sink/lines) on standard output. Whoever reads it may stop reading, so the helper thread
 * writes only what is taken at once, and waits for more room in poll(): there a relay that ends
 * finds it. Standard output stays a blocking descriptor, since others may have it, too
 * (base/put.h). */
#include "sink/stdout.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/put.h"
#include "sink/kafka/kafka_name.h"
#include "sink/lines/lines.h"

enum { TURN_MS = 20 }; /* while another pipeline writes its group */

typedef struct StdoutLines {
    LinesWriter lines; /* first */
    int ends;          /* an eventfd: readable when the relay ends */
} StdoutLines;

static_assert(offsetof(StdoutLines, lines) == 0, "a LinesWriter is cast to its StdoutLines");

/* Of several pipelines one writes at a time, so that no line is within another. */
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

static Status stdout_format(const LinesWriter *lines, const Record *record, const Event *event,
                            Text *line, Error *err)
{
    (void)lines;
    (void)event;
    (void)err;
    text_add(line, "{\"topic\":");
    text_add_json(line, slice_of(record->topic->name));
    text_add(line, ",\"key\":");
    text_add_json(line, record->key);
    text_printf(line, ",\"timestamp\":%lld,\"headers\":{", (long long)record->timestamp_ms);
    for (size_t i = 0; i < record->header_count; i++) {
        text_add(line, i > 0 ? "," : "");
        text_add_json(line, record->headers[i].name);
        text_add_char(line, ':');
        text_add_json(line, record->headers[i].value);
    }
    text_add(line, "},\"value\":");
    text_add_json(line, record->value);
    text_add(line, "}\n");
    return OK;
}

/* False: the relay ends. timeout_ms -1: until fd can be written (fd -1: only that it ends). */
static bool stdout_wait(const StdoutLines *out, int fd, int timeout_ms)
{
    struct pollfd fds[] = {{.fd = out->ends, .events = POLLIN}, {.fd = fd, .events = POLLOUT}};
    int ready = 0;
    do {
        ready = poll(fds, 2, timeout_ms);
    } while (ready < 0 && errno == EINTR);
    return (fds[0].revents & POLLIN) == 0;
}

static Status stdout_write_all(const StdoutLines *out, Slice text, Error *err)
{
    char room[128];
    for (size_t done = 0; done < text.length;) {
        if (!stdout_wait(out, STDOUT_FILENO, -1)) {
            return error_set(err, CODE_SINK_PURGED, "the relay ends");
        }
        ssize_t wrote = put_now(STDOUT_FILENO, text.data + done, text.length - done);
        if (wrote >= 0) {
            done += (size_t)wrote;
        } else if (errno != EINTR && errno != EAGAIN && errno != EWOULDBLOCK) {
            error_set(err, CODE_STDOUT_FAILED, "cannot write to stdout: %s",
                      strerror_r(errno, room, sizeof(room)));
            return error_advise(err);
        }
    }
    return OK;
}

static Status stdout_write(LinesWriter *lines, Slice text, size_t *ret_stored, Error *err)
{
    const StdoutLines *out = (const StdoutLines *)lines;
    while (pthread_mutex_trylock(&turn) != 0) {
        if (!stdout_wait(out, -1, TURN_MS)) {
            return error_set(err, CODE_SINK_PURGED, "the relay ends");
        }
    }
    Status status = stdout_write_all(out, text, err);
    pthread_mutex_unlock(&turn);
    *ret_stored = text.length;
    return status;
}

static void stdout_give_up(LinesWriter *lines)
{
    uint64_t one = 1;
    (void)!write(((StdoutLines *)lines)->ends, &one, sizeof(one));
}

static void stdout_free(LinesWriter *lines)
{
    close(((StdoutLines *)lines)->ends);
    free(lines);
}

static const LinesOps STDOUT_LINES = {
    .format = stdout_format,
    .write = stdout_write,
    .give_up = stdout_give_up,
    .free = stdout_free,
};

static void stdout_silent(const Sink *sink, int seconds, Error *err)
{
    (void)sink;
    error_set(err, CODE_STDOUT_SILENT, "nobody has read from stdout for %d s", seconds);
    (void)error_advise(err);
}

static const SinkOps STDOUT_OPS = {
    .refuse_topic = kafka_name_refuse, /* it stands in for Kafka */
    .open = lines_open,
    .send = lines_send,
    .flush = lines_flush,
    .purge = lines_purge,
    .reopen = lines_reopen,
    .silent = stdout_silent,
    .status = lines_status,
    .close = lines_finish,
    .free = lines_free,
};

Status sink_stdout_new(const SinkOptions *options, Sink **ret_sink, Error *err)
{
    (void)err;
    StdoutLines *out = x_calloc(1, sizeof(*out));
    out->lines.ops = &STDOUT_LINES;
    out->ends = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    *ret_sink = lines_new(&STDOUT_OPS, &out->lines, options);
    return OK;
}
