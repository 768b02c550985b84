#include "poll_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "rows/mark_sql.h"
#include "stub/copy.h"

Rig rig;

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* The server. */

static bool durable_now(void)
{
    rig.answered_durable = rig.durable && rig.not_durable == 0;
    rig.not_durable -= rig.not_durable > 0;
    return rig.answered_durable;
}

static const char *table_oid(void)
{
    return rig.table_oid != NULL ? rig.table_oid : "4242";
}

static void answer_guard(const char *sql, StubReply *reply)
{
    const char *durable = durable_now() ? "t" : "f";
    const char *oid = rig.fetched_oid != NULL ? rig.fetched_oid : table_oid();
    const char *insert_lsn = rig.insert_lsn != NULL ? rig.insert_lsn : "0/1234";
    if (strstr(sql, " AS sequence_oid") != NULL) {
        stub_reply_row(reply, "insert_lsn", insert_lsn, "durable", durable, "table_oid", oid,
                       "sequence_oid", "4241", NULL);
    } else {
        stub_reply_row(reply, "insert_lsn", insert_lsn, "durable", durable, "table_oid", oid,
                       "storage", rig.storage != NULL ? rig.storage : "4242 4241", "last_value",
                       rig.last_value != NULL ? rig.last_value : STUB_NULL, "small",
                       rig.large ? "f" : "t", NULL);
    }
}

static void serve_fetch(const char *sql, StubReply *reply)
{
    const char *begin = strstr(sql, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; ");
    const char *writers = strstr(sql, " AS writers");
    bool rows = strstr(sql, "; COMMIT") != NULL && begin == NULL;
    rig.fetches += !rows;
    if (!rows) {
        free(rig.fetch_sql);
        rig.fetch_sql = x_strdup(sql);
    }
    rig.sweeps += strstr(sql, "\"seq\" > -9223372036854775808") != NULL;
    if (rig.hang_fetch) {
        stub_reply_hang(reply);
    }
    if (rig.error_of_fetch != NULL) {
        stub_reply_error(reply, rig.error_of_fetch, "permission denied for table event");
        return;
    }
    if (writers != NULL) {
        cr_assert(begin == NULL || writers < strstr(sql, "COMMIT; "), "an old snapshot");
        stub_reply_row(reply, "writers", rig.writers, NULL);
    }
    const char *copy = strstr(sql, "COPY (");
    if (copy != NULL && !rig_serve_copy(copy, reply)) {
        return;
    }
    bool ends = strstr(sql, "; COMMIT") != NULL && (begin == NULL || rig.lean);
    rig.in_snapshot = !ends && (rig.in_snapshot || begin != NULL);
    rig.wide += begin != NULL;
    if (rig.in_snapshot) {
        return;
    }
    const char *oid = rig.fetched_oid;
    if (rig.configured_oid != NULL && strstr(sql, "event_2025") == NULL) {
        rig.fetched_oid = rig.configured_oid;
    }
    answer_guard(sql, reply);
    rig.fetched_oid = oid;
}

static void serve_table(const StubQuery *query, StubReply *reply)
{
    char pid[16];
    snprintf(pid, sizeof(pid), "%d", 1000 + query->connection);
    const char *v[7] = {
        pid, "f", table_oid(), "p", "1", "outbox.dead_letter", "outbox.event_seq_seq"};
    for (size_t i = 0; i < 7; i++) {
        v[i] = rig.table_fields[i] != NULL ? rig.table_fields[i] : v[i];
    }
    bool logged = strcmp(v[3], "p") == 0;
    rig.looks++;
    stub_reply_command(reply, 0); /* of a SET */
    stub_reply_row(reply, "session_mark", rig.mark != NULL ? rig.mark : stub_session_mark(),
                   "backend_pid", v[0], NULL);
    stub_reply_row(reply, "role", "relay", "version", "150000", "in_recovery", v[1], "table_oid",
                   v[2], "unlogged", logged ? STUB_NULL : "outbox.event", "set_logged",
                   logged ? STUB_NULL : "ALTER TABLE outbox.event SET LOGGED;", "cache", v[4],
                   "dead_letter", v[5], "sequence", v[6], "updates", rig.may_not_mark ? "f" : "t",
                   "publisher", rig.history.no_row_table ? STUB_NULL : "outbox.publisher", NULL);
}

static int64_t get_be(const char *bytes, int length)
{
    uint64_t value = 0;
    for (int i = 0; i < length; i++) {
        value = value << 8 | (unsigned char)bytes[i];
    }
    return (int64_t)value;
}

static void answer_ctid(StubReply *reply)
{
    char ctid[16];
    snprintf(ctid, sizeof(ctid), "(0,%u)", rig.history.writes);
    stub_reply_row(reply, "ctid", ctid, NULL);
}

static void serve_history(StubReply *reply)
{
    char writes[16];
    bool row = !rig.history.no_row_table && rig.history.generation[0] != '\0';
    snprintf(writes, sizeof(writes), "%u", rig.history.writes);
    stub_reply_row(reply, "system_id", rig.history.system_id, "timeline", rig.history.timeline,
                   "insert_lsn", rig.history.lsn, "flush_lsn", rig.history.lsn, "generation",
                   row ? rig.history.generation : STUB_NULL, "writes", row ? writes : STUB_NULL,
                   NULL);
}

/* The old table, and what had the name after it. */
static void serve_succession(const char *sql, StubReply *reply)
{
    const char *linked = rig.unlinked ? "f" : "t";
    const char *grants = rig.grants != NULL ? rig.grants : "";
    stub_reply_row(reply, "old_table", "4242", "present",
                   rig.present_name != NULL ? rig.present_name : STUB_NULL, "linked", linked,
                   "grants", grants, NULL);
    if (rig.middle_oid != NULL) {
        stub_reply_more(reply, "old_table", rig.middle_oid, "present", "outbox.event_a", "linked",
                        linked, "grants", "", NULL);
    }
    if (strstr(sql, " AS stray") == NULL) {
        return;
    }
    if (rig.stray_rows != NULL) {
        stub_reply_row(reply, "stray", "outbox.event_a", "stray_readable", "t", NULL);
    } else {
        stub_reply_no_row(reply);
    }
}

/* Which table has the name, which name has the table that is read? */
static void serve_rotation(const char *sql, StubReply *reply)
{
    const char *configured = rig.configured_oid != NULL ? rig.configured_oid : table_oid();
    if (strstr(sql, " AS present") != NULL) {
        bool others = rig.noted && strcmp(configured, table_oid()) == 0;
        rig.noted = rig.noted || strcmp(configured, table_oid()) != 0;
        stub_reply_row(reply, "present", rig.present_name != NULL ? rig.present_name : STUB_NULL,
                       "configured", configured, "others", others ? "t" : "f", NULL);
        return;
    }
    if (strstr(sql, " AS dropped") != NULL) {
        stub_reply_no_row(reply);
        if (rig.old_oid != NULL) {
            stub_reply_row(reply, "old_table", rig.old_oid, "name", rig.present_name, NULL);
        } else {
            stub_reply_no_row(reply);
        }
    }
    stub_reply_row(reply, "configured", configured, NULL);
}

/* The old table's row goes, if the name is still where it was. */
static void serve_end(const char *sql, StubReply *reply)
{
    if (begins(sql, "INSERT INTO outbox.publisher (table_id")) {
        cr_assert_not_null(rig.middle_oid);
        cr_assert_not_null(strstr(sql, rig.middle_oid), "%s", sql);
        rig.rows_handed_on++;
        stub_reply_command(reply, 1);
    }
    if (rig.renamed_at_the_end != NULL) {
        rig.configured_oid = rig.renamed_at_the_end;
        rig.renamed_at_the_end = NULL;
    }
    char concluded[32];
    const char *carrier = rig.configured_oid != NULL ? rig.configured_oid : table_oid();
    snprintf(concluded, sizeof(concluded), "named.id = %s ", carrier);
    rig.rows_deleted += strstr(sql, concluded) != NULL;
    cr_assert_not_null(strstr(sql, "noted AS (INSERT INTO outbox.publisher"), "%s", sql);
    stub_reply_row(reply, "carrier", carrier, NULL);
}

static void serve_claim(const char *sql, StubReply *reply)
{
    rig.claims++;
    if (rig.error_of_claim != NULL) {
        stub_reply_error(reply, rig.error_of_claim, "no");
        return;
    }
    if (rig.history.late_writes > 0) {
        rig.history.writes += rig.history.late_writes;
        rig.history.late_writes = 0;
        stub_reply_row(reply, "claimed", "0", "ctid", STUB_NULL, NULL);
        return;
    }
    if (*rig.history.generation != '\0') {
        char expected[120];
        snprintf(expected, sizeof(expected),
                 "WHERE p.writes = %u AND p.generation IS NOT DISTINCT FROM '%s'::uuid",
                 rig.history.writes, rig.history.generation);
        cr_assert_not_null(strstr(sql, expected), "%s in %s", expected, sql);
    }
    const char *generation = strstr(sql, "', 1)");
    cr_assert_not_null(generation, "%s", sql);
    snprintf(rig.history.generation, sizeof(rig.history.generation), "%.36s", generation - 36);
    cr_assert_eq(rig.history.generation[14], '4', "a random UUID: %s", sql);
    rig.history.writes++;
    if (rig.hang_claim) {
        stub_reply_hang(reply);
    }
    char ctid[16];
    snprintf(ctid, sizeof(ctid), "(0,%u)", rig.history.writes);
    stub_reply_row(reply, "claimed", "1", "ctid", ctid, NULL);
}

/* bigint[] and text[] in binary: dimensions, null flag, type, length, lower bound, then the
 * elements. */
static void serve_mark(const StubQuery *query, StubReply *reply)
{
    const char *array = query->values[MARK_PARAM_SEQS];
    const char *ids = query->values[MARK_PARAM_IDS] + 20;
    rig.marks++;
    cr_assert_eq(query->param_count, MARK_PARAMS_POLL);
    cr_assert_eq(query->formats[0], 1);
    int64_t count = get_be(array + 12, 4);
    cr_assert_eq(get_be(array, 4), 1);
    cr_assert_eq(get_be(array + 4, 4), 0);
    cr_assert_eq(get_be(array + 8, 4), 20, "the OID of bigint");
    cr_assert_eq(get_be(array + 16, 4), 1);
    cr_assert_eq(query->lengths[0], 20 + 12 * count);
    if (rig.error_of_mark != NULL) {
        stub_reply_error(reply, rig.error_of_mark, "no");
        return;
    }
    int changed = 0;
    for (int64_t i = 0; i < count; i++) {
        char id[32];
        int64_t seq = get_be(array + 20 + 12 * i + 4, 8);
        int length = (int)get_be(ids, 4);
        cr_assert_eq(get_be(array + 20 + 12 * i, 4), 8);
        cr_assert(seq >= 0 && seq < RIG_ROWS);
        rig_event_id(seq, id, sizeof(id));
        if (length == (int)strlen(id) && strncmp(ids + 4, id, length) == 0) {
            cr_assert(rig.rows[seq].acknowledged, "row %lld was never acknowledged",
                      (long long)seq);
            changed += !rig.rows[seq].marked;
            rig.rows[seq].marked = true;
        }
        ids += 4 + length;
    }
    stub_reply_command(reply, changed);
}

static void serve_mark_row(const StubQuery *query, StubReply *reply)
{
    cr_assert_eq(query->param_count, 1);
    rig.history.writes++;
    answer_ctid(reply);
}

static void serve_dead_letter(const StubQuery *query, StubReply *reply)
{
    bool copied = query->param_count == 14; /* from the row; else what is in memory */
    cr_assert(copied || query->param_count == 13);
    if (rig.error_of_dead_letter != NULL) {
        stub_reply_error(reply, rig.error_of_dead_letter, "no");
        return;
    }
    rig.letters++;
    if (copied && rig.row_of_letter_gone) {
        stub_reply_command(reply, 0);
        return;
    }
    rig.rows[strtoll(query->values[1], NULL, 10)].dead = true;
    stub_reply_command(reply, 1);
}

static void serve_guard(const char *sql, StubReply *reply)
{
    rig.guards++;
    if (begins(sql, "ROLLBACK; ")) {
        rig.in_snapshot = false;
    }
    if (strstr(sql, "pg_sleep") != NULL) {
        stub_reply_row(reply, "pg_sleep", "", NULL);
    } else if (strstr(sql, "pg_logical_emit_message") != NULL) {
        rig.flushes++;
        rig.not_durable = 0;
        rig.durable = true;
        stub_reply_row(reply, "pg_logical_emit_message", "0/1235", NULL);
    }
    if (strstr(sql, "AS insert_lsn") != NULL) {
        answer_guard(sql, reply);
    } else {
        cr_assert_not_null(strstr(sql, ">= '0/1234'::pg_lsn"), "%s", sql);
        stub_reply_row(reply, "durable", durable_now() ? "t" : "f", NULL);
    }
}

static void serve_prune(StubReply *reply)
{
    rig.prunes++;
    stub_reply_row(reply, "count", "0", "looked", "0", "young", "0", "max", STUB_NULL, NULL);
    stub_reply_row(reply, "took", "1", NULL);
}

static void serve(void *arg, const StubQuery *query, StubReply *reply)
{
    (void)arg;
    const char *sql = query->sql;
    if (query->statement != NULL && strcmp(query->statement, "outboxd_mark_row") == 0) {
        serve_mark_row(query, reply);
    } else if (query->statement != NULL) {
        cr_assert(begins(query->statement, "outboxd_mark"));
        serve_mark(query, reply);
    } else if (strstr(sql, "AS backend_pid;") != NULL) {
        rig.in_snapshot = false; /* a new session */
        serve_table(query, reply);
    } else if (strstr(sql, "PREPARE outboxd_mark") != NULL) {
        stub_reply_command(reply, 0);
    } else if (begins(sql, "SELECT CASE WHEN b.oid = 2950")) {
        stub_reply_row(reply, "id_type", STUB_NULL, NULL); /* compared as text */
    } else if (begins(sql, "WITH given_arrays")) {
        rig.asks++;
        stub_reply_row(reply, "replaced", "0", "ignored", "0", "same", "t", NULL);
    } else if (begins(sql, "SELECT (SELECT system_identifier")) {
        serve_history(reply);
    } else if (strstr(sql, " AS linked") != NULL) { /* and what looks like one between */
        serve_succession(sql, reply);
    } else if (strstr(sql, " AS counted") != NULL) {
        stub_reply_row(reply, "counted", "outbox.event_a", "count", rig.stray_rows, NULL);
    } else if (strstr(sql, " AS configured") != NULL) {
        serve_rotation(sql, reply);
    } else if (strstr(sql, " AS carrier") != NULL) {
        serve_end(sql, reply);
    } else if (begins(sql, "SELECT pg_advisory_unlock")) {
        rig.unlocks++;
        stub_reply_row(reply, "unlocked", "t", NULL);
    } else if (begins(sql, "WITH claimed AS (INSERT INTO outbox.publisher AS p")) {
        serve_claim(sql, reply);
    } else if (begins(sql, "SELECT p.ctid, p.generation")) { /* where is our row? */
        char ctid[16];
        char writes[16];
        snprintf(ctid, sizeof(ctid), "(0,%u)", rig.history.writes);
        snprintf(writes, sizeof(writes), "%u", rig.history.writes);
        stub_reply_row(reply, "ctid", ctid, "generation", rig.history.generation, "writes", writes,
                       "same", "t", NULL);
    } else if (begins(sql, "SET TimeZone")) { /* of the marker's session */
        stub_reply_command(reply, 0);
    } else if (strstr(sql, "COPY (") != NULL || strstr(sql, "; COMMIT") != NULL) {
        serve_fetch(sql, reply);
    } else if (strcmp(sql, "ROLLBACK") == 0) {
        rig.in_snapshot = false;
        stub_reply_command(reply, 0);
    } else if (begins(sql, "SELECT pg_try_advisory_lock(1869968482, ")) {
        snprintf(rig.lock_tried, sizeof(rig.lock_tried), "%.4s", strchr(sql, ',') + 2);
        bool old = rig.old_oid != NULL && strcmp(rig.lock_tried, rig.old_oid) == 0;
        stub_reply_row(reply, "lock", rig.lock_taken || (old && rig.old_taken) ? "f" : "t", NULL);
    } else if (begins(sql, "SELECT a.pid")) {
        stub_reply_row(reply, "pid", rig.holder_pid, "name", "other/orders web-1:4242", "addr",
                       "10.0.0.9", "ended", STUB_NULL, "port", "41000", NULL);
    } else if (begins(sql, "INSERT INTO outbox.dead_letter")) {
        serve_dead_letter(query, reply);
    } else if (begins(sql, "SET LOCAL lock_timeout")) {
        serve_prune(reply);
    } else if (begins(sql, "SELECT count(*)")) {
        stub_reply_row(reply, "count", "12", NULL);
    } else if (strstr(sql, "AS named") != NULL) {
        rig.pings++;
        bool configured = rig.configured_oid != NULL && strstr(sql, "event_2025") == NULL;
        stub_reply_row(reply, "named", configured ? rig.configured_oid : table_oid(), NULL);
    } else {
        serve_guard(sql, reply);
    }
}

/* The pipeline. */

/* Else another event has the number now. */
static bool is_there(const Event *event)
{
    char id[32];
    return slice_equal(event->row[FIELD_EVENT_ID],
                       slice_of(rig_event_id(event->seq, id, sizeof(id))));
}

static void note_delivered(const Batch *batch)
{
    cr_assert(rig.answered_durable, "rows that a crash of the server could undo");
    for (size_t i = 0; i < batch->count; i++) {
        const Event *event = batch->events[i];
        RigRow *row = &rig.rows[event->seq];
        if (!is_there(event)) {
            continue; /* it was read before the number went to another */
        }
        cr_assert_not(row->parked, "row %lld waits for its topic", (long long)event->seq);
        cr_assert_not(row->out, "row %lld is handed on twice", (long long)event->seq);
        cr_assert_not(row->acknowledged, "row %lld was acknowledged", (long long)event->seq);
        cr_assert_eq(event->row[FIELD_PAYLOAD].length, rig.payload_bytes);
        row->out = true;
        row->delivered++;
        if (rig.delivered != NULL) {
            rig.delivered(event);
        }
    }
}

static void note_given_back(const Batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        const Event *event = batch->events[i];
        if (is_there(event)) {
            RigRow *row = &rig.rows[event->seq];
            bool parked = event->state == EVENT_PARKED;
            row->out = false;
            row->acknowledged |= event_is_settled(event) && !parked;
            row->parked |= parked;
        }
    }
}

void rig_prepare(void)
{
    error_clear(&rig.pipe.error);
    memcpy(&rig,
           &(Rig){.durable = true,
                  .payload_bytes = 10,
                  .writers = "",
                  .holder_pid = "77",
                  .history = {.system_id = "7000000000000000001",
                              .timeline = "00000001",
                              .lsn = "0/1234"},
                  .pipe = source_rig_of()},
           sizeof(rig));
    rig.pipe.came = note_delivered;
    rig.pipe.went = note_given_back;
    rig.pipe.pipeline.limits.in_flight_events = 100;
    stub_reset(serve, NULL);
}

void rig_begin(void)
{
    source_rig_begin(&rig.pipe, poll_source_new);
}

void rig_end(void)
{
    source_rig_end(&rig.pipe);
    free(rig.fetch_sql);
    rig.fetch_sql = NULL;
}

void rig_insert(int64_t first, int64_t last)
{
    for (int64_t seq = first; seq <= last; seq++) {
        rig.rows[seq].visible = true;
    }
}

void rig_turn(void)
{
    source_rig_turn(&rig.pipe);
}

size_t rig_delivered(void)
{
    size_t count = 0;
    for (size_t i = 0; i < RIG_ROWS; i++) {
        count += rig.rows[i].delivered;
    }
    return count;
}

size_t rig_marked(void)
{
    size_t count = 0;
    for (size_t i = 0; i < RIG_ROWS; i++) {
        count += rig.rows[i].marked;
    }
    return count;
}

void rig_ack(int64_t except)
{
    Batch *batch = source_rig_take_oldest(&rig.pipe);
    for (size_t i = 0; i < batch->count; i++) {
        if (batch->events[i]->seq != except && !event_is_settled(batch->events[i])) {
            bool parks = rig.parks != NULL && rig.parks(batch->events[i]);
            batch_settle(batch->events[i], parks ? EVENT_PARKED : EVENT_PUBLISHED);
        }
    }
    source_rig_give_back(&rig.pipe, batch);
}

void rig_ack_all(void)
{
    while (rig.pipe.batch_count > 0) {
        rig_ack(-1);
    }
}

void rig_restart(void)
{
    source_rig_restart(&rig.pipe);
}

void rig_assert_out(const char *expected)
{
    Text text = TEXT_EMPTY;
    for (size_t i = 0; i < rig.pipe.batch_count; i++) {
        for (size_t j = 0; j < rig.pipe.batches[i]->count; j++) {
            text_printf(&text, "%s%lld", text.length > 0 ? " " : "",
                        (long long)rig.pipe.batches[i]->events[j]->seq);
        }
    }
    cr_assert_str_eq(text_string(&text), expected, "%s", text_string(&text));
    text_free(&text);
}

void rig_activate(void)
{
    rig_begin();
    RIG_WAIT(rig.pipe.active == 1);
}
