/* The server of the rig: its tables, and what it answers to each statement. */
#include "wal_rig_server.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cdc/wire.h"
#include "stub/copy.h"

const char RIG_SYSTEM[] = "7000000000000000001";

bool rig_begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

void rig_trace(const char *word)
{
    text_printf(&rig.trace, "%s%s", rig.trace.length > 0 ? " " : "", word);
}

/* Tables. */

uint32_t rig_table_of(int64_t seq)
{
    return rig.swap_from != 0 && seq >= rig.swap_from ? RIG_NEXT : RIG_OUTBOX;
}

const char *rig_configured_table(void)
{
    return rig.swap_from != 0 ? "4243" : "4242";
}

void rig_swap(int64_t from)
{
    rig.swap_from = from;
    rig.publication = "publication 1 with 2, of 4243";
}

/* The control connection. */

/* The preconditions; what is not in the answer is not judged. */
static void serve_list(StubReply *reply)
{
    rig.looks++;
    stub_reply_row(reply, "i", "0", "role", "relay", "version", "150000", "table_oid",
                   rig_configured_table(), "kind", "r", "table_name", "event", "table_schema",
                   "outbox", "dead_letter", "outbox.dead_letter", "position", "outbox.position",
                   "positions", rig.may_not_save ? "f" : "t", "filtered", rig.broken ? "t" : "f",
                   "identity", rig.has_publication ? rig.publication : STUB_NULL, "pending",
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
    stub_reply_row(reply, "system_id", RIG_SYSTEM, "timeline", wal_timeline, "insert_lsn", log_end,
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
    const char *system = rig.position_system != NULL ? rig.position_system : RIG_SYSTEM;
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

static void serve_ping(StubReply *reply)
{
    char end[24];
    rig.pings++;
    if (rig.hang_pings) {
        stub_reply_hang(reply);
    }
    stub_reply_row(reply, "xmax", "100", "lsn", lsn_format(rig_log_end(), end), "oid",
                   rig_configured_table(), "taken", rig.slot_taken ? "t" : "f", NULL);
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

/* What the claim's connection is asked at its start, and for the lock. */
static bool serve_claim(const StubQuery *query, StubReply *reply)
{
    const char *sql = query->sql;
    if (strstr(sql, "AS backend_pid;") != NULL) {
        serve_table(query, reply);
    } else if (rig_begins(sql, "SELECT pg_try_advisory_lock") &&
               (strstr(sql, "(1869968482, 4242)") != NULL ||
                strstr(sql, "(1869968482, 4243)") != NULL)) {
        rig.locks++;
        stub_reply_row(reply, "lock", rig.lock_taken ? "f" : "t", NULL);
    } else if (rig_begins(sql, "SELECT a.pid")) {
        stub_reply_row(reply, "pid", "77", "name", "other/orders", "addr", "10.0.0.9", "ended",
                       STUB_NULL, "port", "41000", NULL);
    } else if (rig_begins(sql, "SELECT CASE WHEN b.oid = 2950")) { /* the type of event ids */
        stub_reply_row(reply, "id_type", STUB_NULL, NULL);
    } else if (rig_begins(sql, "DEALLOCATE ALL; PREPARE outboxd_mark")) {
        rig.marked_table = strstr(sql, ")::pg_catalog.oid = 4243") != NULL ? RIG_NEXT : RIG_OUTBOX;
        rig.marked_old_name = strstr(sql, "outbox.event_2025") != NULL;
        stub_reply_command(reply, 0);
    } else if (rig_begins(sql, "SELECT (SELECT system_identifier")) {
        serve_history(reply);
    } else if (rig_begins(sql, "DEALLOCATE ALL; ")) {
        serve_facts(reply);
    } else if (rig_begins(sql, "SELECT p.ctid, p.generation, p.writes, ")) {
        char writes[24];
        snprintf(writes, sizeof(writes), "%" PRIu64, rig.position.writes);
        stub_reply_row(reply, "ctid", "(0,1)", "generation", rig.position.generation, "writes",
                       writes, "same", "f", NULL);
    } else {
        return false;
    }
    return true;
}

/* Another table has the name. */
static bool serve_rotation(const char *sql, StubReply *reply)
{
    if (rig_begins(sql, "WITH RECURSIVE chain")) {
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
    } else {
        return false;
    }
    return true;
}

static bool serve_control(const StubQuery *query, StubReply *reply)
{
    const char *sql = query->sql;
    if (serve_claim(query, reply) || serve_rotation(sql, reply)) {
        return true;
    }
    if (rig_begins(sql, "SELECT pg_advisory_unlock_all()")) {
        stub_reply_row(reply, "unlocked", STUB_NULL, NULL);
    } else if (rig_begins(sql, "CREATE PUBLICATION \"outboxd_orders\"")) {
        cr_assert_not_null(strstr(sql, "(publish = 'insert',"), "%s", sql);
        rig_trace("publication");
        rig.has_publication = true;
        stub_reply_command(reply, 0);
    } else if (rig_begins(sql, "INSERT INTO outbox.position AS p")) {
        rig_serve_save(sql, reply);
    } else if (rig_begins(sql, "UPDATE outbox.position AS p SET ")) {
        rig_serve_note(sql, reply);
    } else if (rig_begins(sql, "SELECT CASE WHEN NOT pg_catalog.pg_is_in_recovery()")) {
        serve_look(reply);
    } else if (rig_begins(sql, "SELECT pg_snapshot_xmax")) {
        serve_ping(reply);
    } else if (rig_begins(sql, "SELECT (WITH RECURSIVE tree")) {
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
    } else if (rig_begins(sql, "SELECT pg_current_snapshot() AS snapshot")) {
        rig_serve_sight(sql, reply);
    } else if (rig_begins(sql, "SELECT count(*)")) {
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
    rig_trace("copy");
    for (int64_t seq = low < 0 ? 0 : low + 1; seq < RIG_ROWS && seq <= end && limit > 0; seq++) {
        if (rig.rows[seq].visible && !rig.rows[seq].marked && rig_table_of(seq) == table) {
            copy_put_row(&bytes, seq, COPY_TIME_NULL, TEXTS, 0);
            stub_reply_copy_row(reply, bytes.data, bytes.length);
            text_clear(&bytes);
            limit--;
        }
    }
    text_add(&bytes, "\377\377");
    stub_reply_copy_row(reply, bytes.data, bytes.length);
}

static void serve_create(StubReply *reply)
{
    char lsn[24];
    cr_assert_not(rig.has_slot);
    rig_trace("slot");
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
        cr_assert(rig_begins(query->statement, "outboxd_mark"));
        rig_serve_mark(query, reply);
    } else if (serve_control(query, reply)) {
        return;
    } else if (rig_begins(sql, "IDENTIFY_SYSTEM")) {
        stub_reply_row(reply, "systemid", RIG_SYSTEM, "timeline", "1", "xlogpos", "0/0", NULL);
    } else if (rig_begins(sql, "CREATE_REPLICATION_SLOT \"outboxd_orders\" LOGICAL pgoutput")) {
        serve_create(reply);
    } else if (rig_begins(sql, "DROP_REPLICATION_SLOT \"outboxd_orders\"")) {
        rig_trace("drop");
        rig.has_slot = false;
        stub_reply_command(reply, 0);
    } else if (rig_begins(sql, "START_REPLICATION SLOT \"outboxd_orders\" LOGICAL ")) {
        rig_trace("start");
        rig_serve_start(query, reply);
    } else if (rig_begins(sql, "BEGIN ISOLATION LEVEL REPEATABLE READ; ")) {
        rig_trace(strstr(sql, "SET TRANSACTION SNAPSHOT '00000003-1'") != NULL ? "snapshot(slot)"
                                                                               : "snapshot(now)");
        serve_end(reply);
        if (strstr(sql, "SET TRANSACTION SNAPSHOT") == NULL) {
            serve_tree(reply);
        }
    } else if (rig_begins(sql, "COPY (SELECT data FROM "
                               "pg_logical_slot_peek_binary_changes('outboxd_orders', ")) {
        rig_trace("peek");
        rig_serve_peek(reply);
    } else if (rig_begins(sql, "TIMELINE_HISTORY ")) {
        if (rig.history == NULL) {
            stub_reply_error(reply, "58P01", "could not open file");
        } else {
            stub_reply_row(reply, "filename", "00000002.history", "content", rig.history, NULL);
        }
    } else if (rig_begins(sql, "COPY (")) {
        serve_copy(sql, reply);
    } else {
        cr_assert(rig_begins(sql, "SET TimeZone = 'UTC'"), "%s", sql);
        stub_reply_command(reply, 0);
    }
}
