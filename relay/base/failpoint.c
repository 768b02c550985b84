#include "base/failpoint.h"

#ifdef OUTBOXD_FAILPOINTS

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"

enum { FAILPOINTS_MAX = 16 };

typedef struct Failpoint {
    char name[32];
    long countdown;
    char action[32];
} Failpoint;

static Failpoint failpoints[FAILPOINTS_MAX];
static int failpoint_count = -1;

static void failpoint_load(void)
{
    failpoint_count = 0;
    const char *list = getenv("OUTBOXD_FAILPOINTS"); // NOLINT(concurrency-mt-unsafe): loop thread
    char copy[512];
    snprintf(copy, sizeof(copy), "%s", list ? list : "");
    char *rest = NULL;
    for (char *item = strtok_r(copy, ",", &rest); item != NULL && failpoint_count < FAILPOINTS_MAX;
         item = strtok_r(NULL, ",", &rest)) {
        Failpoint *point = &failpoints[failpoint_count];
        // NOLINTNEXTLINE(cert-err34-c): a wrong number shows as a point that is never hit
        if (sscanf(item, "%31[^:]:%ld:%31s", point->name, &point->countdown, point->action) == 3) {
            failpoint_count++;
        } else {
            fprintf(stderr, "outboxd: OUTBOXD_FAILPOINTS: cannot read '%s'\n", item);
            _exit(EXIT_CONFIG);
        }
    }
}

static bool failpoint_act(const char *action)
{
    if (strcmp(action, "kill") == 0) {
        kill(getpid(), SIGKILL);
        pause();
    } else if (strcmp(action, "exit") == 0) {
        _exit(EXIT_INTERNAL);
    } else if (strcmp(action, "abort") == 0) {
        abort();
    } else if (strncmp(action, "sleep:", 6) == 0) {
        long ms = strtol(action + 6, NULL, 10);
        nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
    } else if (strcmp(action, "error") == 0) {
        return true;
    }
    return false;
}

bool failpoint_hit(const char *name)
{
    if (failpoint_count < 0) {
        failpoint_load();
    }
    for (int i = 0; i < failpoint_count; i++) {
        Failpoint *point = &failpoints[i];
        if (point->countdown > 0 && strcmp(point->name, name) == 0 && --point->countdown == 0) {
            return failpoint_act(point->action);
        }
    }
    return false;
}

#else
/* ISO C forbids an empty translation unit. */
typedef int FailpointUnused;
#endif
