/* What the log tells of an outbox: inserted rows, and messages that outbox.emit_message wrote. */
#include "cdc/outbox_reader.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/memory.h"
#include "flow/refusal.h"
#include "rows/row.h"

enum { KEPT_BYTES = 1024 * 1024 }; /* messages from this on are kept where they are */

struct OutboxReader {
    Relations *relations;
    const Parked *parked;
    bool foreign_said; /* a message with our prefix that is none of ours was logged */
};

/* The event stands at the place that was taken last; it may be known to wait for its topic. */
static void outbox_number(Assembler *assembler, Event *event)
{
    const Parked *parked = assembler->outbox->parked;
    assembler_number(assembler, event);
    if (!event_is_settled(event) && parked != NULL &&
        parked_has(parked, event->seq, event->row[FIELD_EVENT_ID])) {
        batch_settle(event, EVENT_PARKED);
    }
}

static Status outbox_insert(Assembler *assembler, const PgOutputChange *change, Error *err)
{
    bool known = false;
    const Relation *relation =
        relations_find(assembler->outbox->relations, change->relation, &known);
    if (!assembler->in_transaction || !known) {
        return assembler_outside("insert", err);
    }
    if (relation == NULL || !assembler_next(assembler, assembler->ordinal + 1)) {
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
        outbox_number(assembler, event);
    }
    return OK;
}

/* Of what is large there is no second copy. */
static Slice outbox_keep(Assembler *assembler, Slice bytes)
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
static Status outbox_message(Assembler *assembler, const PgOutputLogicalMessage *message,
                             Error *err)
{
    if (!slice_equal(message->prefix, SLICE_LITERAL(MESSAGE_PREFIX)) ||
        !assembler->pipeline->wal.messages) {
        return OK;
    }
    if (!message->transactional) {
        if (!assembler->outbox->foreign_said) {
            assembler->outbox->foreign_said = true;
            log_write(LOG_WARN, assembler->pipeline->name, CODE_MESSAGE_IGNORED, LOG_NO_FIELDS,
                      "a non-transactional message with prefix " MESSAGE_PREFIX
                      " was ignored: outbox.emit_message writes none");
        }
        return OK;
    }
    if (!assembler->in_transaction) {
        return assembler_outside("message", err);
    }
    if (!assembler_next(assembler, assembler->ordinal + 1)) {
        return OK;
    }
    const Schema *schema = assembler->outbox->relations->table->schema;
    Batch *batch = assembler_batch(assembler);
    Event *event = NULL;
    AUTO_ERROR unreadable = {0};
    Slice content = outbox_keep(assembler, message->content);
    if (row_read_message(content, schema, assembler->pipeline->limits.event_bytes, batch, &event,
                         &unreadable) != OK) {
        event = batch_add(batch, schema);
        refusal_set_foreign(event);
        event->row[FIELD_PAYLOAD_BYTES] = content;
        batch->bytes += content.length + event_bytes(event);
    }
    event->seq = EVENT_NO_SEQ;
    event->origin = EVENT_OF_MESSAGE;
    outbox_number(assembler, event);
    return OK;
}

static Status outbox_take(Assembler *assembler, const PgOutput *message, Error *err)
{
    switch (message->kind) {
    case PGOUTPUT_INSERT:
        return outbox_insert(assembler, &message->change, err);
    case PGOUTPUT_MESSAGE:
        return outbox_message(assembler, &message->message, err);
    case PGOUTPUT_RELATION:
        return relations_put(assembler->outbox->relations, &message->relation, err);
    case PGOUTPUT_TYPE:
        return relations_put_type(assembler->outbox->relations, &message->type, err);
    default: /* published rows may go; the publication of ours does not even send these */
        return OK;
    }
}

/* A relation whose place only the server knows. */
static bool outbox_must_ask(const Assembler *assembler, const PgOutputRelation *relation)
{
    return relations_must_ask(assembler->outbox->relations, relation) ||
           relations_told_before(assembler->outbox->relations, relation);
}

static void outbox_restart(Assembler *assembler)
{
    relations_reset(assembler->outbox->relations);
}

const LogReader OUTBOX_READER = {
    .take = outbox_take, .must_ask = outbox_must_ask, .restart = outbox_restart};

OutboxReader *outbox_reader_new(Relations *relations, const Parked *parked)
{
    OutboxReader *reader = x_calloc(1, sizeof(*reader));
    reader->relations = relations;
    reader->parked = parked;
    return reader;
}

void outbox_reader_free(OutboxReader **reader)
{
    free(*reader);
    *reader = NULL;
}
