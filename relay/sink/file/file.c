/* The file sink: lines (sink/lines) in a file that file_writer keeps. */
#include "sink/file/file.h"

#include <assert.h>
#include <signal.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "sink/file/file_format.h"
#include "sink/file/file_writer.h"
#include "sink/lines/lines.h"

typedef struct FileLines {
    LinesWriter lines; /* first */
    const PipelineConfig *pipeline;
    FileWriter *writer;
} FileLines;

static_assert(offsetof(FileLines, lines) == 0, "a LinesWriter is cast to its FileLines");
static_assert((int)LINES_BYTES_MAX <= (int)FILE_GROUP_BYTES_MAX, "what file_writer relies on");

static const FileLines *file_of(const LinesWriter *lines)
{
    return (const FileLines *)lines;
}

static Status file_format(const LinesWriter *lines, const Record *record, const Event *event,
                          Text *text, Error *err)
{
    const FileConfig *config = &file_of(lines)->pipeline->file;
    return file_format_add(config->format, record, event, clock_wall_us(), text, err);
}

static Status file_write(LinesWriter *lines, Slice text, size_t *ret_stored, Error *err)
{
    return file_writer_write(file_of(lines)->writer, text, clock_wall_us(), ret_stored, err);
}

static void file_close(LinesWriter *lines)
{
    file_writer_close(file_of(lines)->writer);
}

static void file_opened(const LinesWriter *lines)
{
    const FileLines *file = file_of(lines);
    log_write(LOG_INFO, file->pipeline->name, CODE_FILE_OPENED,
              LOG_FIELDS(log_text("path", file->pipeline->file.path),
                         log_number("bytes", (long long)file->writer->size)),
              "writing to the file");
}

static int64_t file_due_us(const LinesWriter *lines)
{
    return file_writer_due_us(file_of(lines)->writer);
}

static void file_free(LinesWriter *lines)
{
    FileLines *file = (FileLines *)lines;
    file_writer_release(file->writer);
    free(file->writer);
    free(file);
}

static const LinesOps FILE_LINES = {
    .format = file_format,
    .write = file_write,
    .close = file_close,
    .opened = file_opened,
    .due_us = file_due_us,
    .free = file_free,
};

static void file_silent(const Sink *sink, int seconds, Error *err)
{
    error_set(err, CODE_FILE_SILENT, "the disk has not answered for %d s: '%s'", seconds,
              file_of(lines_writer(sink))->pipeline->file.path);
    (void)error_advise(err);
}

static const SinkOps FILE_OPS = {
    .open = lines_open,
    .send = lines_send,
    .flush = lines_flush,
    .purge = lines_purge,
    .release = lines_purge,
    .reopen = lines_reopen,
    .silent = file_silent,
    .status = lines_status,
    .close = lines_finish,
    .free = lines_free,
};

Status sink_file_new(const SinkOptions *options, Sink **ret_sink, Error *err)
{
    if (sink_file_check(options->pipeline, err) != OK) {
        return FAILED;
    }
    signal(SIGXFSZ, SIG_IGN); /* the largest size of a file is an error like a full disk */
    FileLines *file = x_calloc(1, sizeof(*file));
    int64_t rotate_bytes = options->pipeline->file.rotate_bytes;
    file->lines = (LinesWriter){.ops = &FILE_LINES, /* a group goes into one file */
                                .group_bytes = rotate_bytes < LINES_BYTES_MAX ? (size_t)rotate_bytes
                                                                              : LINES_BYTES_MAX};
    file->pipeline = options->pipeline;
    file->writer = x_calloc(1, sizeof(*file->writer));
    file_writer_init(file->writer, options->pipeline->name, &options->pipeline->file);
    *ret_sink = lines_new(&FILE_OPS, &file->lines, options);
    return OK;
}
