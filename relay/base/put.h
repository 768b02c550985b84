/* put: writes to a descriptor that others may have, too (stdout, stderr), so that it stays a
 * blocking one, without being held up by whoever does not read. Any thread. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

/** Writes what fd takes at once, at most PIPE_BUF bytes, after poll() has called it writable: how
 * many bytes that were, or -1 with errno (EAGAIN: it is full after all). */
ssize_t put_now(int fd, const char *bytes, size_t length);
