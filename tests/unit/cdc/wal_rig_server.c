/* The server of the rig: what it answers, and what it streams. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cdc/pgoutput.h"
#include "cdc/wire.h"
#include "rows/mark_sql.h"
#include "stub/copy.h"
#include "stub/pgoutput_build.h"
#include "wal_rig.h"

static const char SYSTEM[] = "7000000000000000001";

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static void trace(const char *word)
{
    text_printf(&rig.trace, "%s%s", rig.trace.length > 0 ? " " : "", word);
}

/* Tables. */

static uint32_t table_of(int64_t seq)
{
    return rig.swap_from != 0 && seq >= rig.swap_from ? RIG_NEXT : RIG_OUTBOX;
}

static const char *configured_table(void)
{
    return rig.swap_from != 0 ? "4243" : "4242";
}

void rig_swap(int64_t from)
{
    rig.swap_from = from;
    rig.publication = "publication 1 with 2, of 4243";
}

/* The stream. */

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

static int64_t get_be(const char *bytes, int length)
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
    uint32_t oid = (uint32_t)get_be(message->data + 1, 4);
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
    each_message(transaction, table_of(transaction->first), take_to_stream, &copy);
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
    uint64_t flushed = (uint64_t)get_be(bytes + 9, 8);
    cr_assert_gt(flushed, 0);
    cr_assert_leq(flushed, rig.position.lsn, "the slot is told what is not committed");
    cr_assert_geq(flushed, rig.confirmed, "backwards");
    cr_assert_eq((uint64_t)get_be(bytes + 17, 8), flushed, "applied");
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

static void serve_start(const StubQuery *query, StubReply *reply)
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

/* The control connection. */

/* The preconditions; what is not in the answer is not judged. */
static void serve_list(StubReply *reply)
{
    rig.looks++;
    stub_reply_row(reply, "i", "0", "role", "relay", "version", "150000", "table_oid",
                   configured_table(), "kind", "r", "table_name", "event", "table_schema", "outbox",
                   "dead_letter", "outbox.dead_letter", "position", "outbox.position", "positions",
                   rig.may_not_save ? "f" : "t", "filtered", rig.broken ? "t" : "f", "identity",
                   rig.has_publication ? rig.publication : STUB_NULL, "pending",
                   rig.pending ? "t" : "f", NULL);
}

static void serve_look(StubReply *reply)
{
    char end[24];
    stub_reply_row(reply, "wal_end", lsn_format(rig_log_end(), end), NULL);
    serve_list(reply);
}

static void serve_table(const StubQuery *query, StubReply *reply)
{
    char pid[16];
    snprintf(pid, sizeof(pid), "%d", 1000 + query->connection);
    stub_reply_command(reply, 0); /* of a SET */
    stub_reply_row(reply, "backend_pid", pid, NULL);
    serve_list(reply);
}

static void serve_tree(StubReply *reply)
{
    char end[24];
    stub_reply_row(reply, "members", rig.members != NULL ? rig.members : STUB_NULL, "divided",
                   rig.members != NULL ? "t" : "f", "generated", STUB_NULL, "insert_lsn",
                   lsn_format(rig_log_end(), end), "stranger", rig.stranger ? "t" : "f", NULL);
}

static void serve_history(StubReply *reply)
{
    char log_end[24];
    char wal_timeline[16];
    char writes[24];
    lsn_format(rig_log_end(), log_end);
    snprintf(wal_timeline, sizeof(wal_timeline), "%08X", (unsigned)rig.timeline);
    snprintf(writes, sizeof(writes), "%" PRIu64, rig.position.writes);
    bool row = rig.position.lsn != 0;
    stub_reply_row(reply, "system_id", SYSTEM, "timeline", wal_timeline, "insert_lsn", log_end,
                   "flush_lsn", log_end, "generation",
                   row && *rig.position.generation != '\0' ? rig.position.generation : STUB_NULL,
                   "writes", row ? writes : STUB_NULL, NULL);
}

static void serve_facts(StubReply *reply)
{
    char lsn[24];
    char tx[24];
    char confirmed[24];
    char ordinal[24];
    char end[24];
    snprintf(end, sizeof(end), "%" PRId64, rig.position.end);
    snprintf(ordinal, sizeof(ordinal), "%" PRIu64, rig.position.tx_ordinal);
    lsn_format(rig.position.lsn, lsn);
    lsn_format(rig.position.tx_lsn, tx);
    lsn_format(rig.confirmed, confirmed);
    const char *system = rig.position_system != NULL ? rig.position_system : SYSTEM;
    char filled[24];
    char log_end[24];
    char position_timeline[16];
    char wal_timeline[16];
    snprintf(filled, sizeof(filled), "%" PRId64, rig.position.filled);
    char table_id[16];
    snprintf(table_id, sizeof(table_id), "%u", rig.position.table_id);
    snprintf(position_timeline, sizeof(position_timeline), "%d",
             rig.position.timeline != 0 ? rig.position.timeline : 1);
    snprintf(wal_timeline, sizeof(wal_timeline), "%08X", (unsigned)rig.timeline);
    lsn_format(rig_log_end(), log_end);
    stub_reply_command(reply, 0); /* DEALLOCATE */
    serve_look(reply);
    serve_history(reply);
    serve_tree(reply);
    bool row = rig.position.lsn != 0;
#define IF(condition, value) (condition) ? (value) : STUB_NULL
    stub_reply_row(
        reply, "version", "150000", "system_id", IF(row, system), "timeline",
        IF(row, position_timeline), "slot", IF(row, "outboxd_orders"), "lsn", IF(row, lsn),
        "backfill", IF(row, rig.position.backfill ? "t" : "f"), "waiting",
        IF(row, rig.position.waiting ? "t" : "f"), "backfill_end",
        IF(rig.position.end != SLOT_NO_END, end), "tx_lsn", IF(rig.position.tx_lsn != 0, tx),
        "tx_ordinal", IF(rig.position.tx_ordinal != 0, ordinal), "tx_messages", IF(row, "f"),
        "backfill_seq", IF(rig.position.filled != 0, filled), "insert_lsn", log_end, "wal_timeline",
        wal_timeline, "slot_name", IF(rig.has_slot, "outboxd_orders"), "confirmed_flush_lsn",
        IF(rig.has_slot, confirmed), "wal_status", IF(rig.has_slot, rig.wal_status), "active_pid",
        STUB_NULL, "pubname", IF(rig.has_publication, "outboxd_orders"), "publication",
        IF(row && *rig.position.publication != '\0', rig.position.publication), "table_id",
        IF(row && rig.position.table_id != 0, table_id), NULL);
#undef IF
}

static void serve_mark(const StubQuery *query, StubReply *reply)
{
    cr_assert_eq(query->param_count, MARK_PARAMS_WAL);
    const char *array = query->values[0];
    int64_t count = get_be(array + 12, 4);
    rig.marks++;
    if (rig.hang_marks) {
        stub_reply_hang(reply);
    }
    if (count > 0 && rig.swap_from != 0 && rig.marked_table == RIG_OUTBOX && !rig.marked_old_name) {
        stub_reply_no_row(reply); /* another table has the name */
        return;
    }
    bool missing = false;
    for (int64_t i = 0; i < count; i++) {
        int64_t seq = get_be(array + 20 + 12 * i + 4, 8);
        cr_assert(seq >= 0 && seq < RIG_ROWS);
        cr_assert(rig.rows[seq].acknowledged, "row %" PRId64 " was never acknowledged", seq);
        cr_assert(rig.marked_table == table_of(seq) || rig.swap_dropped,
                  "row %" PRId64 " is marked in table %u", seq, rig.marked_table);
        rig.rows[seq].marked |= rig.rows[seq].visible;
        if (!rig.rows[seq].visible) {
            char text[24];
            snprintf(text, sizeof(text), "%" PRId64, seq);
            (missing ? stub_reply_more : stub_reply_row)(reply, "ctid", "(0,1)", "moved", "f",
                                                         "seq", text, "snapshot", rig.snapshot,
                                                         "replaced", "f", NULL);
            missing = true;
        }
    }
    if (missing) {
        rig.position.writes++;
        return;
    }
    uint64_t lsn = 0;
    const char *const *values = query->values;
    bool fits = values[MARK_PARAM_LSN] == NULL || !lsn_parse(values[MARK_PARAM_LSN], &lsn) ||
                lsn <= rig_log_end();
    rig.position.writes++;
    stub_reply_row(reply, "ctid", "(0,1)", "moved", fits ? "t" : "f", "seq", STUB_NULL, "snapshot",
                   rig.snapshot, "replaced", "f", NULL);
    if (!fits) {
        return;
    }
    if (values[MARK_PARAM_LSN] != NULL && lsn_parse(values[MARK_PARAM_LSN], &lsn)) {
        rig.position.lsn = lsn > rig.position.lsn ? lsn : rig.position.lsn;
    }
    rig.position.tx_lsn = 0;
    if (values[MARK_PARAM_TX_LSN] != NULL) {
        cr_assert(lsn_parse(values[MARK_PARAM_TX_LSN], &rig.position.tx_lsn));
    }
    if (values[MARK_PARAM_BACKFILL_SEQ] != NULL) {
        rig.position.filled = strtoll(values[MARK_PARAM_BACKFILL_SEQ], NULL, 10);
    }
    const char *ordinal = values[MARK_PARAM_TX_ORDINAL];
    rig.position.tx_ordinal = ordinal != NULL ? strtoull(ordinal, NULL, 10) : 0;
}

/* The rows of parked events that are there. */
static void serve_sight(const char *sql, StubReply *reply)
{
    rig.sights++;
    bool first = true;
    for (const char *at = strstr(sql, "ANY ('{") + 7; *at != '}'; at += *at == ',') {
        char *end = NULL;
        int64_t seq = strtoll(at, &end, 10);
        at = end;
        cr_assert(seq > 0 && seq < RIG_ROWS);
        if (!rig.rows[seq].visible || rig.rows[seq].marked) {
            continue;
        }
        char text[24];
        snprintf(text, sizeof(text), "%" PRId64, seq);
        (first ? stub_reply_row : stub_reply_more)(reply, "snapshot", rig.snapshot, "same",
                                                   rig.renamed ? "f" : "t", "seq", text, "id", "id",
                                                   NULL);
        first = false;
    }
    if (first) {
        stub_reply_row(reply, "snapshot", rig.snapshot, "same", rig.renamed ? "f" : "t", "seq",
                       STUB_NULL, "id", STUB_NULL, NULL);
    }
}

static void rig_take_generation(const char *text)
{
    snprintf(rig.position.generation, sizeof(rig.position.generation), "%.36s", text);
    rig.position.writes++;
}

static void serve_save(const char *sql, StubReply *reply)
{
    char text[64];
    char lsn[24];
    if (rig.hang_saves) {
        stub_reply_hang(reply);
    }
    if (rig.save_fails) {
        stub_reply_error(reply, "57014", "canceling statement");
        return;
    }
    char expected[80];
    snprintf(expected, sizeof(expected), "'orders', '7000000000000000001', %d, 'outboxd_orders', '",
             rig.timeline);
    cr_assert_not_null(strstr(sql, expected), "%s", sql);
    cr_assert_not_null(strstr(sql, "::pg_lsn <= pg_current_wal_insert_lsn()"), "%s", sql);
    const char *at = strstr(sql, "'outboxd_orders', '") + strlen("'outboxd_orders', '");
    snprintf(lsn, sizeof(lsn), "%.*s", (int)strcspn(at, "'"), at);
    uint64_t wanted = 0;
    cr_assert(lsn_parse(lsn, &wanted));
    if (wanted > rig_log_end()) {
        stub_reply_command(reply, 0);
        return;
    }
    rig.position.lsn = wanted;
    rig.position.timeline = rig.timeline;
    rig.position.filled = 0;
    rig.position.tx_lsn = rig.position.tx_ordinal = 0;
    const char *table = strstr(sql, ", 4242, ");
    table = table != NULL ? table : strstr(sql, ", 4243, ");
    rig.position.table_id = (uint32_t)strtoul(table + 2, NULL, 10);
    const char *transaction = table + strlen(", 4242, ");
    if (*transaction == '\'') {
        snprintf(lsn, sizeof(lsn), "%.*s", (int)strcspn(transaction + 1, "'"), transaction + 1);
        cr_assert(lsn_parse(lsn, &rig.position.tx_lsn));
        rig.position.tx_ordinal = strtoull(strchr(transaction, ',') + 1, NULL, 10);
    }
    rig.position.backfill = begins(strchr(at, '\'') + 1, ", true");
    rig.position.end = SLOT_NO_END;
    rig.position_system = NULL;
    rig.position.waiting = strstr(sql, ", true, '") != NULL;
    /* ..., 'publication', 'generation', 1 WHERE ... */
    const char *last = strstr(sql, ", 1 WHERE ");
    cr_assert_not_null(last, "%s", sql);
    rig_take_generation(last - 37);
    const char *publication = last - 42;
    while (*publication != '\'') {
        publication--;
    }
    snprintf(rig.position.publication, sizeof(rig.position.publication), "%.*s",
             (int)strcspn(publication + 1, "'"), publication + 1);
    snprintf(text, sizeof(text), "position(%s)", rig.position.backfill ? "filling" : "complete");
    trace(text);
    stub_reply_row(reply, "ctid", "(0,1)", NULL);
}

/* UPDATE outbox.position AS p SET generation|backfill_end|publication = ... */
static void serve_note(const char *sql, StubReply *reply)
{
    const char *column = strstr(sql, " SET ") + 5;
    const char *value = strchr(column, '=') + 2;
    if (rig.hang_notes) {
        stub_reply_hang(reply);
    }
    if (rig.save_fails) {
        stub_reply_error(reply, "57014", "canceling statement");
        return;
    }
    if (begins(column, "generation = '")) {
        char expected[80];
        snprintf(expected, sizeof(expected), "p.writes = %" PRIu64 " AND", rig.position.writes);
        cr_assert_not_null(strstr(sql, expected), "%s", sql);
        rig_take_generation(value + 1);
    } else {
        cr_assert_not_null(strstr(sql, rig.position.generation), "%s", sql);
        rig.position.writes++;
    }
    if (begins(column, "waiting = ")) {
        trace("waiting");
        rig.position.waiting = begins(value, "true");
    } else if (begins(column, "table_id = ")) {
        trace("table");
        rig.position.table_id = (uint32_t)strtoul(value, NULL, 10);
    } else if (begins(column, "backfill_end = ")) {
        rig.position.end = begins(value, "NULL") ? SLOT_NO_END : strtoll(value, NULL, 10);
    } else if (begins(column, "publication = ")) {
        snprintf(rig.position.publication, sizeof(rig.position.publication), "%.*s",
                 (int)strcspn(value + 1, "'"), value + 1);
    }
    stub_reply_row(reply, "ctid", "(0,1)", NULL);
}

static void serve_ping(StubReply *reply)
{
    char end[24];
    rig.pings++;
    if (rig.hang_pings) {
        stub_reply_hang(reply);
    }
    stub_reply_row(reply, "xmax", "100", "lsn", lsn_format(rig_log_end(), end), "oid",
                   configured_table(), "taken", rig.slot_taken ? "t" : "f", NULL);
}

/* Of the old table. */
static void serve_unpublished(StubReply *reply)
{
    int count = 0;
    char text[16];
    for (int64_t seq = 0; seq < rig.swap_from; seq++) {
        count += rig.rows[seq].visible && !rig.rows[seq].marked;
    }
    snprintf(text, sizeof(text), "%d", count);
    stub_reply_row(reply, "count", text, NULL);
}

static bool serve_control(const StubQuery *query, StubReply *reply)
{
    const char *sql = query->sql;
    if (strstr(sql, "AS backend_pid;") != NULL) {
        serve_table(query, reply);
    } else if (begins(sql, "SELECT pg_try_advisory_lock") &&
               (strstr(sql, "(1869968482, 4242)") != NULL ||
                strstr(sql, "(1869968482, 4243)") != NULL)) {
        rig.locks++;
        stub_reply_row(reply, "lock", rig.lock_taken ? "f" : "t", NULL);
    } else if (begins(sql, "SELECT a.pid")) {
        stub_reply_row(reply, "pid", "77", "name", "other/orders", "addr", "10.0.0.9", "ended",
                       STUB_NULL, "port", "41000", NULL);
    } else if (begins(sql, "SELECT CASE WHEN b.oid = 2950")) { /* the type of event ids */
        stub_reply_row(reply, "id_type", STUB_NULL, NULL);
    } else if (begins(sql, "DEALLOCATE ALL; PREPARE outboxd_mark")) {
        rig.marked_table = strstr(sql, ")::pg_catalog.oid = 4243") != NULL ? RIG_NEXT : RIG_OUTBOX;
        rig.marked_old_name = strstr(sql, "outbox.event_2025") != NULL;
        stub_reply_command(reply, 0);
    } else if (begins(sql, "SELECT (SELECT system_identifier")) {
        serve_history(reply);
    } else if (begins(sql, "DEALLOCATE ALL; ")) {
        serve_facts(reply);
    } else if (begins(sql, "SELECT p.ctid, p.generation, p.writes, ")) {
        char writes[24];
        snprintf(writes, sizeof(writes), "%" PRIu64, rig.position.writes);
        stub_reply_row(reply, "ctid", "(0,1)", "generation", rig.position.generation, "writes",
                       writes, "same", "f", NULL);
    } else if (begins(sql, "WITH RECURSIVE chain")) {
        stub_reply_row(reply, "old_table", "4242", "present",
                       rig.swap_dropped ? STUB_NULL : "outbox.event_2025", "linked", "t", "grants",
                       rig.swap_denied ? "GRANT UPDATE ON outbox.event_2025 TO r;" : "", NULL);
    } else if (strstr(sql, " AS born") != NULL) {
        stub_reply_row(reply, "i", "1", "role", "relay", "version", "150000", "table_oid", "4242",
                       "identity", rig.position.publication, NULL);
        stub_reply_row(reply, "born", rig.swap_unborn ? "f" : "t", NULL);
        serve_tree(reply);
    } else if (strstr(sql, ") AS unpublished") != NULL) {
        serve_unpublished(reply);
    } else if (begins(sql, "SELECT pg_advisory_unlock_all()")) {
        stub_reply_row(reply, "unlocked", STUB_NULL, NULL);
    } else if (begins(sql, "CREATE PUBLICATION \"outboxd_orders\"")) {
        cr_assert_not_null(strstr(sql, "(publish = 'insert',"), "%s", sql);
        trace("publication");
        rig.has_publication = true;
        stub_reply_command(reply, 0);
    } else if (begins(sql, "INSERT INTO outbox.position AS p")) {
        serve_save(sql, reply);
    } else if (begins(sql, "UPDATE outbox.position AS p SET ")) {
        serve_note(sql, reply);
    } else if (begins(sql, "SELECT CASE WHEN NOT pg_catalog.pg_is_in_recovery()")) {
        serve_look(reply);
    } else if (begins(sql, "SELECT pg_snapshot_xmax")) {
        serve_ping(reply);
    } else if (begins(sql, "SELECT (WITH RECURSIVE tree")) {
        rig.questions++;
        if (rig.hang_questions) {
            stub_reply_hang(reply);
        }
        serve_tree(reply);
        if (strstr(sql, " AS wal_end") != NULL) {
            serve_look(reply);
        }
        if (strstr(sql, " AS present_name") != NULL) {
            stub_reply_row(reply, "present_name", "outbox.event", "configured",
                           rig.swap_from != 0 ? "t" : "f", NULL);
        }
    } else if (begins(sql, "SELECT pg_current_snapshot() AS snapshot")) {
        serve_sight(sql, reply);
    } else if (begins(sql, "SELECT count(*)")) {
        stub_reply_row(reply, "count", "12", NULL);
    } else {
        return false;
    }
    return true;
}

/* The other connections. */

static void serve_end(StubReply *reply)
{
    int64_t end = RIG_ROWS - 1;
    while (end > 0 && !rig.rows[end].visible) {
        end--;
    }
    char text[24];
    snprintf(text, sizeof(text), "%" PRId64, end);
    stub_reply_row(reply, "coalesce", text, NULL);
}

static void serve_copy(const char *sql, StubReply *reply)
{
    static const Slice TEXTS[COPY_TEXT_FIELDS] = {
        [0] = {"id", 2}, [1] = {"placed", 6}, [3] = {"order", 5}};
    const char *beyond = strstr(sql, "\"seq\" > ") + 8;
    size_t limit = strtoul(strstr(sql, "LIMIT ") + 6, NULL, 10);
    AUTO_BUFFER bytes = TEXT_EMPTY;
    text_add_slice(&bytes, COPY_HEADER);
    stub_reply_copy(reply);
    int64_t low = strtoll(beyond, NULL, 10);
    int64_t end = strtoll(strstr(sql, "\"seq\" <= ") + 9, NULL, 10);
    cr_assert(end == rig.position.end || rig.swap_from != 0,
              "nothing is read before the end is written down");
    uint32_t table =
        rig.swap_from == 0 || strstr(sql, "outbox.event_2025") != NULL ? RIG_OUTBOX : RIG_NEXT;
    trace("copy");
    for (int64_t seq = low < 0 ? 0 : low + 1; seq < RIG_ROWS && seq <= end && limit > 0; seq++) {
        if (rig.rows[seq].visible && !rig.rows[seq].marked && table_of(seq) == table) {
            copy_put_row(&bytes, seq, COPY_TIME_NULL, TEXTS, 0);
            stub_reply_copy_row(reply, bytes.data, bytes.length);
            text_clear(&bytes);
            limit--;
        }
    }
    text_add(&bytes, "\377\377");
    stub_reply_copy_row(reply, bytes.data, bytes.length);
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
static void serve_peek(StubReply *reply)
{
    AUTO_BUFFER header = TEXT_EMPTY;
    text_add_slice(&header, COPY_HEADER);
    stub_reply_copy(reply);
    stub_reply_copy_row(reply, header.data, header.length);
    for (size_t i = 0; i < rig.log_count; i++) {
        if (rig.log[i].commit_lsn >= rig.confirmed) {
            each_message(&rig.log[i], table_of(rig.log[i].first), take_to_copy, reply);
        }
    }
    stub_reply_copy_row(reply, "\377\377", 2);
}

static void serve_create(StubReply *reply)
{
    char lsn[24];
    cr_assert_not(rig.has_slot);
    trace("slot");
    rig.has_slot = true;
    rig.confirmed = rig.end_lsn;
    rig.wal_status = "reserved";
    stub_reply_row(reply, "slot_name", "outboxd_orders", "consistent_point",
                   lsn_format(rig.confirmed, lsn), "snapshot_name", "00000003-1", "output_plugin",
                   "pgoutput", NULL);
}

void rig_serve(void *arg, const StubQuery *query, StubReply *reply)
{
    (void)arg;
    const char *sql = query->sql;
    if (query->statement != NULL) {
        cr_assert(begins(query->statement, "outboxd_mark"));
        serve_mark(query, reply);
    } else if (serve_control(query, reply)) {
        return;
    } else if (begins(sql, "IDENTIFY_SYSTEM")) {
        stub_reply_row(reply, "systemid", SYSTEM, "timeline", "1", "xlogpos", "0/0", NULL);
    } else if (begins(sql, "CREATE_REPLICATION_SLOT \"outboxd_orders\" LOGICAL pgoutput")) {
        serve_create(reply);
    } else if (begins(sql, "DROP_REPLICATION_SLOT \"outboxd_orders\"")) {
        trace("drop");
        rig.has_slot = false;
        stub_reply_command(reply, 0);
    } else if (begins(sql, "START_REPLICATION SLOT \"outboxd_orders\" LOGICAL ")) {
        trace("start");
        serve_start(query, reply);
    } else if (begins(sql, "BEGIN ISOLATION LEVEL REPEATABLE READ; ")) {
        trace(strstr(sql, "SET TRANSACTION SNAPSHOT '00000003-1'") != NULL ? "snapshot(slot)"
                                                                           : "snapshot(now)");
        serve_end(reply);
        if (strstr(sql, "SET TRANSACTION SNAPSHOT") == NULL) {
            serve_tree(reply);
        }
    } else if (begins(sql, "COPY (SELECT data FROM "
                           "pg_logical_slot_peek_binary_changes('outboxd_orders', ")) {
        trace("peek");
        serve_peek(reply);
    } else if (begins(sql, "TIMELINE_HISTORY ")) {
        if (rig.history == NULL) {
            stub_reply_error(reply, "58P01", "could not open file");
        } else {
            stub_reply_row(reply, "filename", "00000002.history", "content", rig.history, NULL);
        }
    } else if (begins(sql, "COPY (")) {
        serve_copy(sql, reply);
    } else {
        cr_assert(begins(sql, "SET TimeZone = 'UTC'"), "%s", sql);
        stub_reply_command(reply, 0);
    }
}
