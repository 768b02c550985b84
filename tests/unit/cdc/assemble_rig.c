#include "assemble_rig.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "stub/given_schema.h"

AssembleRig feed;
static char *header_columns[] = {GIVEN("tenant")};

static void begin(void)
{
    log_configure(LOG_FORMAT_LOGFMT, LOG_ERROR);
    feed.pipeline = given_pipeline();
    feed.pipeline.capture = CAPTURE_WAL;
    feed.pipeline.wal.messages = true;
    feed.pipeline.outbox.header_columns.items = header_columns;
    feed.pipeline.outbox.header_columns.count = 1;
    feed.table = (OutboxTable){.config = &feed.pipeline, .schema = given_schema_of(&feed.pipeline)};
    feed.relations = (Relations){.table = &feed.table,
                                 .table_oid = OUTBOX,
                                 .tree = &feed.tree,
                                 .schema = x_strdup("outbox"),
                                 .name = x_strdup("event")};
    feed.assembler = (Assembler){.pipeline = &feed.pipeline,
                                 .reads = &OUTBOX_READER,
                                 .outbox = outbox_reader_new(&feed.relations, NULL),
                                 .known = &feed.known};
    assembler_restart(&feed.assembler, 0x1000, 1);
}

static void end(void)
{
    batch_free(&feed.batch);
    assembler_release(&feed.assembler);
    outbox_reader_free(&feed.assembler.outbox);
    relations_release(&feed.relations);
    tree_release(&feed.tree);
    known_events_release(&feed.known);
    text_free(&feed.bytes);
}

TestSuite(assemble, .init = begin, .fini = end);

/* Takes the message in `bytes` and spoils it. */
static Status take(void)
{
    error_clear(&feed.err);
    Status status = assembler_take(
        &feed.assembler, (Slice){.data = feed.bytes.data, .length = feed.bytes.length}, &feed.err);
    memset(feed.bytes.data, '#', feed.bytes.length);
    text_clear(&feed.bytes);
    return status;
}

void feed_bytes(void)
{
    cr_assert_eq(take(), OK, "%s", error_message(&feed.err));
}

const BuildColumn FEED_COLUMNS[FEED_COLUMN_COUNT] = {
    {"seq", 20},          {"event_id", 25}, {"event_type", 25}, {"aggregate_type", 25},
    {"aggregate_id", 25}, {"payload", 25},  {"tenant", 25}};

void feed_relations(void)
{
    build_relation(&feed.bytes, OUTBOX, "outbox", "event", FEED_COLUMNS, FEED_COLUMN_COUNT);
    feed_bytes();
    build_relation(&feed.bytes, OTHER_TABLE, "public", "invoice", FEED_COLUMNS, 1);
    feed_bytes();
}

void feed_begin(uint64_t commit_lsn)
{
    build_begin(&feed.bytes, commit_lsn, (uint32_t)(commit_lsn & 0xFFF));
    feed_bytes();
}

void feed_commit(uint64_t commit_lsn)
{
    build_commit(&feed.bytes, commit_lsn, commit_lsn + 8);
    feed_bytes();
}

void feed_build_event(uint32_t oid, int64_t seq)
{
    char text[24];
    snprintf(text, sizeof(text), "%" PRId64, seq);
    const Slice values[FEED_COLUMN_COUNT] = {
        slice_of(text),      SLICE_LITERAL("id"), SLICE_LITERAL("placed"), SLICE_LITERAL("order"),
        SLICE_LITERAL("42"), SLICE_LITERAL("{}"), SLICE_LITERAL("acme")};
    build_insert(&feed.bytes, oid, values, oid == OUTBOX ? FEED_COLUMN_COUNT : 1);
}

void feed_row(int64_t seq)
{
    feed_build_event(OUTBOX, seq);
    feed_bytes();
}

void feed_message(const char *prefix, bool transactional, const char *event_id)
{
    AUTO_BUFFER content = TEXT_EMPTY;
    build_event_content(&content, event_id);
    build_message(&feed.bytes, transactional, prefix,
                  (Slice){.data = content.data, .length = content.length});
    feed_bytes();
}

void feed_assert_batch(const char *expected)
{
    batch_free(&feed.batch);
    feed.batch = assembler_finish(&feed.assembler);
    AUTO_BUFFER text = TEXT_EMPTY;
    for (size_t i = 0; feed.batch != NULL && i < feed.batch->count; i++) {
        const Event *event = feed.batch->events[i];
        text_printf(&text, "%s%" PRIx64 ":%" PRIu64 "=", i > 0 ? " " : "", event->commit_lsn,
                    event->ordinal);
        if (event->seq == EVENT_NO_SEQ) {
            text_add_char(&text, '-');
        } else {
            text_printf(&text, "%" PRId64, event->seq);
        }
        text_add(&text, event_is_settled(event) ? "!" : "");
    }
    cr_assert_str_eq(text_string(&text), expected, "%s", text_string(&text));
}

void feed_assert_position(uint64_t position, uint64_t tx_lsn, uint64_t tx_ordinal)
{
    cr_assert(feed.batch->position == position && feed.batch->tx_lsn == tx_lsn &&
                  feed.batch->tx_ordinal == tx_ordinal,
              "%" PRIx64 " %" PRIx64 ":%" PRIu64, feed.batch->position, feed.batch->tx_lsn,
              feed.batch->tx_ordinal);
}

void feed_assert_violation(const char *what)
{
    cr_assert_eq(take(), FAILED, "%s", what);
    cr_assert_eq(feed.err.code, CODE_PG_PROTOCOL, "%s", what);
    cr_assert_eq(feed.err.class, ERROR_RETRY, "%s", what);
}
