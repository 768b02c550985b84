#include "config/slurp.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"

static const char *slurp_kind(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFDIR:
        return "a directory";
    case S_IFIFO:
        return "a FIFO or pipe";
    case S_IFCHR:
    case S_IFBLK:
        return "a device";
    case S_IFSOCK:
        return "a socket";
    default:
        return "not a regular file";
    }
}

/* 0, or an errno; *ret_too_large when it has more than max bytes. */
static int slurp_read(int fd, size_t max, Text *text, bool *ret_too_large)
{
    size_t before = text->length;
    char chunk[4096];
    int failure = 0;
    for (;;) {
        ssize_t count = read(fd, chunk, sizeof(chunk));
        if (count < 0 && errno == EINTR) {
            continue;
        }
        failure = count < 0 ? errno : 0;
        if (count > 0) {
            text_append(text, chunk, (size_t)count);
        }
        *ret_too_large = text->length - before > max;
        if (count <= 0 || *ret_too_large) {
            break;
        }
    }
    explicit_bzero(chunk, sizeof(chunk));
    return failure;
}

Status slurp(const char *path, const char *kind, size_t max, Text *text, char **ret_message)
{
    struct stat info;
    char reason[128];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &info) != 0) {
        /* opening a socket fails; what it is says more than the errno */
        int failure = errno;
        bool odd = stat(path, &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode);
        *ret_message =
            x_format("cannot read %s\"%s\": %s%s", kind, path, odd ? "it is " : "",
                     odd ? slurp_kind(info.st_mode) : strerror_r(failure, reason, sizeof(reason)));
        if (fd >= 0) {
            (void)close(fd);
        }
        return FAILED;
    }
    if (!S_ISREG(info.st_mode)) {
        *ret_message = x_format("cannot read %s\"%s\": it is %s, not a regular file", kind, path,
                                slurp_kind(info.st_mode));
        (void)close(fd);
        return FAILED;
    }
    bool too_large = false;
    size_t before = text->length;
    text_add(text, "");
    int failure = slurp_read(fd, max, text, &too_large);
    (void)close(fd);
    if (failure != 0) {
        *ret_message = x_format("cannot read %s\"%s\": %s", kind, path,
                                strerror_r(failure, reason, sizeof(reason)));
    } else if (too_large) {
        *ret_message =
            x_format("cannot read %s\"%s\": it is larger than %zu KiB", kind, path, max / 1024);
    } else if (memchr(text->data + before, '\0', text->length - before) != NULL) {
        *ret_message = x_format("cannot read %s\"%s\": it contains a NUL byte", kind, path);
    } else {
        return OK;
    }
    return FAILED;
}

bool slurp_is_public(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && (info.st_mode & S_IROTH) != 0;
}
