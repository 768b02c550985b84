#include "cdc/assemble.h"

#include <stdlib.h>

#include "base/failpoint.h"
#include "cdc/wire.h"

void assembler_restart(Assembler *assembler, uint64_t position, int protocol)
{
    batch_free(&assembler->batch);
    assembler->reads->restart(assembler);
    assembler->reader = (PgOutputReader){.protocol = protocol};
    assembler->in_transaction = false;
    assembler->complete_lsn = position;
    assembler->told_lsn = 0;
}

void assembler_told(Assembler *assembler, uint64_t lsn)
{
    if (lsn > assembler->told_lsn) {
        assembler->told_lsn = lsn;
    }
}

void assembler_release(Assembler *assembler)
{
    batch_free(&assembler->batch);
}

bool assembler_is_done(const Assembler *assembler, uint64_t ordinal)
{
    /* Transactions come in the order of their commits, so their commit LSNs ascend. (LSNs of single
     * changes do not, and several may share one: they are never compared.) */
    return assembler->commit_lsn < assembler->done_lsn ||
           (assembler->commit_lsn == assembler->done_lsn && ordinal <= assembler->done_ordinal);
}

bool assembler_next(Assembler *assembler, uint64_t ordinal)
{
    assembler->ordinal = ordinal;
    return !assembler_is_done(assembler, ordinal);
}

void assembler_number(Assembler *assembler, Event *event)
{
    event->commit_lsn = assembler->commit_lsn;
    event->xid = assembler->xid;
    event->ordinal = assembler->ordinal;
    if (known_events_meet(assembler->known, event->commit_lsn, event->ordinal)) {
        batch_settle(event, EVENT_PUBLISHED);
    }
}

Batch *assembler_batch(Assembler *assembler)
{
    if (assembler->batch == NULL) {
        assembler->batch = batch_new();
    }
    return assembler->batch;
}

Status assembler_outside(const char *kind, Error *err)
{
    return error_set(err, CODE_PG_PROTOCOL, "the server sent '%s' where it cannot be", kind);
}

/* Commits come in the order of the log, and what ends a transaction began it. */
static Status assembler_backwards(uint64_t told, uint64_t expected, Error *err)
{
    char a[24];
    char b[24];
    return error_set(err, CODE_PG_PROTOCOL,
                     "the server told of a commit at %s, which does not follow %s",
                     lsn_format(told, a), lsn_format(expected, b));
}

static Status assembler_begin(Assembler *assembler, const PgOutputBegin *begin, Error *err)
{
    if (assembler->in_transaction) {
        return assembler_outside("begin", err);
    }
    uint64_t sent = assembler->told_lsn > assembler->complete_lsn ? assembler->told_lsn
                                                                  : assembler->complete_lsn;
    if (begin->final_lsn < sent) {
        return assembler_backwards(begin->final_lsn, sent, err);
    }
    assembler->in_transaction = true;
    assembler->commit_lsn = begin->final_lsn;
    assembler->xid = begin->xid;
    assembler->ordinal = 0;
    return OK;
}

static Status assembler_commit(Assembler *assembler, const PgOutputCommit *commit, Error *err)
{
    if (commit->commit_lsn != assembler->commit_lsn || commit->end_lsn <= commit->commit_lsn) {
        return assembler_backwards(commit->end_lsn, assembler->commit_lsn, err);
    }
    assembler->in_transaction = false;
    assembler->complete_lsn = commit->end_lsn;
    return OK;
}

Status assembler_take(Assembler *assembler, Slice data, Error *err)
{
    PgOutput message;
    if (pgoutput_read(&assembler->reader, data, &message, err) != OK) {
        return FAILED;
    }
    if (assembler->in_transaction && FAILPOINT_FAILS("in_transaction", err)) {
        return FAILED;
    }
    switch (message.kind) {
    case PGOUTPUT_BEGIN:
        return assembler_begin(assembler, &message.begin, err) == OK
                   ? assembler->reads->take(assembler, &message, err)
                   : FAILED;
    case PGOUTPUT_COMMIT:
        if (!assembler->in_transaction) {
            return assembler_outside("commit", err);
        }
        return assembler->reads->take(assembler, &message, err) == OK
                   ? assembler_commit(assembler, &message.commit, err)
                   : FAILED;
    case PGOUTPUT_INSERT:
    case PGOUTPUT_UPDATE:
    case PGOUTPUT_DELETE:
    case PGOUTPUT_TRUNCATE:
    case PGOUTPUT_MESSAGE:
    case PGOUTPUT_RELATION:
    case PGOUTPUT_TYPE:
    case PGOUTPUT_ORIGIN:
        return assembler->reads->take(assembler, &message, err);
    default:
        return assembler_outside(pgoutput_kind_name(message.kind), err); /* not asked for */
    }
}

Batch *assembler_finish(Assembler *assembler)
{
    Batch *batch = assembler->batch;
    if (batch == NULL) {
        return NULL;
    }
    assembler->batch = NULL;
    if (batch->count == 0) {
        batch_free(&batch);
        return NULL;
    }
    batch->position = assembler->complete_lsn;
    batch->tx_lsn = assembler->in_transaction ? assembler->commit_lsn : 0;
    batch->tx_ordinal = assembler->in_transaction ? assembler->ordinal : 0;
    batch->last_commit = assembler->last_commit;
    return batch;
}
