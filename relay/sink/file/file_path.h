/* file_path: whether a path can be the file of this sink, and what its errors mean. */
#pragma once

#include <sys/stat.h>

#include "base/error.h"
#include "config/config.h"

/** The directory of a path; freed by the caller. */
char *file_path_directory(const char *path);

/* Whose lines they are, as the next one that shows its beginning tells. */
typedef enum FileLines {
    FILE_LINES_OURS,    /* the beginning is that of our JSON; or nothing is there, or NULs alone */
    FILE_LINES_UNKNOWN, /* no beginning is there: no line ends behind a NUL, or NULs follow again */
    FILE_LINES_FOREIGN, /* the beginning is another one */
    FILE_LINES_UNREADABLE, /* errno says why */
} FileLines;

/** Looks from `at` on, where a line begins or a NUL byte is. A power loss leaves NULs in place of
 * what had not reached the disk, with later lines behind them: a line with a NUL in its beginning
 * tells nothing, and the one behind it is looked at. */
FileLines file_path_lines(int fd, off_t at);

/** Looks at an open file: FAILED with a RETRY *err when it is no regular file, or holds what this
 * sink cannot have written. */
Status file_path_check(const FileConfig *config, int fd, struct stat *ret_is, Error *err);

/** As rename(), but never over another file: EEXIST. Where the kernel or the file system cannot do
 * that (NFS), the caller has looked before, and must do. */
int file_path_rename(const char *from, const char *to);

/** Fills *err from errno of what we could not do ("open"). Returns FAILED. */
Status file_path_failed(const char *path, const char *what, int code, Error *err);
