/* file_path: whether a path can be the file of this sink, and what its errors mean. */
#pragma once

#include <sys/stat.h>

#include "base/error.h"
#include "config/config.h"

/** The directory of a path; freed by the caller. */
char *file_path_directory(const char *path);

/** Looks at an open file: FAILED with a RETRY *err when it is no regular file, or holds what this
 * sink cannot have written. */
Status file_path_check(const FileConfig *config, int fd, struct stat *ret_is, Error *err);

/** Fills *err from errno of what we could not do ("open"). Returns FAILED. */
Status file_path_failed(const char *path, const char *what, int code, Error *err);
