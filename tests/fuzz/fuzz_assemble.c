/* A stream of pgoutput messages becomes batches. The first byte of the input is the configuration;
 * then a stream: an int16 length before each message; 0 takes the batch as the pipeline would. A
 * message that is refused begins the stream again, as a lost connection does.
 *
 * Whatever comes: events stand in the order of the log, the position of a batch covers what is in
 * it and no more, and what is counted is true. */
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "cdc/outbox_reader.h"
#include "check.h"
#include "flow/refusal.h"
#include "stub/given.h"
#include "target.h"

enum { OUTBOX = 16400, HAS_MESSAGES = 1, KEEPS_ROWS = 2, HAS_EXTRA = 4, HAS_CONVERTED = 8 };

typedef struct Stream {
    PipelineConfig pipeline;
    OutboxTable table;
    Tree tree;
    Relations relations;
    KnownEvents known;
    Assembler assembler;
    uint64_t last_lsn; /* of the last event of this stream */
    uint64_t last_ordinal;
} Stream;

static char *extra_columns[] = {GIVEN("tenant"), GIVEN("payload_bytes")};

static void stream_begin(Stream *stream, uint8_t how)
{
    *stream = (Stream){.pipeline = given_pipeline()};
    stream->pipeline.capture = CAPTURE_WAL;
    stream->pipeline.wal.messages = (how & HAS_MESSAGES) != 0;
    stream->pipeline.outbox.on_publish =
        (how & KEEPS_ROWS) != 0 ? ON_PUBLISH_KEEP : ON_PUBLISH_MARK;
    stream->pipeline.outbox.header_columns.items = extra_columns;
    stream->pipeline.outbox.header_columns.count = (how & HAS_EXTRA) != 0 ? 2 : 0;
    if ((how & HAS_CONVERTED) != 0) {
        stream->pipeline.outbox.columns[FIELD_PAYLOAD] = GIVEN("");
    }
    stream->table =
        (OutboxTable){.config = &stream->pipeline, .schema = schema_of_outbox(&stream->pipeline)};
    stream->relations = (Relations){.table = &stream->table,
                                    .table_oid = OUTBOX,
                                    .tree = &stream->tree,
                                    .schema = x_strdup("outbox"),
                                    .name = x_strdup("event")};
    stream->assembler = (Assembler){.pipeline = &stream->pipeline,
                                    .reads = &OUTBOX_READER,
                                    .outbox = outbox_reader_new(&stream->relations, NULL),
                                    .known = &stream->known};
    assembler_restart(&stream->assembler, 0, 1);
}

static void check_event(Stream *stream, const Batch *batch, const Event *event)
{
    fuzz_check(event->commit_lsn > stream->last_lsn ||
               (event->commit_lsn == stream->last_lsn && event->ordinal > stream->last_ordinal));
    stream->last_lsn = event->commit_lsn;
    stream->last_ordinal = event->ordinal;
    fuzz_check(event->commit_lsn < batch->position || event->commit_lsn == batch->tx_lsn);
    fuzz_check(event->commit_lsn != batch->tx_lsn || event->ordinal <= batch->tx_ordinal);
    fuzz_check(event->state == EVENT_PENDING && event->batch == batch);
    fuzz_check(stream->pipeline.wal.messages || event->refusal == NULL || !event->refusal->foreign);
    for (EventField field = FIELD_SEQ; field < FIELD_COUNT; field++) {
        fuzz_touch(event->row[field]);
    }
    for (size_t i = 0; i < stream->pipeline.outbox.header_columns.count; i++) {
        fuzz_touch(event->row[FIELD_COUNT + i]);
    }
}

static void stream_finish(Stream *stream)
{
    Batch *batch = assembler_finish(&stream->assembler);
    if (batch == NULL) {
        return;
    }
    fuzz_check(batch->count > 0 && batch->unsettled == batch->count);
    for (size_t i = 0; i < batch->count; i++) {
        check_event(stream, batch, batch->events[i]);
    }
    batch_free(&batch);
}

/* In memory of exactly that length, so that a read behind it is found, and gone afterwards. */
static void stream_take(Stream *stream, Slice message)
{
    AUTO_ERROR err = {0};
    char *exact = x_malloc(message.length);
    memcpy(exact, message.data, message.length);
    Status status =
        assembler_take(&stream->assembler, (Slice){.data = exact, .length = message.length}, &err);
    free(exact);
    if (status == OK) {
        return;
    }
    fuzz_check(err.class == ERROR_RETRY || err.class == ERROR_FATAL);
    fuzz_check(error_message(&err)[0] != '\0' && err.code != CODE_NONE);
    fuzz_check(err.class != ERROR_FATAL || error_own_hint(&err)[0] != '\0');
    assembler_restart(&stream->assembler, 0, 1);
    stream->last_lsn = stream->last_ordinal = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    log_configure(LOG_FORMAT_LOGFMT, LOG_ERROR);
    Stream stream;
    stream_begin(&stream, data[0]);
    ByteReader in = bytes_reader((const char *)data + 1, size - 1);
    while (bytes_left(&in) >= 2 && !in.failed) {
        size_t length = bytes_u16(&in);
        Slice message = bytes_slice(&in, length);
        if (length == 0) {
            stream_finish(&stream);
        } else if (!in.failed) {
            stream_take(&stream, message);
        }
    }
    stream_finish(&stream);
    assembler_release(&stream.assembler);
    outbox_reader_free(&stream.assembler.outbox);
    relations_release(&stream.relations);
    tree_release(&stream.tree);
    schema_free(&stream.table.schema);
    return 0;
}
