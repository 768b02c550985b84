#include "sink/file/file_writer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memory.h"
#include "sink/file/file_path.h"

enum {
    FILE_MODE = 0640,
    CHUNK_BYTES = 64 * 1024,
    ATTEMPT_NAMES = 1000, /* of a rotated file: a microsecond each */
    STAMP_LENGTH = 23,    /* YYYYMMDDTHHMMSS.ffffffZ */
};

static const FileCalls SYSTEM = {.write = write,
                                 .rewrite = pwrite,
                                 .flush = fdatasync,
                                 .cut = ftruncate,
                                 .rename = file_path_rename,
                                 .lock = flock};

void file_writer_init(FileWriter *w, const char *pipeline, const FileConfig *config)
{
    *w = (FileWriter){.pipeline = pipeline,
                      .config = config,
                      .calls = &SYSTEM,
                      .directory = file_path_directory(config->path),
                      .fd = -1};
}

/* Takes off what is behind the last safe line. Only while the lock is ours: behind it may be what
 * another relay acknowledged. A file that somebody cut is not made longer, which would leave a
 * hole. */
static int writer_cut(FileWriter *w)
{
    struct stat is;
    if (fstat(w->fd, &is) != 0 || (is.st_size > w->size && w->calls->cut(w->fd, w->size) != 0)) {
        return -1;
    }
    w->dirty = false;
    return 0;
}

/* What could not be cut stays: nobody can tell it from what another relay writes next. */
void file_writer_close(FileWriter *w)
{
    if (w->fd < 0) {
        return;
    }
    if (w->dirty) {
        (void)writer_cut(w);
    }
    w->dirty = false;
    close(w->fd);
    w->fd = -1;
}

void file_writer_release(FileWriter *w)
{
    file_writer_close(w);
    free(w->directory);
    w->directory = NULL;
}

static Status writer_failed(const FileWriter *w, const char *what, Error *err)
{
    return file_path_failed(w->config->path, what, errno, err);
}

/* A name in the directory is on the disk only once the directory is. */
static Status writer_flush_directory(const FileWriter *w, Error *err)
{
    int fd = open(w->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return writer_failed(w, "open the directory of", err);
    }
    int failed = w->calls->flush(fd);
    int code = errno;
    close(fd);
    errno = code;
    bool cannot = failed != 0 && code == EINVAL; /* some file systems have nothing to flush */
    return failed == 0 || cannot ? OK : writer_failed(w, "flush the directory of", err);
}

/* What a file holds when it is opened.
 *
 * A group is written only when everything before it is on the disk: that is what `size` means. So
 * when a kill or a power loss ends it all, whatever is not on the disk, and whatever is not whole,
 * belongs to the last group, and nothing of that group was acknowledged. Its lines but for the last
 * take less than FILE_GROUP_BYTES_MAX, so it begins no further in front of the last whole line: the
 * tail, from there to the end, is all there is to doubt.
 *
 *  - In the tail of a JSON file a NUL byte can only be a page that did not reach the disk: lines
 *    hold none (writer_check_nul). The first of them is where the durable part ends, wherever lines
 * follow behind it, since none of those was acknowledged: the file is cut behind the last line end
 * in front of it. A NUL further in front would be damage of another kind, among acknowledged lines:
 * it stays.
 *  - What is left of the tail is written again, byte for byte, before the flush that makes it count
 *    as safe. A flush alone would not do: if one has failed before, ours or that of a relay that
 *    was killed over it, the kernel has forgotten those pages and calls the next flush a success.
 *    Lines would be acknowledged behind a hole that shows with the next power loss only, and the
 *    rule above would cut them off. */

/* Where the line begins that ends at `end`, or is broken off there; -1: could not be read. */
static int64_t writer_line_begin(const FileWriter *w, int64_t end)
{
    char *chunk = x_malloc(CHUNK_BYTES);
    int64_t begin = 0;
    while (end > 0) {
        int64_t at = end > CHUNK_BYTES ? end - CHUNK_BYTES : 0;
        if (pread(w->fd, chunk, (size_t)(end - at), at) != end - at) {
            begin = -1;
            break;
        }
        const char *last = memrchr(chunk, '\n', (size_t)(end - at));
        if (last != NULL) {
            begin = at + (last - chunk) + 1;
            break;
        }
        end = at;
    }
    free(chunk);
    return begin;
}

/* The first NUL byte of [from, size); size: there is none; -1: could not be read. */
static int64_t writer_first_nul(const FileWriter *w, int64_t from, int64_t size)
{
    char *chunk = x_malloc(CHUNK_BYTES);
    int64_t first = size;
    for (int64_t at = from; at < size;) {
        ssize_t length = pread(w->fd, chunk, CHUNK_BYTES, at);
        const char *nul = length > 0 ? memchr(chunk, '\0', (size_t)length) : NULL;
        if (length <= 0 || nul != NULL) {
            first = length <= 0 ? -1 : at + (nul - chunk);
            break;
        }
        at += length;
    }
    free(chunk);
    return first;
}

/* Values alone, written before with file.format = "raw", may hold a NUL: then what is behind it was
 * acknowledged. A page that did not reach the disk has JSON lines around it, as far as they show
 * their beginning: the one before, that of the NUL itself, and the next one. */
static Status writer_check_nul(const FileWriter *w, int64_t nul, Error *err)
{
    int64_t begin = writer_line_begin(w, nul);
    int64_t before = begin > 0 ? writer_line_begin(w, begin - 1) : begin;
    if (begin < 0 || before < 0) {
        return writer_failed(w, "read", err);
    }
    const int64_t looks[] = {before, begin, nul};
    for (size_t i = 0; i < sizeof(looks) / sizeof(looks[0]); i++) {
        FileLines lines = file_path_lines(w->fd, looks[i]);
        if (lines == FILE_LINES_UNREADABLE) {
            return writer_failed(w, "read", err);
        }
        if (lines == FILE_LINES_FOREIGN) {
            error_set(err, CODE_FILE_FOREIGN,
                      "'%s' has a NUL byte at offset %lld, and the lines around it are not JSON "
                      "lines of outboxd",
                      w->config->path, (long long)nul);
            return error_advise(err);
        }
    }
    return OK;
}

/* *ret_whole: where what can be kept ends; *ret_tail: where the tail of that begins. */
static Status writer_find_tail(const FileWriter *w, int64_t size, int64_t *ret_tail,
                               int64_t *ret_whole, Error *err)
{
    int64_t whole = writer_line_begin(w, size);
    int64_t last = whole > 0 ? writer_line_begin(w, whole - 1) : 0;
    int64_t tail = last > FILE_GROUP_BYTES_MAX ? last - FILE_GROUP_BYTES_MAX : 0;
    tail = writer_line_begin(w, tail);
    bool readable = whole >= 0 && last >= 0 && tail >= 0;
    if (readable && w->config->format == FILE_FORMAT_JSON) {
        int64_t nul = writer_first_nul(w, tail, size);
        if (nul >= 0 && nul < size && writer_check_nul(w, nul, err) != OK) {
            return FAILED;
        }
        whole = nul < 0 ? -1 : nul < size ? writer_line_begin(w, nul) : whole;
        readable = whole >= 0;
    }
    if (!readable) {
        return writer_failed(w, "read", err);
    }
    *ret_tail = tail < whole ? tail : whole;
    *ret_whole = whole;
    return OK;
}

/* Cuts off what was broken off when the file was written last. */
static Status writer_mend(FileWriter *w, int64_t size, int64_t *ret_tail, Error *err)
{
    int64_t whole = 0;
    if (writer_find_tail(w, size, ret_tail, &whole, err) != OK) {
        return FAILED;
    }
    if (whole < size) {
        if (w->calls->cut(w->fd, whole) != 0) {
            return writer_failed(w, "cut", err);
        }
        log_write(LOG_WARN, w->pipeline, CODE_FILE_TORN_LINE,
                  LOG_FIELDS(log_text("path", w->config->path), log_number("bytes", size - whole)),
                  "the file ended within an event that was never acknowledged; cut that off");
    }
    w->size = whole;
    return OK;
}

/* Also false when somebody cut it: what is written in its place would leave a hole. */
static bool writer_has_size(const FileWriter *w)
{
    struct stat is;
    return fstat(w->fd, &is) == 0 && is.st_size == w->size;
}

/* Writes what is there from `at` on in its own place: it is to reach the disk with the next flush.
 */
static Status writer_rewrite(FileWriter *w, int64_t at, Error *err)
{
    char *chunk = x_malloc(CHUNK_BYTES);
    int flags = fcntl(w->fd, F_GETFL);
    bool ok = fcntl(w->fd, F_SETFL, flags & ~O_APPEND) == 0; /* which would write at the end */
    while (ok && at < w->size) {
        int64_t left = w->size - at;
        ssize_t length = pread(w->fd, chunk, (size_t)(left < CHUNK_BYTES ? left : CHUNK_BYTES), at);
        ssize_t wrote = length > 0 && writer_has_size(w)
                            ? w->calls->rewrite(w->fd, chunk, (size_t)length, at)
                            : length;
        errno = length == 0 || wrote == 0 ? EIO : errno;
        ok = wrote > 0;
        at += wrote;
    }
    int code = errno;
    ok = fcntl(w->fd, F_SETFL, flags) == 0 && ok;
    free(chunk);
    errno = code;
    if (!ok) {
        return writer_failed(w, "write", err);
    }
    if (!writer_has_size(w)) {
        error_set(err, CODE_FILE_UNWRITABLE, "another program changed '%s' while it was opened",
                  w->config->path);
        return error_advise(err);
    }
    return OK;
}

static int64_t writer_period(const FileWriter *w, int64_t wall_us)
{
    int64_t interval_us = w->config->rotate_interval_ms * 1000;
    return interval_us > 0 ? wall_us / interval_us : 0;
}

/* The file is open and locked: what is in it? */
static Status writer_begin(FileWriter *w, Error *err)
{
    struct stat is;
    if (file_path_check(w->config, w->fd, &is, err) != OK) {
        return FAILED;
    }
    int64_t tail = 0;
    if (writer_mend(w, is.st_size, &tail, err) != OK || writer_rewrite(w, tail, err) != OK) {
        return FAILED;
    }
    int64_t written_us = (int64_t)is.st_mtim.tv_sec * 1000000 + is.st_mtim.tv_nsec / 1000;
    w->period = writer_period(w, written_us);
    if (w->calls->flush(w->fd) != 0) {
        return writer_failed(w, "flush", err);
    }
    return writer_flush_directory(w, err);
}

/* The path leads to the open file, and to no other. */
static bool writer_is_named(const FileWriter *w)
{
    struct stat open_one;
    struct stat named;
    return fstat(w->fd, &open_one) == 0 && lstat(w->config->path, &named) == 0 &&
           named.st_dev == open_one.st_dev && named.st_ino == open_one.st_ino;
}

/* Between open and lock, whoever had the lock may have rotated the file: its lock is free then, and
 * the path leads to another file. What is written to the old one, nobody may read any more. */
static Status writer_open(FileWriter *w, Error *err)
{
    w->fd = open(w->config->path,
                 O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY,
                 FILE_MODE);
    if (w->fd < 0) {
        return writer_failed(w, "open", err);
    }
    Status status = OK;
    if (w->calls->lock(w->fd, LOCK_EX | LOCK_NB) != 0 || !writer_is_named(w)) {
        error_set(err, CODE_FILE_LOCKED, "another process, or another pipeline, writes '%s'",
                  w->config->path);
        status = error_advise(err);
    } else {
        status = writer_begin(w, err);
    }
    if (status != OK) {
        close(w->fd);
        w->fd = -1;
    }
    return status;
}

static void writer_say_changed(const FileWriter *w, const char *how)
{
    log_write(LOG_WARN, w->pipeline, CODE_FILE_REPLACED,
              LOG_FIELDS(log_text("path", w->config->path)), "the file was %s; opening it again",
              how);
}

/* Whether the open file is still the one that the path leads to, and as we left it. */
static bool writer_is_ours(FileWriter *w)
{
    if (!writer_is_named(w)) {
        writer_say_changed(w, "removed or replaced");
        return false;
    }
    struct stat open_one;
    if (fstat(w->fd, &open_one) != 0) {
        return false;
    }
    bool as_left = w->dirty ? open_one.st_size >= w->size : open_one.st_size == w->size;
    if (!as_left) {
        writer_say_changed(w, "written to or cut by another program");
    }
    return as_left;
}

/* The file is open, and ends with its last safe line. */
static Status writer_ready(FileWriter *w, Error *err)
{
    if (w->fd >= 0 && !writer_is_ours(w)) {
        w->dirty = false;
        file_writer_close(w);
    }
    if (w->fd >= 0 && w->dirty && writer_cut(w) != 0) {
        return writer_failed(w, "cut", err);
    }
    return w->fd >= 0 ? OK : writer_open(w, err);
}

static bool writer_is_due(const FileWriter *w, size_t more, int64_t now_us)
{
    bool large = w->config->rotate_bytes > 0 && w->size + (int64_t)more > w->config->rotate_bytes &&
                 more > 0;
    bool old = writer_period(w, now_us) > w->period;
    return w->size > 0 && (large || old);
}

int64_t file_writer_due_us(const FileWriter *w)
{
    int64_t interval_us = w->config->rotate_interval_ms * 1000;
    return interval_us > 0 && w->size > 0 ? (w->period + 1) * interval_us : 0;
}

/* When the file was rotated last, by the names in its directory; 0: never, as far as they tell. */
static int64_t writer_rotated_us(const FileWriter *w)
{
    const char *base = strrchr(w->config->path, '/') + 1;
    size_t length = strlen(base);
    int64_t newest_us = 0;
    DIR *directory = opendir(w->directory);
    struct dirent *is = NULL;
    // NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is ours alone
    while (directory != NULL && (is = readdir(directory)) != NULL) {
        if (strncmp(is->d_name, base, length) != 0 || is->d_name[length] != '.' ||
            strlen(is->d_name) != length + 1 + STAMP_LENGTH) {
            continue;
        }
        struct tm utc = {0};
        const char *rest = strptime(is->d_name + length + 1, "%Y%m%dT%H%M%S", &utc);
        if (rest != NULL && *rest == '.') {
            int64_t us = (int64_t)timegm(&utc) * 1000000 + strtol(rest + 1, NULL, 10);
            newest_us = us > newest_us ? us : newest_us;
        }
    }
    if (directory != NULL) {
        closedir(directory);
    }
    return newest_us;
}

/* A name that no file has, behind all that there are, also when the clock was set back: readers go
 * by the order of the names. Freed by the caller. NULL: none. */
static char *writer_new_name(const FileWriter *w, int64_t now_us)
{
    int64_t rotated_us = writer_rotated_us(w);
    now_us = now_us > rotated_us ? now_us : rotated_us + 1;
    for (int i = 0; i < ATTEMPT_NAMES; i++, now_us++) {
        time_t seconds = (time_t)(now_us / 1000000);
        struct tm utc;
        char stamp[32] = "";
        gmtime_r(&seconds, &utc);
        (void)strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%S", &utc);
        char *name = x_format("%s.%s.%06dZ", w->config->path, stamp, (int)(now_us % 1000000));
        struct stat there;
        if (lstat(name, &there) != 0) { /* there is none, or rename() says why there cannot be */
            return name;
        }
        free(name);
    }
    errno = EEXIST;
    return NULL;
}

static Status writer_rotate(FileWriter *w, int64_t now_us, Error *err)
{
    AUTO_TEXT name = writer_new_name(w, now_us);
    if (name == NULL || w->calls->rename(w->config->path, name) != 0) {
        return writer_failed(w, "rename", err);
    }
    log_write(LOG_INFO, w->pipeline, CODE_FILE_ROTATED,
              LOG_FIELDS(log_text("path", name), log_number("bytes", w->size)),
              "rotated the file; a new one begins");
    close(w->fd);
    w->fd = -1;
    w->size = 0;
    return writer_open(w, err);
}

/* The disk is full: of what is written, the whole lines stay. 0: there are none, or it cannot be.
 */
static size_t writer_keep_whole(FileWriter *w, Slice lines, size_t done)
{
    const char *last = memrchr(lines.data, '\n', done);
    size_t whole = last != NULL ? (size_t)(last - lines.data) + 1 : 0;
    bool kept = whole > 0 && w->calls->cut(w->fd, w->size + (int64_t)whole) == 0;
    return kept ? whole : 0;
}

static Status writer_append(FileWriter *w, Slice lines, size_t *ret_stored, Error *err)
{
    w->dirty = true;
    for (size_t done = 0; done < lines.length;) {
        ssize_t wrote = w->calls->write(w->fd, lines.data + done, lines.length - done);
        if (wrote > 0) {
            done += (size_t)wrote;
        } else if (wrote == 0 || errno != EINTR) {
            errno = wrote == 0 ? ENOSPC : errno;
            writer_failed(w, "write", err);
            size_t whole = err->code == CODE_FILE_DISK_FULL ? writer_keep_whole(w, lines, done) : 0;
            if (whole == 0) {
                (void)writer_cut(w); /* no reader shall meet half a line */
                return FAILED;
            }
            error_clear(err);
            lines.length = done = whole;
        }
    }
    if (w->calls->flush(w->fd) != 0) {
        writer_failed(w, "flush", err);
        if (writer_cut(w) == 0) { /* else it stays locked, and the next attempt cuts */
            file_writer_close(w);
        }
        return FAILED;
    }
    w->size += (int64_t)lines.length;
    w->dirty = false;
    *ret_stored = lines.length;
    return OK;
}

Status file_writer_write(FileWriter *w, Slice lines, int64_t now_us, size_t *ret_stored, Error *err)
{
    if (writer_ready(w, err) != OK ||
        (writer_is_due(w, lines.length, now_us) && writer_rotate(w, now_us, err) != OK)) {
        return FAILED;
    }
    if (lines.length == 0) {
        *ret_stored = 0;
        return OK;
    }
    if (w->size == 0) {
        w->period = writer_period(w, now_us);
    }
    return writer_append(w, lines, ret_stored, err);
}
