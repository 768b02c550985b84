/* Marks and the position row of the rig's server: the statements that write or read them. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cdc/wire.h"
#include "rows/mark_sql.h"
#include "wal_rig_server.h"

void rig_serve_mark(const StubQuery *query, StubReply *reply)
{
    cr_assert_eq(query->param_count, MARK_PARAMS_WAL);
    const char *array = query->values[0];
    int64_t count = rig_get_be(array + 12, 4);
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
        int64_t seq = rig_get_be(array + 20 + 12 * i + 4, 8);
        cr_assert(seq >= 0 && seq < RIG_ROWS);
        cr_assert(rig.rows[seq].acknowledged, "row %" PRId64 " was never acknowledged", seq);
        cr_assert(rig.marked_table == rig_table_of(seq) || rig.swap_dropped,
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
void rig_serve_sight(const char *sql, StubReply *reply)
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

static void take_generation(const char *text)
{
    snprintf(rig.position.generation, sizeof(rig.position.generation), "%.36s", text);
    rig.position.writes++;
}

void rig_serve_save(const char *sql, StubReply *reply)
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
    rig.position.backfill = rig_begins(strchr(at, '\'') + 1, ", true");
    rig.position.end = SLOT_NO_END;
    rig.position_system = NULL;
    rig.position.waiting = strstr(sql, ", true, '") != NULL;
    /* ..., 'publication', 'generation', 1 WHERE ... */
    const char *last = strstr(sql, ", 1 WHERE ");
    cr_assert_not_null(last, "%s", sql);
    take_generation(last - 37);
    const char *publication = last - 42;
    while (*publication != '\'') {
        publication--;
    }
    snprintf(rig.position.publication, sizeof(rig.position.publication), "%.*s",
             (int)strcspn(publication + 1, "'"), publication + 1);
    snprintf(text, sizeof(text), "position(%s)", rig.position.backfill ? "filling" : "complete");
    rig_trace(text);
    stub_reply_row(reply, "ctid", "(0,1)", NULL);
}

/* UPDATE outbox.position AS p SET generation|backfill_end|publication = ... */
void rig_serve_note(const char *sql, StubReply *reply)
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
    if (rig_begins(column, "generation = '") && rig.late_writes > 0) {
        rig.position.writes += rig.late_writes;
        rig.position.lsn = rig.late_lsn;
        rig.late_writes = 0;
        stub_reply_command(reply, 0);
        return;
    }
    if (rig_begins(column, "generation = '")) {
        char expected[80];
        snprintf(expected, sizeof(expected), "p.writes = %" PRIu64 " AND", rig.position.writes);
        cr_assert_not_null(strstr(sql, expected), "%s", sql);
        take_generation(value + 1);
    } else {
        cr_assert_not_null(strstr(sql, rig.position.generation), "%s", sql);
        rig.position.writes++;
    }
    if (rig_begins(column, "waiting = ")) {
        rig_trace("waiting");
        rig.position.waiting = rig_begins(value, "true");
    } else if (rig_begins(column, "table_id = ")) {
        rig_trace("table");
        rig.position.table_id = (uint32_t)strtoul(value, NULL, 10);
    } else if (rig_begins(column, "backfill_end = ")) {
        rig.position.end = rig_begins(value, "NULL") ? SLOT_NO_END : strtoll(value, NULL, 10);
    } else if (rig_begins(column, "publication = ")) {
        snprintf(rig.position.publication, sizeof(rig.position.publication), "%.*s",
                 (int)strcspn(value + 1, "'"), value + 1);
    }
    stub_reply_row(reply, "ctid", "(0,1)", NULL);
}
