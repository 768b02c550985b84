#include "sink/file/file_path.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "sink/file/file.h"
#include "sink/file/file_format.h"

#define NOT_A_FILE "Name a file in file.path: no directory, link, pipe or device."

char *file_path_directory(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL) {
        return x_strdup(".");
    }
    return x_strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

int file_path_rename(const char *from, const char *to)
{
    int failed = renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE);
    bool cannot = failed != 0 && (errno == ENOSYS || errno == EINVAL);
    return cannot ? rename(from, to) : failed;
}

Status file_path_failed(const char *path, const char *what, int code, Error *err)
{
    bool full = code == ENOSPC || code == EDQUOT || code == EFBIG;
    char room[128];
    const char *why =
        code == ELOOP ? "it is a symbolic link" : strerror_r(code, room, sizeof(room));
    error_set(err, full ? CODE_FILE_DISK_FULL : CODE_FILE_UNWRITABLE, "cannot %s '%s': %s", what,
              path, why);
    switch (code) {
    case ENOENT:
    case ENOTDIR:
        return error_hint(err, "Create the directory of file.path, or correct file.path.");
    case EACCES:
    case EPERM:
    case EROFS:
        return error_hint(err, "Give the relay's user write permission for the file and its "
                               "directory.");
    case ENAMETOOLONG:
        return error_hint(err, "Shorten the name in file.path: rotation adds 24 bytes to it.");
    case EISDIR:
    case ELOOP:
    case ENXIO:
        return error_hint(err, NOT_A_FILE);
    default:
        return error_advise(err);
    }
}

/* What a file system keeps or loses whole. */
enum { BLOCK_BYTES = 512 };

/* Bytes are read one by one: as many of a line's first as tell ours from others', or, behind a NUL,
 * what is left of its line. Blocks that a power loss took end where a block does, or the file. */
FileLines file_path_lines(int fd, off_t at)
{
    static const char BEGINS[] = FILE_FORMAT_JSON_BEGINS;
    char chunk[4096];
    size_t same = 0;   /* of the present line's bytes */
    bool torn = false; /* the present line has a hole: its end is looked for */
    bool hole = false; /* the byte before is one of its NULs */
    size_t holes = 0;
    bool blank = true; /* behind a hole is nothing but NULs, so far */
    ssize_t length = 0;
    while ((length = pread(fd, chunk, sizeof(chunk), at)) > 0) {
        for (ssize_t i = 0; i < length; i++) {
            char c = chunk[i];
            if (hole && c != '\0' && (at + i) % BLOCK_BYTES != 0) {
                return FILE_LINES_FOREIGN; /* a value's NUL */
            }
            hole = c == '\0';
            if (torn && c == '\n') {
                torn = false;
                same = 0;
            } else if (torn) {
                blank = blank && c == '\0';
            } else if (c == '\0') {
                torn = true;
                holes++;
            } else if (c != BEGINS[same]) {
                return FILE_LINES_FOREIGN;
            } else if (++same == sizeof(BEGINS) - 1) {
                return FILE_LINES_OURS;
            }
        }
        at += length;
    }
    bool known = torn ? blank : holes <= 1;
    return length < 0 ? FILE_LINES_UNREADABLE : known ? FILE_LINES_OURS : FILE_LINES_UNKNOWN;
}

Status file_path_check(const FileConfig *config, int fd, struct stat *ret_is, Error *err)
{
    if (fstat(fd, ret_is) != 0) {
        return file_path_failed(config->path, "look at", errno, err);
    }
    if (!S_ISREG(ret_is->st_mode)) {
        error_set(err, CODE_FILE_UNWRITABLE, "'%s' is not a regular file", config->path);
        return error_hint(err, NOT_A_FILE);
    }
    FileLines lines = config->format == FILE_FORMAT_JSON ? file_path_lines(fd, 0) : FILE_LINES_OURS;
    if (lines == FILE_LINES_UNREADABLE) {
        return file_path_failed(config->path, "read", errno, err);
    }
    if (lines != FILE_LINES_OURS) {
        error_set(err, CODE_FILE_FOREIGN,
                  "'%s' was not written by outboxd as JSON lines: it does not begin with '%s'",
                  config->path, FILE_FORMAT_JSON_BEGINS);
        return error_advise(err);
    }
    return OK;
}

/* The file that is there; *ret_there: whether there is one. */
static Status path_check_file(const FileConfig *config, bool *ret_there, Error *err)
{
    int fd = open(config->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    *ret_there = fd >= 0 || errno != ENOENT;
    if (fd < 0) {
        return *ret_there ? file_path_failed(config->path, "open", errno, err) : OK;
    }
    struct stat is;
    Status status = file_path_check(config, fd, &is, err);
    close(fd);
    return status;
}

/* A rotated file has the longer name (file_writer.h). */
static Status path_check_rotated(const FileConfig *config, Error *err)
{
    bool rotates = config->rotate_bytes > 0 || config->rotate_interval_ms > 0;
    AUTO_TEXT rotated = x_format("%s.20261128T190000.123456Z", config->path);
    struct stat there;
    if (!rotates || lstat(rotated, &there) == 0 || errno != ENAMETOOLONG) {
        return OK;
    }
    return file_path_failed(config->path, "rotate", errno, err);
}

Status sink_file_check(const PipelineConfig *pipeline, Error *err)
{
    const FileConfig *config = &pipeline->file;
    AUTO_ERROR found = {0};
    bool there = false;
    Status status = path_check_file(config, &there, &found);
    AUTO_TEXT directory = file_path_directory(config->path);
    /* Also beside a file that can be written: rotation makes another one. */
    if (status == OK && access(directory, W_OK | X_OK) != 0) {
        status = file_path_failed(config->path, there ? "rotate" : "make", errno, &found);
    }
    if (status == OK) {
        status = path_check_rotated(config, &found);
    }
    if (status != OK) {
        error_set_as(err, ERROR_FATAL, EXIT_CONFIG, found.code, "%s", error_message(&found));
        return error_hint(err, "%s", error_remedy(&found));
    }
    return OK;
}
