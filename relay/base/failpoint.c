#include "base/failpoint.h"

#ifdef OUTBOXD_FAILPOINTS

#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { FAILPOINTS_MAX = 16, NAME_MAX_BYTES = 32, LIST_MAX_BYTES = 512 };

typedef enum PointKind {
    PASSED, /* FAILPOINT: kill, exit, abort, sleep */
    FAILS,  /* FAILPOINT_FAILS: error as well */
} PointKind;

/* In the order of a row's life. A place in the sources that is not here aborts when it is passed.
 */
static const struct {
    const char *name;
    PointKind kind;
    const char *place;
} POINTS[] = {
    {"connect", FAILS, "before connecting to PostgreSQL"},
    {"locked", FAILS, "publisher lock taken, nothing read yet"},
    {"fetched", FAILS, "rows read from the table, nothing produced"},
    {"snapshot_chunk", FAILS, "tables: a part of a table was read for the first snapshot"},
    {"snapshot_end", FAILS, "tables: all of the snapshot is published, which is not stored yet"},
    {"streaming", FAILS, "wal: START_REPLICATION accepted, nothing read yet"},
    {"in_transaction", FAILS, "wal: in front of a message of a transaction that has begun"},
    {"keyed_rows", FAILS, "tables: rows of changes were read again, nothing produced"},
    {"requeue_read", FAILS, "tables: rows of dead letters were read, nothing produced"},
    {"requeue_published", PASSED,
     "tables: they are acknowledged, the dead letters are still there"},
    {"producing", PASSED, "in the middle of a batch"},
    {"enqueued", FAILS, "the batch is in librdkafka's queue (error: sending pauses here)"},
    {"delivered", PASSED, "broker acknowledged, report not yet handled"},
    {"stale_limits", FAILS, "limits of a topic looked up (error: none are known from now on)"},
    {"topic_missing", FAILS, "a topic was not found (error: as if for a minute)"},
    {"settled", PASSED, "report handled, source not yet told"},
    {"before_mark", FAILS, "batch acknowledged, mark not sent (error: it is put off)"},
    {"mark_sent", FAILS, "mark statement sent, its commit unknown"},
    {"marked", FAILS, "mark committed, not yet noted in memory"},
    {"forget_row", FAILS, "a row that was read is lost, as by a fault of ours"},
    {"feedback_sent", FAILS, "wal: a status update is on its way to the server"},
};
enum { POINT_COUNT = sizeof(POINTS) / sizeof(POINTS[0]) };

typedef struct Failpoint {
    int point;
    long countdown;
    long count;
    char action[NAME_MAX_BYTES];
} Failpoint;

static Failpoint failpoints[FAILPOINTS_MAX];
static int failpoint_count = -1;
static int failpoint_log = -1;

static int point_find(const char *name)
{
    for (int i = 0; i < POINT_COUNT; i++) {
        if (strcmp(POINTS[i].name, name) == 0) {
            return i;
        }
    }
    return -1;
}

__attribute__((noreturn)) static void failpoint_refuse(const char *item, const char *why)
{
    fprintf(stderr, "outboxd: OUTBOXD_FAILPOINTS: '%s': %s\n", item, why);
    _exit(EXIT_CONFIG);
}

/* What is wrong with the action at that point; NULL: nothing. */
static const char *action_problem(const char *action, PointKind kind)
{
    if (strcmp(action, "kill") == 0 || strcmp(action, "exit") == 0 ||
        strcmp(action, "abort") == 0) {
        return NULL;
    }
    if (strncmp(action, "sleep:", 6) == 0) {
        size_t digits = strspn(action + 6, "0123456789");
        bool number = digits > 0 && action[6 + digits] == '\0';
        return number ? NULL : "sleep needs a number of milliseconds, as in sleep:100";
    }
    if (strcmp(action, "error") == 0) {
        return kind == FAILS ? NULL : "this point has no effect for the action error";
    }
    return "no such action: kill, exit, abort, sleep:MS or error";
}

static void failpoint_add(char *item)
{
    if (failpoint_count == FAILPOINTS_MAX) {
        failpoint_refuse(item, "too many fail points");
    }
    Failpoint *point = &failpoints[failpoint_count];
    char name[NAME_MAX_BYTES];
    char end = '\0';
    // NOLINTNEXTLINE(cert-err34-c): a count that is out of range is below 1 or is never reached
    if (sscanf(item, "%31[^:]:%ld:%31s%c", name, &point->countdown, point->action, &end) != 3) {
        failpoint_refuse(item, "cannot read it: name:count:action is wanted");
    }
    point->point = point_find(name);
    point->count = point->countdown;
    if (point->point < 0) {
        for (int i = 0; i < POINT_COUNT; i++) {
            fprintf(stderr, "  %-15s %s\n", POINTS[i].name, POINTS[i].place);
        }
        failpoint_refuse(item, "no such fail point; those that exist are listed above");
    }
    if (point->count < 1) {
        failpoint_refuse(item, "the count is 1 for the first passage");
    }
    const char *problem = action_problem(point->action, POINTS[point->point].kind);
    if (problem != NULL) {
        failpoint_refuse(item, problem);
    }
    failpoint_count++;
}

void failpoint_check(void)
{
    failpoint_count = 0;
    const char *list = getenv("OUTBOXD_FAILPOINTS");   // NOLINT(concurrency-mt-unsafe): loop thread
    const char *log = getenv("OUTBOXD_FAILPOINT_LOG"); // NOLINT(concurrency-mt-unsafe): as above
    char copy[LIST_MAX_BYTES];
    if (snprintf(copy, sizeof(copy), "%s", list ? list : "") >= LIST_MAX_BYTES) {
        failpoint_refuse(copy, "the list is too long");
    }
    char *rest = NULL;
    for (char *item = strtok_r(copy, ",", &rest); item != NULL; item = strtok_r(NULL, ",", &rest)) {
        failpoint_add(item);
    }
    if (log != NULL && failpoint_count > 0) {
        failpoint_log = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (failpoint_log < 0) {
            failpoint_refuse(log, "cannot open the file that OUTBOXD_FAILPOINT_LOG names");
        }
    }
}

static void failpoint_note(const Failpoint *point)
{
    if (failpoint_log >= 0) {
        dprintf(failpoint_log, "%s:%ld:%s\n", POINTS[point->point].name, point->count,
                point->action);
    }
}

static bool failpoint_act(const Failpoint *point)
{
    const char *action = point->action;
    failpoint_note(point);
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
    }
    return strcmp(action, "error") == 0;
}

static bool failpoint_hit(const char *name, PointKind kind)
{
    if (failpoint_count < 0) {
        failpoint_check();
    }
    int found = point_find(name);
    assert(found >= 0 && POINTS[found].kind == kind); /* the table agrees with the place */
    for (int i = 0; i < failpoint_count; i++) {
        Failpoint *point = &failpoints[i];
        if (point->point == found && point->countdown > 0 && --point->countdown == 0) {
            return failpoint_act(point);
        }
    }
    return false;
}

void failpoint_pass(const char *name)
{
    failpoint_hit(name, PASSED);
}

bool failpoint_fails(const char *name, Error *err)
{
    if (!failpoint_hit(name, FAILS)) {
        return false;
    }
    if (err != NULL) {
        error_set(err, CODE_FAILPOINT, "fail point '%s'", name);
    }
    return true;
}

#else
/* ISO C forbids an empty translation unit. */
typedef int FailpointUnused;
#endif
