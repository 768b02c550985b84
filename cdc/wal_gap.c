#include "cdc/wal_gap.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/memory.h"
#include "cdc/slot.h"
#include "pg/ident.h"
#include "pg/sqlstate.h"

struct Gap {
    const WalContext *wal;
    const Progress *progress;
    Error unreadable;     /* the log from our place on */
    uint64_t undecodable; /* the stream that began here failed for want of the publication */
    bool closing;         /* --new-slot is about to do its work */
    bool accepted;        /* ... did it */
    bool none_said;       /* ... or has none to do */
};

/* The first time at a place the publication may be missing, and be made again in time; the second
 * time it is there, and too young for this place. */
bool gap_cannot_decode(Gap *gap, Error *err)
{
    AUTO_ERROR judged = error_of(err);
    if (!slot_judge_decoding(gap->wal->pipeline, &judged)) {
        return false;
    }
    uint64_t start = progress_start(gap->progress);
    if (gap->undecodable == start || judged.code != CODE_PUBLICATION_GONE) {
        error_copy(err, &judged);
    }
    gap->undecodable = start;
    return true;
}

/* What was refused may be allowed again; the log stays what it is. */
void gap_lose_log(Gap *gap, const Error *err)
{
    AUTO_ERROR copy = error_of(err);
    bool stays = copy.class == ERROR_FATAL && !sqlstate_is_refusal(&copy);
    if (stays && gap_may_close(gap)) {
        error_copy(&gap->unreadable, &copy);
        copy.class = ERROR_RETRY;
    }
    claim_lose(gap->wal->claim, &copy);
}

const Error *gap_unreadable(const Gap *gap)
{
    return gap->unreadable.class != ERROR_NONE ? &gap->unreadable : NULL;
}

bool gap_may_close(const Gap *gap)
{
    const PipelineConfig *pipeline = gap->wal->pipeline;
    bool standing = pipeline->capture == CAPTURE_TABLES &&
                    pipeline->tables.snapshot == SNAPSHOT_MODE_WHEN_NEEDED;
    return standing || (gap->wal->config->new_slot && !gap->accepted);
}

void gap_close(Gap *gap, bool closing)
{
    gap->closing = closing;
}

void gap_closed(Gap *gap)
{
    gap->accepted = gap->closing;
}

bool gap_may_say_none(const Gap *gap)
{
    return gap->wal->config->new_slot && gap_may_close(gap) && !gap->none_said;
}

void gap_say_none(Gap *gap)
{
    const PipelineConfig *pipeline = gap->wal->pipeline;
    if (!gap_may_say_none(gap)) {
        return;
    }
    gap->none_said = true;
    AUTO_TEXT slot = ident_literal(pipeline->wal.slot);
    log_write(LOG_WARN, pipeline->name, CODE_NEW_SLOT_NOT_NEEDED,
              LOG_FIELDS(log_text("slot", pipeline->wal.slot)),
              "--new-slot is not needed: slot and position match, and no row is known to be "
              "missing from the WAL; continuing. To create the slot again anyway, stop the relay, "
              "run SELECT pg_drop_replication_slot(%s); and start with --new-slot",
              slot);
}

Gap *gap_new(const WalContext *wal, const Progress *progress)
{
    Gap *gap = x_calloc(1, sizeof(*gap));
    gap->wal = wal;
    gap->progress = progress;
    return gap;
}

void gap_free(Gap **gap)
{
    if (*gap == NULL) {
        return;
    }
    error_clear(&(*gap)->unreadable);
    free(*gap);
    *gap = NULL;
}
