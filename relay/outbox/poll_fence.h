/* When a gap may be given up: see poll_fence.c. */
#pragma once

#include "base/text.h"
#include "outbox/gaps.h"
#include "outbox/poll_fetch.h"

typedef struct Fence {
    bool active;
    int64_t top;
    char *writers; /* virtual transaction ids, space-separated */
    char *latest;  /* of the running fetch; NULL: it did not ask */
    int64_t next_us;
} Fence;

/** The gaps are made anew. at_once: the next fetch may ask. */
void fence_reset(Fence *fence, bool at_once);
void fence_release(Fence *fence);

/** Who writes is to be asked with this fetch ... */
bool fence_is_due(const Fence *fence, const Gaps *gaps, int64_t now_us);
/** ... by a statement of its own, before that which reads. */
void fence_add_query(Fence *fence, uint32_t table_oid, int64_t now_us, Text *sql);
/** Its answer, the column "writers". */
void fence_note(Fence *fence, const char *writers);
/** That is of no use: the fetch was not complete. */
void fence_forget_latest(Fence *fence);
/** The fetch is complete, and what it saw is no gap any more. */
void fence_advance(Fence *fence, Gaps *gaps, const Fetch *fetch);
