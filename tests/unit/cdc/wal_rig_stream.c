/* The log of the rig's server: what is written to it, and what a stream or a peek brings of it. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "cdc/pgoutput.h"
#include "cdc/wire.h"
#include "stub/copy.h"
#include "stub/pgoutput_build.h"
#include "wal_rig_server.h"

/* `place` of the change: WalSndPrepareWrite() sends it twice. */
static void stream_send(const Text *message, uint64_t place)
{
    Text copy = TEXT_EMPTY;
    text_add_char(&copy, 'w');
    copy_put_be(&copy, place, 8);
    copy_put_be(&copy, place, 8);
    copy_put_be(&copy, 0, 8);
    text_append(&copy, message->data, message->length);
    stub_stream_send(rig.walsender, copy.data, copy.length);
    text_free(&copy);
}

#define STREAM(build, ...)                                                                         \
    do {                                                                                           \
        AUTO_BUFFER built = TEXT_EMPTY;                                                            \
        build(&built, __VA_ARGS__);                                                                \
        stream_send(&built, rig.end_lsn);                                                          \
    } while (0)

static const BuildColumn COLUMNS[] = {{"seq", 20},          {"event_id", 25},
                                      {"event_type", 25},   {"aggregate_type", 25},
                                      {"aggregate_id", 25}, {"payload", 25}};

/* Each message of a transaction, in turn. */
static void each_message(const RigTransaction *transaction, uint32_t table,
                         void (*take)(void *arg, const Text *message), void *arg)
{
    AUTO_BUFFER built = TEXT_EMPTY;
    build_begin(&built, transaction->commit_lsn, 9);
    take(arg, &built);
    text_clear(&built);
    bool outbox = table == RIG_OUTBOX || table == RIG_NEXT; /* each had the name then */
    build_relation(&built, table, outbox ? "outbox" : "parts", outbox ? "event" : "event_1",
                   COLUMNS, 6);
    take(arg, &built);
    for (int64_t seq = transaction->first; seq <= transaction->last; seq++) {
        char text[24];
        snprintf(text, sizeof(text), "%" PRId64, seq);
        const Slice values[] = {slice_of(text),          SLICE_LITERAL("id"),
                                SLICE_LITERAL("placed"), SLICE_LITERAL("order"),
                                SLICE_LITERAL("42"),     SLICE_LITERAL("{}")};
        text_clear(&built);
        build_insert(&built, table, values, 6);
        take(arg, &built);
    }
    text_clear(&built);
    build_commit(&built, transaction->commit_lsn, transaction->commit_lsn + 8);
    take(arg, &built);
}

int64_t rig_get_be(const char *bytes, int length)
{
    uint64_t value = 0;
    for (int i = 0; i < length; i++) {
        value = value << 8 | (unsigned char)bytes[i];
    }
    return (int64_t)value;
}

/* A walsender tells of a relation once, and again when its catalog entries have changed. */
static bool tells_in_vain(const Text *message)
{
    if (message->data[0] != PGOUTPUT_RELATION) {
        return false;
    }
    uint32_t oid = (uint32_t)rig_get_be(message->data + 1, 4);
    for (size_t i = 0; i < rig.told_count; i++) {
        if (rig.told[i] == oid) {
            return true;
        }
    }
    cr_assert_lt(rig.told_count, RIG_RELATIONS);
    rig.told[rig.told_count++] = oid;
    return false;
}

static void take_to_stream(void *arg, const Text *message)
{
    const RigTransaction *transaction = arg;
    if (tells_in_vain(message)) {
        return;
    }
    stream_send(message, transaction->commit_lsn);
}

void rig_stream(const RigTransaction *transaction)
{
    RigTransaction copy = *transaction;
    each_message(transaction, rig_table_of(transaction->first), take_to_stream, &copy);
}

uint64_t rig_log_end(void)
{
    return rig.log_end > rig.end_lsn ? rig.log_end : rig.end_lsn;
}

void rig_commit_to(uint32_t leaf, int64_t first, int64_t last)
{
    RigTransaction transaction = {.commit_lsn = rig.end_lsn, .first = first, .last = last};
    rig.end_lsn += 0x100;
    for (int64_t seq = first; seq <= last; seq++) {
        rig.rows[seq].visible = true;
    }
    each_message(&transaction, leaf, take_to_stream, &transaction);
}

void rig_empty_transaction(uint64_t begin_lsn, uint64_t commit_lsn, uint64_t end_lsn)
{
    STREAM(build_begin, begin_lsn, 9);
    STREAM(build_commit, commit_lsn, end_lsn);
}

void rig_commit(int64_t first, int64_t last)
{
    cr_assert_lt(rig.log_count, RIG_TRANSACTIONS);
    RigTransaction *transaction = &rig.log[rig.log_count++];
    *transaction = (RigTransaction){.commit_lsn = rig.end_lsn, .first = first, .last = last};
    rig.end_lsn += 0x100;
    for (int64_t seq = first; seq <= last; seq++) {
        rig.rows[seq].visible = true;
    }
    if (rig.walsender != 0) {
        rig_stream(transaction);
    }
}

void rig_keepalive(uint64_t end, bool reply)
{
    Text copy = TEXT_EMPTY;
    text_add_char(&copy, 'k');
    copy_put_be(&copy, end, 8);
    copy_put_be(&copy, 0, 8);
    text_add_char(&copy, reply ? '\1' : '\0');
    stub_stream_send(rig.walsender, copy.data, copy.length);
    text_free(&copy);
}

/* Only what is committed, never backwards, never 0. */
void rig_receive(void *arg, int connection, const char *bytes, size_t length)
{
    (void)arg;
    cr_assert_eq(connection, rig.walsender);
    cr_assert_eq(length, WIRE_STATUS_BYTES);
    cr_assert_eq(bytes[0], 'r');
    uint64_t flushed = (uint64_t)rig_get_be(bytes + 9, 8);
    cr_assert_gt(flushed, 0);
    cr_assert_leq(flushed, rig.position.lsn, "the slot is told what is not committed");
    cr_assert_geq(flushed, rig.confirmed, "backwards");
    cr_assert_eq((uint64_t)rig_get_be(bytes + 17, 8), flushed, "applied");
    for (size_t i = 0; i < rig.log_count; i++) {
        const RigTransaction *t = &rig.log[i];
        for (int64_t seq = t->first; t->commit_lsn < flushed && seq <= t->last; seq++) {
            bool waits = rig.rows[seq].parked && rig.rows[seq].visible && rig.position.waiting;
            cr_assert(rig.rows[seq].acknowledged || waits, "row %" PRId64 " would be lost", seq);
        }
    }
    rig.confirmed = flushed;
    rig.statuses++;
}

void rig_serve_start(const StubQuery *query, StubReply *reply)
{
    rig.starts++;
    if (rig.slot_busy != NULL) {
        stub_reply_error(reply, rig.slot_busy, "replication slot \"outboxd_orders\" is active");
        return;
    }
    const char *at = strstr(query->sql, "LOGICAL ") + 8;
    AUTO_TEXT lsn = x_strdup(at);
    lsn[strcspn(lsn, " ")] = '\0';
    cr_assert(lsn_parse(lsn, &rig.started_at), "%s", query->sql);
    cr_assert(rig.has_slot);
    stub_reply_copy_both(reply);
    rig.walsender = query->connection;
    rig.told_count = 0;
    uint64_t from = rig.started_at > rig.confirmed ? rig.started_at : rig.confirmed;
    for (size_t i = 0; i < rig.log_count; i++) {
        if (rig.log[i].commit_lsn >= from) { /* SnapBuildXactNeedsSkip() */
            rig_stream(&rig.log[i]);
        }
    }
}

static void take_to_copy(void *arg, const Text *message)
{
    AUTO_BUFFER row = TEXT_EMPTY;
    copy_put_be(&row, 1, 2);
    copy_put_be(&row, message->length, 4);
    text_append(&row, message->data, message->length);
    stub_reply_copy_row(arg, row.data, row.length);
}

/* pg_logical_slot_peek_binary_changes() */
void rig_serve_peek(StubReply *reply)
{
    AUTO_BUFFER header = TEXT_EMPTY;
    text_add_slice(&header, COPY_HEADER);
    stub_reply_copy(reply);
    stub_reply_copy_row(reply, header.data, header.length);
    for (size_t i = 0; i < rig.log_count; i++) {
        if (rig.log[i].commit_lsn >= rig.confirmed) {
            each_message(&rig.log[i], rig_table_of(rig.log[i].first), take_to_copy, reply);
        }
    }
    stub_reply_copy_row(reply, "\377\377", 2);
}
