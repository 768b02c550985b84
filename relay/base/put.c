/* A write of up to PIPE_BUF bytes to a pipe that poll() calls writable does not block; a socket may
 * have less room than poll() is asked for, and is asked not to wait. */
#include "base/put.h"

#include <errno.h>
#include <limits.h> /* PIPE_BUF */
#include <sys/socket.h>
#include <unistd.h>

ssize_t put_now(int fd, const char *bytes, size_t length)
{
    length = length < PIPE_BUF ? length : PIPE_BUF;
    ssize_t sent = send(fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);
    return sent < 0 && errno == ENOTSOCK ? write(fd, bytes, length) : sent;
}
