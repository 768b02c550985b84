#include "watch/watch_unread.h"

#include <stdlib.h>

#include "base/memory.h"
#include "base/vec.h"
#include "watch/fact.h"

#define NAME "outboxd_slot_unread_retained_wal_bytes"

typedef struct UnreadSlot {
    char *pipeline;
    char *slot;
} UnreadSlot;

struct WatchUnread {
    Metrics *metrics;
    VEC(UnreadSlot) slots;
};

WatchUnread *watch_unread_new(Metrics *metrics)
{
    WatchUnread *unread = x_calloc(1, sizeof(*unread));
    unread->metrics = metrics;
    return unread;
}

void watch_unread_forget(WatchUnread *unread)
{
    for (size_t i = 0; i < unread->slots.count; i++) {
        UnreadSlot *one = &unread->slots.items[i];
        metrics_remove(unread->metrics, NAME, "pipeline", one->pipeline, "slot", one->slot, NULL);
        free(one->pipeline);
        free(one->slot);
    }
    unread->slots.count = 0;
}

void watch_unread_add(WatchUnread *unread, const PGresult *result)
{
    for (int row = 0; row < PQntuples(result); row++) {
        const char *pipeline = fact(result, row, "unread_by");
        const char *slot = fact(result, row, "slot");
        *vec_add(&unread->slots) =
            (UnreadSlot){.pipeline = x_strdup(pipeline), .slot = x_strdup(slot)};
        *metrics_gauge(unread->metrics, NAME,
                       "Bytes of WAL that a replication slot of a former pipeline retains. No "
                       "pipeline of this relay and no other client reads the slot.",
                       "pipeline", pipeline, "slot", slot, NULL) =
            fact_real(result, row, "retained");
    }
}

void watch_unread_free(WatchUnread **unread)
{
    if (*unread != NULL) {
        watch_unread_forget(*unread);
        vec_free(&(*unread)->slots);
        free(*unread);
        *unread = NULL;
    }
}
