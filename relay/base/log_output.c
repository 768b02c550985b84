/* poll() says whether a pipe, a socket or a terminal takes more; a file always does. A reader that
 * is merely slow gets a moment, but waiting never takes more than a tenth of the time. */
#include "base/log_output.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h> /* PIPE_BUF */
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/put.h"

enum { PAUSE_FACTOR = 10 }; /* after a wait, no other one for ten times as long */

static struct {
    pthread_mutex_t lock;
    uint64_t lost; /* lines */
    uint64_t told;
    int reason;           /* errno of the first that nobody was told of */
    int64_t impatient_us; /* monotonic: until then it does not wait */
    bool cut;             /* the last line is not whole: the next begins on one of its own */
} output = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Whether stderr takes more, now or soon. */
static bool output_wait(bool may_wait)
{
    int64_t begin_us = clock_monotonic_us();
    int patience_ms = !may_wait || begin_us < output.impatient_us ? 0 : LOG_OUTPUT_PATIENCE_MS;
    struct pollfd fd = {.fd = STDERR_FILENO, .events = POLLOUT};
    int ready = 0;
    do {
        ready = poll(&fd, 1, patience_ms);
    } while (ready < 0 && errno == EINTR);
    int64_t end_us = clock_monotonic_us();
    if (end_us - begin_us > 1000) {
        output.impatient_us = end_us + (end_us - begin_us) * PAUSE_FACTOR;
    }
    return ready != 0; /* what is wrong with it, the write says */
}

/* 0, or errno. A line that was cut is ended by the same write: there may be no room for another. */
static int output_put(const char *line, size_t length, bool may_wait)
{
    size_t done = 0;
    while (done < length) {
        char chunk[PIPE_BUF];
        size_t begin = output.cut && done == 0 ? 1 : 0;
        size_t more = length - done < sizeof(chunk) - begin ? length - done : sizeof(chunk) - begin;
        chunk[0] = '\n';
        memcpy(chunk + begin, line + done, more);
        ssize_t wrote = output_wait(may_wait) ? put_now(STDERR_FILENO, chunk, begin + more) : 0;
        if (wrote < 0 && errno == EINTR) {
            continue;
        }
        if (wrote <= 0) {
            return wrote < 0 ? errno : EAGAIN;
        }
        output.cut = (size_t)wrote > begin || output.cut;
        done += (size_t)wrote - begin;
    }
    output.cut = false;
    return 0;
}

bool log_output_write(const char *line, size_t length)
{
    pthread_mutex_lock(&output.lock);
    int failed = output_put(line, length, true);
    if (failed != 0) {
        output.reason = output.lost == output.told ? failed : output.reason;
        output.lost++;
    }
    pthread_mutex_unlock(&output.lock);
    return failed == 0;
}

bool log_output_offer(const char *line, size_t length)
{
    pthread_mutex_lock(&output.lock);
    int failed = output_put(line, length, false);
    pthread_mutex_unlock(&output.lock);
    return failed == 0;
}

LogLoss log_output_take_loss(void)
{
    pthread_mutex_lock(&output.lock);
    LogLoss loss = {.lines = output.lost - output.told, .reason = output.reason};
    output.told = output.lost;
    pthread_mutex_unlock(&output.lock);
    return loss;
}

void log_output_return_loss(LogLoss loss)
{
    pthread_mutex_lock(&output.lock);
    output.told -= loss.lines;
    output.reason = loss.lines > 0 ? loss.reason : output.reason;
    pthread_mutex_unlock(&output.lock);
}

uint64_t log_output_lost(void)
{
    pthread_mutex_lock(&output.lock);
    uint64_t lost = output.lost;
    pthread_mutex_unlock(&output.lock);
    return lost;
}

void log_output_hold_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF) {
            /* The least free number is this one; the wrong way round, as glibc does for setuid. */
            (void)open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
        }
    }
}
