/* file_writer: one file that groups of whole lines are appended to, each as safe as the disk makes
 * it before the next one begins. Every call blocks: they are made by the sink's helper thread, one
 * at a time.
 *
 * `size` is the length of what is safe. Whatever goes wrong behind it, the file is cut back to it
 * before anything else is written, so that no half line is ever in front of a whole one.
 *
 *  - When the disk is full, the whole lines that fit stay: a group that is larger than what is free
 *    makes progress all the same.
 *  - A flush that failed is not repeated: the kernel may have dropped the pages and call the next
 *    one a success. The file is cut, closed, opened and written again. The cut comes first, under
 *    the lock: once that is gone, another relay may have written there.
 *  - What is behind the last line end when a file is opened was never acknowledged (a kill or a
 *    power loss broke it off), nor was anything behind a NUL byte of a JSON file (a power loss
 *    after the file had grown): it is cut off, and said. What is left of the last group is written
 *    again in its place and flushed, before anything is written behind it.
 *  - The file has an exclusive flock() while it is open, so two relays cannot mix their lines.
 *  - Before each group the path is looked at: a file that was removed, replaced or changed by
 *    somebody else (logrotate) is opened anew, and that is said.
 *  - Rotation renames the file to PATH.20261128T190000.123456Z, never over another one, and flushes
 *    the directory. It comes between groups, so it splits none. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/slice.h"
#include "config/config.h"

/* A group: its lines but for the last take less. */
enum { FILE_GROUP_BYTES_MAX = 4 * 1024 * 1024 };

/* What a test makes fail. */
typedef struct FileCalls {
    ssize_t (*write)(int fd, const void *bytes, size_t length); /* at the end of the file */
    ssize_t (*rewrite)(int fd, const void *bytes, size_t length, off_t at); /* in its place */
    int (*flush)(int fd);                                                   /* fdatasync, fsync */
    int (*cut)(int fd, off_t length);                                       /* ftruncate */
    int (*rename)(const char *from, const char *to);
    int (*lock)(int fd, int operation); /* flock */
} FileCalls;

typedef struct FileWriter {
    const char *pipeline; /* its name, for the log */
    const FileConfig *config;
    const FileCalls *calls;
    char *directory;
    int fd;         /* -1: closed */
    int64_t size;   /* bytes that are safe */
    bool dirty;     /* there may be more bytes behind them */
    int64_t period; /* of rotate_interval, in which the file was written to */
} FileWriter;

void file_writer_init(FileWriter *writer, const char *pipeline, const FileConfig *config);
/** Closes the file, cut to what is safe. */
void file_writer_close(FileWriter *writer);
void file_writer_release(FileWriter *writer);

/** Opens, mends and rotates the file where that is due, appends the lines, if there are any, and
 * flushes them. OK: *ret_stored bytes of them are on the disk, whole lines, and all of them unless
 * it is full. FAILED with a RETRY *err: none of it counts. */
Status file_writer_write(FileWriter *writer, Slice lines, int64_t now_us, size_t *ret_stored,
                         Error *err);

/** When the file is due for rotation by time, wall clock; 0: never. */
int64_t file_writer_due_us(const FileWriter *writer);
