/* The fence: when a gap may be given up.
 *
 * A gap below the top can be filled only by a transaction that drew the number before the top was
 * seen and has not ended. An INSERT locks its table before it draws a number and keeps the lock
 * until the end, prepared transactions included, so those transactions are among the writers that a
 * later statement finds. When none of them is left, one more fetch sees whatever they committed,
 * and the gaps up to that top are given up.
 *
 * A writer is who holds ROW EXCLUSIVE, which every INSERT and COPY takes even under a stronger lock
 * of its own. So VACUUM, ANALYZE and CREATE INDEX CONCURRENTLY, which hold others, keep no gap
 * open. It may hold it on a child only (inheritance), or, where a partition itself is the outbox,
 * at first on the partitioned table only: its number is drawn before its row finds the partition.
 *
 * Numbers that go back, and numbers that were drawn before the INSERT, know nothing of fences: the
 * sweep finds those. */
#include "outbox/poll_fence.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum {
    FENCE_INTERVAL_MS = 200, /* at most so often, and only while there are gaps */
};

void fence_reset(Fence *fence, bool at_once)
{
    int64_t next_us = at_once ? 0 : fence->next_us;
    fence_release(fence);
    fence->next_us = next_us;
}

void fence_release(Fence *fence)
{
    free(fence->writers);
    free(fence->latest);
    *fence = (Fence){0};
}

void fence_note(Fence *fence, const char *writers)
{
    free(fence->latest);
    fence->latest = x_strdup(writers);
}

void fence_forget_latest(Fence *fence)
{
    free(fence->latest);
    fence->latest = NULL;
}

/* True when a transaction of `old` (space-separated) is still among `now`. */
static bool fence_blocked(const char *old, const char *now)
{
    AUTO_TEXT copy = x_strdup(old);
    char *rest = NULL;
    for (char *writer = strtok_r(copy, " ", &rest); writer != NULL;
         writer = strtok_r(NULL, " ", &rest)) {
        size_t length = strlen(writer);
        for (const char *at = now; (at = strstr(at, writer)) != NULL; at += length) {
            bool starts = at == now || at[-1] == ' ';
            if (starts && (at[length] == ' ' || at[length] == '\0')) {
                return true;
            }
        }
    }
    return false;
}

bool fence_is_due(const Fence *fence, const Gaps *gaps, int64_t now_us)
{
    return gaps->ranges.count > 0 && now_us >= fence->next_us;
}

void fence_add_query(Fence *fence, uint32_t table_oid, int64_t now_us, Text *sql)
{
    fence->next_us = now_us + FENCE_INTERVAL_MS * 1000;
    text_printf(sql,
                "SELECT coalesce(string_agg(DISTINCT virtualtransaction, ' '), '') AS writers"
                " FROM pg_locks WHERE locktype = 'relation' AND granted"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
                " AND mode = 'RowExclusiveLock' AND pid IS DISTINCT FROM pg_backend_pid()"
                " AND relation IN (WITH RECURSIVE below AS (SELECT %1$u::oid AS id UNION"
                " SELECT inhrelid FROM pg_inherits JOIN below ON inhparent = id),"
                " above AS (SELECT %1$u::oid AS id UNION"
                " SELECT inhparent FROM pg_inherits JOIN above ON inhrelid = id)"
                " SELECT id FROM below UNION SELECT id FROM above); ",
                table_oid);
}

void fence_advance(Fence *fence, Gaps *gaps, const Fetch *fetch)
{
    if (fence->latest == NULL) {
        return;
    }
    if (fence->active && !fence_blocked(fence->writers, fence->latest) &&
        (!fetch->cut || fetch->last_seq > fence->top)) {
        gaps_drop(gaps, fence->top);
        fence->active = false;
    }
    if (!fence->active && gaps->ranges.count > 0 && fetch->top > INT64_MIN) {
        fence->active = true;
        fence->top = fetch->top;
        free(fence->writers);
        fence->writers = fence->latest;
        fence->latest = NULL;
    }
    fence_forget_latest(fence);
}
