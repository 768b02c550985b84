/* Preloaded into a program under test: its wall clock is off by as many seconds as the file says
 * that $CLOCK_STEP_FILE names (a text, 16 bytes). */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

static long clock_step(void)
{
    static const char *step;
    if (step == NULL) {
        int fd = open(getenv("CLOCK_STEP_FILE"), O_RDONLY | O_CLOEXEC);
        void *map = fd < 0 ? MAP_FAILED : mmap(NULL, 16, PROT_READ, MAP_SHARED, fd, 0);
        step = map == MAP_FAILED ? "0" : map;
    }
    return atol(step);
}

int clock_gettime(clockid_t id, struct timespec *now)
{
    static int (*real)(clockid_t, struct timespec *);
    if (real == NULL) {
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    }
    int result = real(id, now);
    if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE) {
        now->tv_sec += clock_step();
    }
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec t;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &t);
    *now = (struct timeval){.tv_sec = t.tv_sec, .tv_usec = t.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *ret_now)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    if (ret_now != NULL) {
        *ret_now = t.tv_sec;
    }
    return t.tv_sec;
}
