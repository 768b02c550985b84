#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "cdc/assemble.h"
#include "flow/refusal.h"
#include "stub/given.h"
#include "stub/given_schema.h"
#include "stub/pgoutput_build.h"
#include "stub/random.h"

enum { OUTBOX = 16400, OTHER_TABLE = 16500 };

static PipelineConfig pipeline;
static OutboxTable table;
static Tree tree;
static Relations relations;
static KnownEvents known;
static Assembler assembler;
static Batch *batch; /* the last that was finished */
static Text bytes;
static Error err;
static char *header_columns[] = {GIVEN("tenant")};

static void begin(void)
{
    log_configure(LOG_FORMAT_LOGFMT, LOG_ERROR);
    pipeline = given_pipeline();
    pipeline.capture = CAPTURE_WAL;
    pipeline.wal.messages = true;
    pipeline.outbox.header_columns.items = header_columns;
    pipeline.outbox.header_columns.count = 1;
    table = (OutboxTable){.config = &pipeline, .schema = given_schema_of(&pipeline)};
    relations = (Relations){.table = &table,
                            .table_oid = OUTBOX,
                            .tree = &tree,
                            .schema = x_strdup("outbox"),
                            .name = x_strdup("event")};
    assembler = (Assembler){.pipeline = &pipeline, .relations = &relations, .known = &known};
    assembler_restart(&assembler, 0x1000, 1);
}

static void end(void)
{
    batch_free(&batch);
    assembler_release(&assembler);
    relations_release(&relations);
    tree_release(&tree);
    known_events_release(&known);
    text_free(&bytes);
}

TestSuite(assemble, .init = begin, .fini = end);

/* The server. */

/* Takes the message in `bytes` and spoils it. */
static Status take(void)
{
    error_clear(&err);
    Status status =
        assembler_take(&assembler, (Slice){.data = bytes.data, .length = bytes.length}, &err);
    memset(bytes.data, '#', bytes.length);
    text_clear(&bytes);
    return status;
}

static void send(void)
{
    cr_assert_eq(take(), OK, "%s", error_message(&err));
}

static const BuildColumn COLUMNS[] = {
    {"seq", 20},          {"event_id", 25}, {"event_type", 25}, {"aggregate_type", 25},
    {"aggregate_id", 25}, {"payload", 25},  {"tenant", 25}};
enum { LOG_COLUMN_COUNT = sizeof(COLUMNS) / sizeof(COLUMNS[0]) };

static void send_relations(void)
{
    build_relation(&bytes, OUTBOX, "outbox", "event", COLUMNS, LOG_COLUMN_COUNT);
    send();
    build_relation(&bytes, OTHER_TABLE, "public", "invoice", COLUMNS, 1);
    send();
}

static void send_begin(uint64_t commit_lsn)
{
    build_begin(&bytes, commit_lsn, (uint32_t)(commit_lsn & 0xFFF));
    send();
}

static void send_commit(uint64_t commit_lsn)
{
    build_commit(&bytes, commit_lsn, commit_lsn + 8);
    send();
}

static void build_event(uint32_t oid, int64_t seq)
{
    char text[24];
    snprintf(text, sizeof(text), "%" PRId64, seq);
    const Slice values[LOG_COLUMN_COUNT] = {
        slice_of(text),      SLICE_LITERAL("id"), SLICE_LITERAL("placed"), SLICE_LITERAL("order"),
        SLICE_LITERAL("42"), SLICE_LITERAL("{}"), SLICE_LITERAL("acme")};
    build_insert(&bytes, oid, values, oid == OUTBOX ? LOG_COLUMN_COUNT : 1);
}

static void send_row(int64_t seq)
{
    build_event(OUTBOX, seq);
    send();
}

static void send_message(const char *prefix, bool transactional, const char *event_id)
{
    AUTO_BUFFER content = TEXT_EMPTY;
    build_event_content(&content, event_id);
    build_message(&bytes, transactional, prefix,
                  (Slice){.data = content.data, .length = content.length});
    send();
}

/* "2000:1=7 2000:2=-": commit LSN, number and seq of each event, with "!" when it is settled. */
static void assert_batch(const char *expected)
{
    batch_free(&batch);
    batch = assembler_finish(&assembler);
    AUTO_BUFFER text = TEXT_EMPTY;
    for (size_t i = 0; batch != NULL && i < batch->count; i++) {
        const Event *event = batch->events[i];
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

static void assert_position(uint64_t position, uint64_t tx_lsn, uint64_t tx_ordinal)
{
    cr_assert(
        batch->position == position && batch->tx_lsn == tx_lsn && batch->tx_ordinal == tx_ordinal,
        "%" PRIx64 " %" PRIx64 ":%" PRIu64, batch->position, batch->tx_lsn, batch->tx_ordinal);
}

Test(assemble, small_transactions_share_a_batch)
{
    send_relations();
    assert_batch("");
    send_begin(0x2000);
    send_row(7);
    send_row(8);
    send_commit(0x2000);
    send_begin(0x3000);
    send_row(5);
    send_commit(0x3000);
    assert_batch("2000:1=7 2000:2=8 3000:1=5");
    assert_position(0x3008, 0, 0);
    cr_assert_eq(batch->unsettled, 3);
    cr_assert_eq(batch->events[2]->xid, 0x3000 & 0xFFF);
    cr_assert(slice_equal(batch->events[2]->row[FIELD_COUNT], SLICE_LITERAL("acme")));
    assert_batch("");
}

Test(assemble, transactions_without_events_move_the_place_of_the_next_batch)
{
    send_relations();
    send_begin(0x2000);
    send_commit(0x2000);
    cr_assert_eq(assembler.complete_lsn, 0x2008);
    assert_batch("");
    send_begin(0x3000);
    build_event(OTHER_TABLE, 1);
    send();
    send_row(5);
    assert_batch("3000:1=5");
    assert_position(0x2008, 0x3000, 1);
}

Test(assemble, a_big_transaction_is_spread_over_batches)
{
    send_relations();
    send_begin(0x2000);
    send_row(1);
    send_commit(0x2000);
    send_begin(0x3000);
    send_row(2);
    send_row(3);
    assert_batch("2000:1=1 3000:1=2 3000:2=3");
    assert_position(0x2008, 0x3000, 2);
    send_row(4);
    assert_batch("3000:3=4");
    assert_position(0x2008, 0x3000, 3);
    send_row(5);
    send_commit(0x3000);
    assert_batch("3000:4=5");
    assert_position(0x3008, 0, 0);
}

Test(assemble, what_was_done_inside_of_a_transaction_is_not_made_again)
{
    assembler.done_lsn = 0x3000;
    assembler.done_ordinal = 2;
    send_relations();
    send_begin(0x2000); /* before it: done, too */
    send_row(1);
    send_commit(0x2000);
    send_begin(0x3000);
    send_row(2);
    send_message(MESSAGE_PREFIX, true, "second");
    send_row(4);
    send_commit(0x3000);
    send_begin(0x4000);
    send_row(5);
    send_commit(0x4000);
    assert_batch("3000:3=4 4000:1=5");
    assert_position(0x4008, 0, 0);
}

Test(assemble, events_that_are_known_are_settled)
{
    known_events_add(&known, 0x2000, 2);
    known_events_add(&known, 0x3000, 1);
    send_relations();
    send_begin(0x2000);
    send_row(1);
    send_row(2);
    send_row(3);
    send_commit(0x2000);
    send_begin(0x3000);
    send_message(MESSAGE_PREFIX, true, "known");
    send_commit(0x3000);
    assert_batch("2000:1=1 2000:2=2! 2000:3=3 3000:1=-!");
    cr_assert_eq(batch->unsettled, 2);
    cr_assert_eq(batch->events[1]->state, EVENT_PUBLISHED);
}

/* The envelope, and published_at where the tenant stands. */
static void send_published_row(int64_t seq, Slice published_at)
{
    char text[24];
    snprintf(text, sizeof(text), "%" PRId64, seq);
    const Slice values[LOG_COLUMN_COUNT] = {slice_of(text),
                                            SLICE_LITERAL("id"),
                                            SLICE_LITERAL("placed"),
                                            SLICE_LITERAL("order"),
                                            SLICE_LITERAL("42"),
                                            SLICE_LITERAL("{}"),
                                            published_at};
    build_insert(&bytes, OUTBOX, values, LOG_COLUMN_COUNT);
    send();
}

Test(assemble, rows_inserted_as_published_are_left_out_and_counted)
{
    BuildColumn columns[LOG_COLUMN_COUNT];
    memcpy(columns, COLUMNS, sizeof(columns));
    columns[LOG_COLUMN_COUNT - 1] = (BuildColumn){"published_at", 1184};
    build_relation(&bytes, OUTBOX, "outbox", "event", columns, LOG_COLUMN_COUNT);
    send();
    send_begin(0x2000);
    send_published_row(1, SLICE_LITERAL("2026-01-01 00:00:00+00"));
    send_commit(0x2000);
    assert_batch("");
    send_begin(0x3000);
    send_published_row(2, SLICE_LITERAL("2026-01-01 00:00:00+00"));
    send_published_row(3, BUILD_NULL);
    send_published_row(1, SLICE_LITERAL("infinity"));
    assert_batch("3000:2=3");
    assert_position(0x2008, 0x3000, 3);
    cr_assert_eq(batch->unsettled, 1);
}

Test(assemble, messages_and_rows_are_numbered_together)
{
    send_relations();
    send_begin(0x2000);
    send_row(1);
    send_message(MESSAGE_PREFIX, true, "m-1");
    send_row(2);
    send_commit(0x2000);
    assert_batch("2000:1=1 2000:2=- 2000:3=2");
    const Event *event = batch->events[1];
    cr_assert_null(event->refusal);
    cr_assert(slice_equal(event->row[FIELD_EVENT_ID], SLICE_LITERAL("m-1")));
    cr_assert(slice_is_null(event->row[FIELD_PAYLOAD]));
    cr_assert(slice_is_null(event->row[FIELD_COUNT]));
}

Test(assemble, messages_of_others_are_nothing)
{
    send_begin(0x2000);
    send_message("outboxd.event2", true, "a");
    send_message("outboxd.even", true, "a");
    send_message("", true, "a");
    send_message("OUTBOXD.EVENT", true, "a");
    send_message(MESSAGE_PREFIX, true, "ours");
    send_commit(0x2000);
    assert_batch("2000:1=-");
}

Test(assemble, messages_outside_of_a_transaction_are_ignored)
{
    send_message(MESSAGE_PREFIX, false, "a");
    send_begin(0x2000);
    send_message(MESSAGE_PREFIX, false, "a");
    send_message(MESSAGE_PREFIX, true, "b");
    send_commit(0x2000);
    send_message(MESSAGE_PREFIX, false, "a");
    assert_batch("2000:1=-");
    cr_assert(slice_equal(batch->events[0]->row[FIELD_EVENT_ID], SLICE_LITERAL("b")));
}

Test(assemble, messages_that_are_not_wanted_are_nothing)
{
    pipeline.wal.messages = false;
    send_relations();
    send_begin(0x2000);
    send_message(MESSAGE_PREFIX, true, "a");
    send_row(1);
    assert_batch("2000:1=1");
}

/* Anybody may write one: it is set aside with its bytes, and the stream goes on. */
Test(assemble, a_message_that_cannot_be_read_is_an_event_of_its_bytes)
{
    AUTO_BUFFER content = TEXT_EMPTY;
    build_event_content(&content, "id");
    send_begin(0x2000);
    for (size_t cut = 0; cut < content.length; cut++) {
        build_message(&bytes, true, MESSAGE_PREFIX, (Slice){.data = content.data, .length = cut});
        send();
    }
    size_t cuts = content.length;
    text_add_char(&content, '\0'); /* too long */
    Slice longer = {.data = content.data, .length = content.length};
    build_message(&bytes, true, MESSAGE_PREFIX, longer);
    send();
    send_message(MESSAGE_PREFIX, true, ""); /* without an id */
    send_message(MESSAGE_PREFIX, true, "\xff");
    send_message(MESSAGE_PREFIX, true, "good");
    send_commit(0x2000);
    batch = assembler_finish(&assembler);
    cr_assert_eq(batch->count, cuts + 4);
    AUTO_BUFFER good = TEXT_EMPTY;
    build_event_content(&good, "good");
    size_t held = good.length + event_bytes(batch->events[0]);
    for (size_t i = 0; i + 1 < batch->count; i++) {
        held += batch->events[i]->row[FIELD_PAYLOAD_BYTES].length + event_bytes(batch->events[0]);
    }
    cr_assert_eq(batch->bytes, held, "%zu, not %zu", batch->bytes, held);
    for (size_t i = 0; i < batch->count; i++) {
        const Event *event = batch->events[i];
        cr_assert_eq(event->refusal != NULL && event->refusal->foreign, i + 1 < batch->count, "%zu",
                     i);
        cr_assert_eq(event->ordinal, i + 1);
        cr_assert_eq(event->commit_lsn, 0x2000);
        cr_assert_eq(event->seq, EVENT_NO_SEQ);
        if (i <= cuts) {
            Slice sent = {.data = content.data, .length = i < cuts ? i : content.length};
            cr_assert(slice_equal(event->row[FIELD_PAYLOAD_BYTES], sent), "%zu", i);
            cr_assert(slice_is_null(event->row[FIELD_EVENT_ID]), "%zu", i);
        }
    }
}

static void assert_violation(const char *what)
{
    cr_assert_eq(take(), FAILED, "%s", what);
    cr_assert_eq(err.code, CODE_PG_PROTOCOL, "%s", what);
    cr_assert_eq(err.class, ERROR_RETRY, "%s", what);
}

Test(assemble, what_cannot_be_outside_of_a_transaction_breaks_the_stream)
{
    AUTO_BUFFER content = TEXT_EMPTY;
    build_event_content(&content, "id");
    send_relations();
    build_event(OUTBOX, 1);
    assert_violation("insert");
    build_commit(&bytes, 0x2000, 0x2008);
    assert_violation("commit");
    build_message(&bytes, true, MESSAGE_PREFIX,
                  (Slice){.data = content.data, .length = content.length});
    assert_violation("message");
    assert_batch("");
}

Test(assemble, what_cannot_be_inside_of_a_transaction_breaks_the_stream)
{
    send_begin(0x2000);
    build_begin(&bytes, 0x3000, 9);
    assert_violation("begin");
    build_event(OUTBOX, 1);
    assert_violation("insert of an unknown relation");
    text_append(&bytes, "I\0\0", 3);
    assert_violation("truncated");
    text_add(&bytes, "?");
    assert_violation("unknown");
}

Test(assemble, what_was_not_asked_for_breaks_the_stream)
{
    assembler_restart(&assembler, 0x1000, 4);
    text_append(&bytes, "S\0\0\0\7\1", 6);
    assert_violation("stream start");
    assembler_restart(&assembler, 0x1000, 4);
    text_add_char(&bytes, 'b');
    copy_put_be(&bytes, 0x2000, 8);
    copy_put_be(&bytes, 0x2008, 8);
    copy_put_be(&bytes, 0, 8);
    copy_put_be(&bytes, 7, 4);
    build_string(&bytes, "gid");
    assert_violation("begin prepare");
}

Test(assemble, changes_that_are_no_inserts_are_passed)
{
    send_relations();
    send_begin(0x2000);
    send_row(1);
    text_append(&bytes, "D\0\0\100\20K\0\1t\0\0\0\1x", 14); /* OUTBOX */
    send();
    text_append(&bytes, "U\0\0\100\20N\0\1t\0\0\0\1x", 14);
    send();
    text_append(&bytes, "T\0\0\0\1\0\0\0\100\20", 10);
    send();
    text_append(&bytes, "O\0\0\0\0\0\0\0\1here\0", 14);
    send();
    send_row(2);
    send_commit(0x2000);
    assert_batch("2000:1=1 2000:2=2");
}

Test(assemble, a_restart_forgets_what_was_under_way)
{
    send_relations();
    send_begin(0x2000);
    send_row(1);
    assembler_restart(&assembler, 0x1500, 1);
    assert_batch("");
    send_begin(0x2000);
    build_event(OUTBOX, 1);
    assert_violation("the relation was of the stream before");
    assembler_restart(&assembler, 0x1500, 1);
    send_relations();
    send_begin(0x2000);
    send_row(1);
    assert_batch("2000:1=1");
    assert_position(0x1500, 0x2000, 1);
}

Test(assemble, a_commit_that_goes_back_is_a_violation)
{
    send_relations();
    send_begin(0x3000);
    send_commit(0x3000);
    build_begin(&bytes, 0x2000, 9);
    assert_violation("it committed before the last one");
    assembler_restart(&assembler, 0x1000, 1);
    build_begin(&bytes, 0xFFF, 9);
    assert_violation("it committed before the place that was asked for");
}

Test(assemble, a_commit_that_its_begin_did_not_announce_is_a_violation)
{
    send_begin(0x3000);
    build_commit(&bytes, 0x3001, 0x3008);
    assert_violation("another place than the begin told");
    assembler_restart(&assembler, 0x1000, 1);
    send_begin(0x3000);
    build_commit(&bytes, 0x3000, 0x3000);
    assert_violation("it ends where it begins");
    cr_assert_eq(assembler.complete_lsn, 0x1000);
}

/* A log that is read over and over, from wherever the acknowledged position is. */

enum { LOG_TRANSACTIONS = 12, LOG_EVENTS = 15, ROUNDS = 8, IN_FLIGHT = 200 };

typedef struct LogEvent {
    bool message;
    size_t acknowledged; /* by a position, or out of order */
    bool noise_before;   /* a row of another table */
} LogEvent;

static struct {
    uint64_t seed;
    Random random;
    LogEvent events[LOG_TRANSACTIONS][LOG_EVENTS];
    size_t counts[LOG_TRANSACTIONS];
    Batch *batches[IN_FLIGHT];
    size_t batch_count;
    KnownEvents again;
    uint64_t lsn; /* acknowledged */
    uint64_t tx_lsn;
    uint64_t tx_ordinal;
} model;

static uint64_t log_lsn(size_t transaction)
{
    return 0x10000 * (transaction + 1);
}

static int64_t log_seq(size_t transaction, size_t event)
{
    return (int64_t)(transaction * LOG_EVENTS + event);
}

static void log_make(uint64_t seed)
{
    memset(&model, 0, sizeof(model));
    model.seed = seed;
    model.random = random_new(seed);
    for (size_t i = 0; i < LOG_TRANSACTIONS; i++) {
        model.counts[i] =
            random_below(&model.random, random_chance(&model.random, 30) ? LOG_EVENTS + 1 : 3);
        for (size_t j = 0; j < model.counts[i]; j++) {
            LogEvent *event = &model.events[i][j];
            event->message = random_chance(&model.random, 30);
            event->noise_before = random_chance(&model.random, 20);
        }
    }
}

static void model_finish_batch(void)
{
    Batch *finished = assembler_finish(&assembler);
    if (finished != NULL) {
        cr_assert_lt(model.batch_count, IN_FLIGHT);
        model.batches[model.batch_count++] = finished;
    }
}

/* Reads the log up to a random place. */
static void model_read(void)
{
    size_t left = random_below(&model.random, LOG_TRANSACTIONS * LOG_EVENTS / 2);
    size_t cut = 1 + random_below(&model.random, 30);
    for (size_t i = 0; i < LOG_TRANSACTIONS && left > 0; i++) {
        if (log_lsn(i) < model.lsn) { /* as the server: SnapBuildXactNeedsSkip() */
            continue;
        }
        send_begin(log_lsn(i));
        size_t j = 0;
        for (; j < model.counts[i] && left > 0; j++, left--) {
            if (model.events[i][j].noise_before) {
                build_event(OTHER_TABLE, 1);
                send();
            }
            if (model.events[i][j].message) {
                send_message(MESSAGE_PREFIX, true, "m");
            } else {
                send_row(log_seq(i, j));
            }
            if (random_chance(&model.random, cut)) {
                model_finish_batch();
            }
        }
        if (j == model.counts[i]) {
            send_commit(log_lsn(i));
        } else {
            break;
        }
    }
    model_finish_batch();
}

static LogEvent *model_event(const Event *event)
{
    return &model.events[event->commit_lsn / 0x10000 - 1][event->ordinal - 1];
}

/* Acknowledges some batches whole, and some events of the others. */
static void model_acknowledge(void)
{
    size_t whole = random_below(&model.random, model.batch_count + 1);
    for (size_t i = 0; i < model.batch_count; i++) {
        Batch *b = model.batches[i];
        for (size_t j = 0; j < b->count; j++) {
            Event *event = b->events[j];
            LogEvent *logged = model_event(event);
            cr_assert_eq(event_is_settled(event), logged->acknowledged > 0,
                         "seed %" PRIu64 ": %" PRIx64 ":%" PRIu64, model.seed, event->commit_lsn,
                         event->ordinal);
            cr_assert_eq(event->seq == EVENT_NO_SEQ, logged->message);
            logged->acknowledged += i < whole || random_chance(&model.random, 20);
            if (i >= whole && logged->acknowledged > 0) {
                known_events_add(&model.again, event->commit_lsn, event->ordinal);
            }
        }
        if (i < whole) {
            cr_assert_geq(b->position, model.lsn, "seed %" PRIu64 ": backwards", model.seed);
            model.lsn = b->position;
            model.tx_lsn = b->tx_lsn;
            model.tx_ordinal = b->tx_ordinal;
        }
        batch_free(&model.batches[i]);
    }
    model.batch_count = 0;
}

/* Everything before the position is acknowledged: nothing would come again. */
static void model_check_position(void)
{
    for (size_t i = 0; i < LOG_TRANSACTIONS; i++) {
        for (size_t j = 0; j < model.counts[i]; j++) {
            bool done = log_lsn(i) < model.lsn || log_lsn(i) < model.tx_lsn ||
                        (log_lsn(i) == model.tx_lsn && j + 1 <= model.tx_ordinal);
            cr_assert(!done || model.events[i][j].acknowledged > 0,
                      "seed %" PRIu64 ": %zu:%zu is before the position, and was lost", model.seed,
                      i, j);
        }
    }
}

Test(assemble, every_event_comes_once_over_many_restarts)
{
    uint64_t first = 1;
    uint64_t count = 300;
    random_seeds(&first, &count);
    size_t whole_logs = 0;
    for (uint64_t seed = first; seed < first + count; seed++) {
        log_make(seed);
        for (int round = 0; round < ROUNDS; round++) {
            known_events_restart(&known, &model.again);
            assembler.done_lsn = model.tx_lsn;
            assembler.done_ordinal = model.tx_ordinal;
            assembler_restart(&assembler, model.lsn, 1);
            send_relations();
            model_read();
            model_acknowledge();
            model_check_position();
        }
        whole_logs += model.lsn > log_lsn(LOG_TRANSACTIONS - 1);
        known_events_release(&known);
        known_events_release(&model.again);
    }
    cr_assert(whole_logs > 0 || count == 1, "no log was ever read to its end");
}
