#include "cdc/change_reader.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/uuid.h"
#include "cdc/change_made.h"

struct ChangeReader {
    const PipelineConfig *pipeline;
    const Schema *schema;
    char run[CHANGE_UUID_LENGTH + 1];
    ChangeEvents *events; /* NULL: not connected yet */
    Captured *captured;
    ReadTransaction *transaction;
    bool asked;         /* the catalog was asked for the change that is read */
    Arena scratch;      /* of records that are made to be counted alone */
    Reselect *reselect; /* NULL: nothing is read again */
    Slice old_row[PGOUTPUT_COLUMNS_MAX];
    Slice new_row[PGOUTPUT_COLUMNS_MAX];
};

/* Events. */

/* At the place that was taken last. */
static Event *reader_add(const ChangeReader *reader, Assembler *assembler)
{
    Event *event = batch_add(assembler_batch(assembler), reader->schema);
    event->seq = EVENT_NO_SEQ;
    event->occurred_at_us = reader->transaction->place->committed_at_us;
    assembler_number(assembler, event);
    return event;
}

/* Transactions. */

static bool reader_tells_transactions(const ChangeReader *reader)
{
    return (reader->pipeline->tables.modes.told & TOLD_TRANSACTIONS) != 0;
}

static ChangeShown shown_transaction(void)
{
    return (ChangeShown){.kind = SLICE_LITERAL("transaction"), .table = SLICE_NULL};
}

static void reader_tell(ChangeReader *reader, Assembler *assembler, uint64_t ordinal, bool end)
{
    if (!assembler_next(assembler, ordinal)) {
        return;
    }
    ChangeRecord record;
    const ReadTransaction *transaction = reader->transaction;
    const ChangePlace place = end ? *transaction->place : read_transaction_begin_place(transaction);
    Event *event = reader_add(reader, assembler);
    change_event_transaction(reader->events, end ? &transaction->counts : NULL, &place,
                             &event->batch->arena, &record);
    ChangeShown shown = shown_transaction();
    change_made_fill(reader->pipeline, event, &record, &shown);
}

/* One without changes of ours has no records of its begin and end. */
static void reader_tell_begin(ChangeReader *reader, Assembler *assembler)
{
    if (reader_tells_transactions(reader) && !reader->transaction->begun) {
        reader->transaction->begun = true;
        reader_tell(reader, assembler, 1, false);
    }
}

/* Behind the begin, before any change. */
static Status reader_take_origin(ChangeReader *reader, const Assembler *assembler,
                                 const PgOutputOrigin *origin, Error *err)
{
    if (!assembler->in_transaction) {
        return assembler_outside("origin", err);
    }
    read_transaction_take_origin(reader->transaction, origin);
    return OK;
}

static void reader_end_transaction(ChangeReader *reader, Assembler *assembler,
                                   const PgOutputCommit *commit)
{
    ReadTransaction *transaction = reader->transaction;
    transaction->place->lsn = assembler->message_lsn;
    assembler->last_commit = transaction->place->last_commit = commit->end_lsn;
    if (transaction->begun) {
        reader_tell(reader, assembler, CHANGE_PARTS * (transaction->number + 1), true);
    }
}

/* Changes. */

/* Its records are made once its row was read: they are counted now, and have their places. */
static void reader_put_off(ChangeReader *reader, Assembler *assembler, const CapturedTable *table,
                           const ChangeRow *row, size_t records)
{
    uint64_t first = CHANGE_PARTS * reader->transaction->number;
    ReselectChange change = {.table = table, .row = row};
    bool any = false;
    for (size_t i = 0; i < records; i++) {
        if (assembler_next(assembler, first + i)) {
            change.events[i] = reader_add(reader, assembler);
            any = true;
        }
    }
    if (any) {
        reselect_add(reader->reselect, assembler_batch(assembler), &change);
    }
}

/* The records of a change as events, or as one event that is refused. */
static Status reader_add_records(ChangeReader *reader, Assembler *assembler,
                                 const CapturedTable *table, ChangeRow *row, Error *err)
{
    uint64_t first = CHANGE_PARTS * reader->transaction->number;
    bool wanted = !assembler_is_done(assembler, first + CHANGE_RECORDS_MAX - 1);
    if (!wanted && !reader_tells_transactions(reader)) {
        return OK;
    }
    ChangeRecords records;
    AUTO_ERROR why = {0};
    Arena *kept = wanted ? &assembler_batch(assembler)->arena : &reader->scratch;
    row->awaited = reader->reselect != NULL && reselect_wants(table, row);
    Arena *arena = row->awaited ? &reader->scratch : kept;
    ChangeShown shown = {.kind = change_made_kind(row->op), .table = table->name};
    row->place = read_transaction_next(reader->transaction, table->name.data, kept);
    row->asked = reader->asked;
    Status made = change_event_row(reader->events, table->table, row, arena, &records, &why);
    if (made != OK && why.class != ERROR_POISON) {
        error_copy(err, &why);
        return FAILED;
    }
    uint64_t counted = made != OK;
    uint64_t bytes = 0;
    for (size_t i = 0; made == OK && i < records.count; i++) {
        counted += !slice_is_null(records.items[i].value);
        bytes += records.items[i].key.length + records.items[i].value.length;
        if (!row->awaited &&
            assembler_next(assembler, first + i)) { /* a position may stand between them */
            Event *event = reader_add(reader, assembler);
            shown.row = change_made_row(reader->pipeline, table->table, row, i, records.count,
                                        &event->batch->arena);
            records.items[i].topic = table->topic; /* outlives the table, as events in flight may */
            change_made_fill(reader->pipeline, event, &records.items[i], &shown);
        }
    }
    if (made == OK && row->awaited && wanted) {
        reader_put_off(reader, assembler, table, row, records.count);
    } else if (made != OK && assembler_next(assembler, first)) {
        Event *event = reader_add(reader, assembler);
        shown.row =
            change_made_row(reader->pipeline, table->table, row, 0, 1, &event->batch->arena);
        change_made_refuse(event, table->topic, &shown, &why);
    }
    change_transaction_count(&reader->transaction->counts, table->name.data, counted);
    if (wanted && !(made == OK && row->awaited)) {
        table_count_add(table->count, bytes, reader->transaction->place->committed_at_us);
    }
    arena_release(&reader->scratch);
    return OK;
}

/* NULL: the tuple was not sent. */
static const Slice *reader_row(const PgOutputTuple *tuple, Slice *row)
{
    if (tuple->bytes.data == NULL) {
        return NULL;
    }
    ByteReader rest = bytes_reader(tuple->bytes.data, tuple->bytes.length);
    for (size_t i = 0; i < tuple->columns; i++) {
        PgOutputValue value = pgoutput_value(&rest);
        row[i] = value.kind == VALUE_UNCHANGED ? SLICE_UNSENT : value.bytes;
    }
    return row;
}

static bool tuple_fits(const PgOutputTuple *tuple, const CapturedTable *table)
{
    return tuple->bytes.data == NULL || tuple->columns == table->table->count;
}

/* The table of a change; *ret_table NULL: it is not to be read. */
static Status reader_find(ChangeReader *reader, const Assembler *assembler, uint32_t relation,
                          unsigned operation, const CapturedTable **ret_table, Error *err)
{
    if (!assembler->in_transaction) {
        return assembler_outside("change", err);
    }
    const CapturedTable *table = captured_find(reader->captured, relation);
    if (table == NULL) {
        return error_set(err, CODE_PG_PROTOCOL,
                         "the server sent a row of relation %u, of which it has not told",
                         relation);
    }
    reader->transaction->number++;
    bool read = table->table != NULL && (table->mapping->operations & operation) != 0;
    *ret_table = read ? table : NULL;
    return OK;
}

static Status reader_change(ChangeReader *reader, Assembler *assembler, const PgOutput *message,
                            Error *err)
{
    const PgOutputChange *change = &message->change;
    bool created = message->kind == PGOUTPUT_INSERT;
    bool updated = message->kind == PGOUTPUT_UPDATE;
    const CapturedTable *table = NULL;
    if (reader_find(reader, assembler, change->relation,
                    created   ? OPERATION_CREATE
                    : updated ? OPERATION_UPDATE
                              : OPERATION_DELETE,
                    &table, err) != OK) {
        return FAILED;
    }
    if (table == NULL) {
        return OK;
    }
    if (!tuple_fits(&change->old_tuple, table) || !tuple_fits(&change->new_tuple, table)) {
        return error_set(err, CODE_PG_PROTOCOL,
                         "the server sent a row of %s with another number of columns than it told",
                         table->table->name);
    }
    reader->transaction->place->lsn = assembler->message_lsn;
    reader_tell_begin(reader, assembler);
    ChangeRow row = {.op = created   ? 'c'
                           : updated ? 'u'
                                     : 'd',
                     .old_row = reader_row(&change->old_tuple, reader->old_row),
                     .new_row = reader_row(&change->new_tuple, reader->new_row)};
    Status status = reader_add_records(reader, assembler, table, &row, err);
    reader->transaction->number -= status != OK; /* it comes again, or the stream is left */
    reader->asked = false;
    return status;
}

static Status reader_truncate(ChangeReader *reader, Assembler *assembler,
                              const PgOutputTruncate *truncate, Error *err)
{
    ByteReader rest = bytes_reader(truncate->bytes.data, truncate->bytes.length);
    for (uint32_t i = 0; i < truncate->relations; i++) {
        const CapturedTable *table = NULL;
        if (reader_find(reader, assembler, bytes_u32(&rest), OPERATION_TRUNCATE, &table, err) !=
            OK) {
            return FAILED;
        }
        if (table == NULL) {
            continue;
        }
        reader->transaction->place->lsn = assembler->message_lsn;
        reader_tell_begin(reader, assembler);
        ChangeRow row = {.op = 't'};
        if (reader_add_records(reader, assembler, table, &row, err) != OK) {
            return FAILED;
        }
    }
    return OK;
}

/* Logical messages. */

/* It is read at once, between transactions: what commits before it was sent. Its LSN is the end of
 * its record (PostgreSQL: logicalmsg_decode), so it counts as one that commits just before. */
static void reader_stand_apart(Assembler *assembler, uint64_t lsn)
{
    assembler->commit_lsn = lsn - 1;
    assembler->xid = 0;
    assembler->complete_lsn = lsn;
}

static void reader_add_message(ChangeReader *reader, Assembler *assembler,
                               const PgOutputLogicalMessage *message)
{
    const ChangeShown shown = {.kind = change_made_kind('m'), .table = SLICE_LITERAL("message")};
    ChangePlace place = *reader->transaction->place;
    ChangeRecord record;
    AUTO_ERROR err = {0};
    place.now_ns = clock_wall_us() * 1000;
    place.xid = message->transactional ? place.xid : 0;
    place.origin = message->transactional ? place.origin : SLICE_NULL;
    place.in_transaction = message->transactional && place.in_transaction;
    place.total_order = reader->transaction->counts.records + 1;
    place.table_order = 1; /* to Debezium each message is a collection of its own */
    Event *event = reader_add(reader, assembler);
    if (change_event_message(reader->events,
                             &(ChangeMessage){message->prefix, message->content, &place},
                             &event->batch->arena, &record, &err) == OK) {
        change_made_fill(reader->pipeline, event, &record, &shown);
        return;
    }
    change_made_refuse(event, change_events_message_topic(reader->events), &shown, &err);
}

static Status reader_message(ChangeReader *reader, Assembler *assembler,
                             const PgOutputLogicalMessage *message, Error *err)
{
    if (message->transactional && !assembler->in_transaction) {
        return assembler_outside("message", err);
    }
    reader->transaction->place->lsn = assembler->message_lsn;
    if (message->transactional) {
        reader->transaction->number++;
    } else {
        assembler->last_commit = reader->transaction->place->last_commit = message->lsn;
    }
    if (slice_equal(message->prefix, SLICE_LITERAL(CHANGE_CONTEXT_PREFIX))) {
        if (message->transactional) {
            read_transaction_take_context(reader->transaction, message->content);
        }
        return OK;
    }
    if (!reader->pipeline->wal.messages) {
        return OK;
    }
    if (message->transactional) {
        reader_tell_begin(reader, assembler);
        if (assembler_next(assembler, CHANGE_PARTS * reader->transaction->number)) {
            reader_add_message(reader, assembler, message);
        }
        change_transaction_count_message(&reader->transaction->counts);
        return OK;
    }
    if (assembler->in_transaction || message->lsn <= assembler->complete_lsn) {
        return OK; /* it was sent before */
    }
    reader_stand_apart(assembler, message->lsn);
    if (assembler_next(assembler, 1)) {
        reader_add_message(reader, assembler, message);
    }
    return OK;
}

void change_reader_beat(ChangeReader *reader, Assembler *assembler)
{
    ChangeRecord record;
    Event *event = batch_add(assembler_batch(assembler), reader->schema);
    const ChangeShown shown = {.kind = SLICE_LITERAL("heartbeat"), .table = SLICE_NULL};
    event->batch->beats = true;
    event->origin = EVENT_OF_CLOCK;
    event->seq = EVENT_NO_SEQ;
    event->commit_lsn = assembler->in_transaction ? assembler->commit_lsn : assembler->complete_lsn;
    event->ordinal = assembler->in_transaction ? assembler->ordinal : 0;
    change_event_heartbeat(reader->events, clock_wall_us() / 1000, &event->batch->arena, &record);
    change_made_fill(reader->pipeline, event, &record, &shown);
}

/* Of LogReader. */

static Status reader_take(Assembler *assembler, const PgOutput *message, Error *err)
{
    ChangeReader *reader = assembler->changes;
    switch (message->kind) {
    case PGOUTPUT_BEGIN:
        read_transaction_begin(reader->transaction, &message->begin, assembler->message_lsn,
                               reader_tells_transactions(reader));
        return OK;
    case PGOUTPUT_COMMIT:
        reader_end_transaction(reader, assembler, &message->commit);
        return OK;
    case PGOUTPUT_INSERT:
    case PGOUTPUT_UPDATE:
    case PGOUTPUT_DELETE:
        return reader_change(reader, assembler, message, err);
    case PGOUTPUT_TRUNCATE:
        return reader_truncate(reader, assembler, &message->truncate, err);
    case PGOUTPUT_MESSAGE:
        return reader_message(reader, assembler, &message->message, err);
    case PGOUTPUT_ORIGIN:
        return reader_take_origin(reader, assembler, &message->origin, err);
    case PGOUTPUT_RELATION:
        return captured_put(reader->captured, &message->relation, err);
    default:
        return OK;
    }
}

uint32_t change_reader_relation(Slice message)
{
    const char kind = message.length >= 5 ? message.data[0] : '\0';
    bool change = kind == 'I' || kind == 'U' || kind == 'D';
    return change ? bytes_load_u32((const unsigned char *)message.data + 1) : 0;
}

/* Of a change whose table is made anew. */
static Status reader_answered(Assembler *assembler, Slice data, Error *err)
{
    ChangeReader *reader = assembler->changes;
    uint32_t relation = change_reader_relation(data);
    reader->asked = relation != 0;
    return relation != 0 ? captured_renew(reader->captured, relation, err) : OK;
}

static bool reader_must_ask(const Assembler *assembler, const PgOutputRelation *relation)
{
    (void)assembler;
    (void)relation;
    return true;
}

static void reader_restart(Assembler *assembler)
{
    ChangeReader *reader = assembler->changes;
    read_transaction_restart(reader->transaction, assembler->last_commit);
    captured_restart(reader->captured);
}

const LogReader CHANGE_READER = {
    .take = reader_take,
    .must_ask = reader_must_ask,
    .answered = reader_answered,
    .restart = reader_restart,
};

void change_reader_reselect(ChangeReader *reader, Reselect *reselect)
{
    reader->reselect = reselect;
}

Captured *change_reader_captured(ChangeReader *reader)
{
    return reader->captured;
}

void change_reader_begin(ChangeReader *reader, const char *database)
{
    captured_set_database(reader->captured, database);
    if (reader->events == NULL) {
        reader->events =
            change_events_new(&(ChangeOptions){.modes = reader->pipeline->tables.modes,
                                               .prefix = reader->pipeline->tables.topic_prefix,
                                               .database = database,
                                               .run = reader->run});
    }
}

const ReadTransaction *change_reader_transaction(const ChangeReader *reader)
{
    return reader->transaction;
}

ChangeEvents *change_reader_events(ChangeReader *reader)
{
    return reader->events;
}

ChangeReader *change_reader_new(const PipelineConfig *pipeline, const Schema *schema,
                                Metrics *metrics)
{
    ChangeReader *reader = x_calloc(1, sizeof(*reader));
    reader->pipeline = pipeline;
    reader->schema = schema;
    reader->captured = captured_new(pipeline, metrics);
    reader->transaction = read_transaction_new();
    uuid_v7(reader->run);
    return reader;
}

void change_reader_free(ChangeReader **reader)
{
    ChangeReader *old = *reader;
    *reader = NULL;
    if (old == NULL) {
        return;
    }
    change_events_free(&old->events);
    captured_free(&old->captured);
    read_transaction_free(&old->transaction);
    arena_release(&old->scratch);
    free(old);
}
