#include "cdc/assemble.h"

#include <stdlib.h>
#include <string.h>

#include "base/failpoint.h"
#include "base/log.h"
#include "cdc/wire.h"
#include "flow/refusal.h"
#include "rows/row.h"

enum { KEPT_BYTES = 1024 * 1024 }; /* messages from this on are kept where they are */

void assembler_restart(Assembler *assembler, uint64_t position, int protocol)
{
    batch_free(&assembler->batch);
    relations_reset(assembler->relations);
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

/* Where the event stands; false: it is done already and nobody needs to see it again. */
static bool assembler_next(Assembler *assembler)
{
    assembler->ordinal++;
    /* Transactions come in the order of their commits, so their commit LSNs ascend. (LSNs of single
     * changes do not, and several may share one: they are never compared.) */
    return assembler->commit_lsn > assembler->done_lsn ||
           (assembler->commit_lsn == assembler->done_lsn &&
            assembler->ordinal > assembler->done_ordinal);
}

static void assembler_number(Assembler *assembler, Event *event)
{
    event->commit_lsn = assembler->commit_lsn;
    event->xid = assembler->xid;
    event->ordinal = assembler->ordinal;
    if (known_events_meet(assembler->known, event->commit_lsn, event->ordinal)) {
        batch_settle(event, EVENT_PUBLISHED);
    } else if (assembler->parked != NULL &&
               parked_has(assembler->parked, event->seq, event->row[FIELD_EVENT_ID])) {
        batch_settle(event, EVENT_PARKED);
    }
}

static Batch *assembler_batch(Assembler *assembler)
{
    if (assembler->batch == NULL) {
        assembler->batch = batch_new();
    }
    return assembler->batch;
}

static Status assembler_outside(const char *kind, Error *err)
{
    return error_set(err, CODE_PG_PROTOCOL, "the server sent '%s' where it cannot be", kind);
}

static Status assembler_insert(Assembler *assembler, const PgOutputChange *change, Error *err)
{
    bool known = false;
    const Relation *relation = relations_find(assembler->relations, change->relation, &known);
    if (!assembler->in_transaction || !known) {
        return assembler_outside("insert", err);
    }
    if (relation == NULL || !assembler_next(assembler)) {
        return OK;
    }
    Event *event = NULL;
    Batch *batch = assembler_batch(assembler);
    if (relation_read_row(relation, &change->new_tuple, &assembler->message, batch, &event, err) !=
        OK) {
        return FAILED;
    }
    if (event != NULL && event->seq == EVENT_NO_SEQ &&
        assembler->pipeline->outbox.on_publish != ON_PUBLISH_KEEP) {
        batch_take_back(
            batch); /* it could not be marked: the watch says that it is not published */
        event = NULL;
    }
    if (event != NULL) { /* else it was inserted as published; it has its ordinal all the same */
        assembler_number(assembler, event);
    }
    return OK;
}

/* Of what is large there is no second copy. */
static Slice assembler_keep(Assembler *assembler, Slice bytes)
{
    Arena *arena = &assembler_batch(assembler)->arena;
    if (assembler->message == NULL || bytes.length < KEPT_BYTES) {
        return arena_copy(arena, bytes);
    }
    arena_adopt(arena, assembler->message, bytes.length);
    assembler->message = NULL;
    return bytes;
}

/* Anybody may write a message with our prefix: what cannot be read is poison, whatever the routes
 * say. */
static Status assembler_message(Assembler *assembler, const PgOutputLogicalMessage *message,
                                Error *err)
{
    if (!slice_equal(message->prefix, SLICE_LITERAL(MESSAGE_PREFIX)) ||
        !assembler->pipeline->wal.messages) {
        return OK;
    }
    if (!message->transactional) {
        if (!assembler->foreign_said) {
            assembler->foreign_said = true;
            log_write(LOG_WARN, assembler->pipeline->name, CODE_MESSAGE_IGNORED, LOG_NO_FIELDS,
                      "a non-transactional message with prefix " MESSAGE_PREFIX
                      " was ignored: outbox.emit_message writes none");
        }
        return OK;
    }
    if (!assembler->in_transaction) {
        return assembler_outside("message", err);
    }
    if (!assembler_next(assembler)) {
        return OK;
    }
    const Schema *schema = assembler->relations->table->schema;
    Batch *batch = assembler_batch(assembler);
    Event *event = NULL;
    AUTO_ERROR unreadable = {0};
    Slice content = assembler_keep(assembler, message->content);
    if (row_read_message(content, schema, assembler->pipeline->limits.event_bytes, batch, &event,
                         &unreadable) != OK) {
        event = batch_add(batch, schema);
        refusal_set_foreign(event);
        event->row[FIELD_PAYLOAD_BYTES] = content;
        batch->bytes += content.length + event_bytes(event);
    }
    event->seq = EVENT_NO_SEQ;
    event->message = true;
    assembler_number(assembler, event);
    return OK;
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
    if (!assembler->in_transaction) {
        return assembler_outside("commit", err);
    }
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
        return assembler_begin(assembler, &message.begin, err);
    case PGOUTPUT_COMMIT:
        return assembler_commit(assembler, &message.commit, err);
    case PGOUTPUT_INSERT:
        return assembler_insert(assembler, &message.change, err);
    case PGOUTPUT_MESSAGE:
        return assembler_message(assembler, &message.message, err);
    case PGOUTPUT_RELATION:
        return relations_put(assembler->relations, &message.relation, err);
    case PGOUTPUT_TYPE:
        return relations_put_type(assembler->relations, &message.type, err);
    case PGOUTPUT_ORIGIN:
    case PGOUTPUT_UPDATE:
    case PGOUTPUT_DELETE:
    case PGOUTPUT_TRUNCATE:
        return OK; /* published rows may go; the publication of ours does not even send these */
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
    return batch;
}
