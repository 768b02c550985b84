#include "cdc/wal_ping.h"

#include <stdlib.h>

#include "base/memory.h"
#include "pg/ident.h"
#include "pg/result.h"

struct Ping {
    const WalContext *wal;
    ServerLog *log;
    const Assembler *assembler;
    Error error;
    bool slot_taken; /* another relay reads it */
};

void ping_add(Ping *ping, Text *sql)
{
    const WalContext *wal = ping->wal;
    AUTO_TEXT table = ident_literal(wal->table->configured);
    AUTO_TEXT slot = ident_literal(wal->pipeline->wal.slot);
    text_printf(sql,
                "SELECT pg_snapshot_xmax(pg_current_snapshot()),"
                " pg_current_wal_insert_lsn(), to_regclass(%s)::oid,"
                " EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = %s"
                " AND active_pid IS NOT NULL)",
                table, slot);
    error_clear(&ping->error);
    server_log_ask(ping->log, wal->state == WAL_ACTIVE ? ping->assembler->told_lsn : 0);
}

void ping_read(Ping *ping, const PGresult *result)
{
    const WalContext *wal = ping->wal;
    uint32_t oid = (uint32_t)strtoul(pg_value(result, 0, 2), NULL, 10);
    if (oid != claim_table(wal->claim)) {
        error_set(&ping->error, CODE_TABLE_REPLACED,
                  "table '%s' was replaced (different OID): examining it again",
                  wal->pipeline->outbox.table);
        return;
    }
    server_log_read_end(ping->log, pg_needed(result, 0, 1));
    if (server_log_check(ping->log, &ping->error) != OK) {
        return;
    }
    if (wal->state == WAL_ACTIVE) {
        server_log_prove(ping->log, result, marker_position(wal->marker).lsn);
    }
    /* A lock that is shared does not tell who publishes; the slot does. */
    ping->slot_taken =
        wal->state == WAL_LOCKED && claim_is_shared(wal->claim) && pg_value(result, 0, 3)[0] == 't';
}

bool ping_is_good(const Ping *ping)
{
    if (ping->error.class != ERROR_NONE) {
        claim_lose(ping->wal->claim, &ping->error);
        return false;
    }
    if (ping->slot_taken) {
        wal_stand_by(ping->wal, "another relay reads the slot");
    }
    return !ping->slot_taken;
}

Ping *ping_new(const WalContext *wal, ServerLog *log, const Assembler *assembler)
{
    Ping *ping = x_calloc(1, sizeof(*ping));
    ping->wal = wal;
    ping->log = log;
    ping->assembler = assembler;
    return ping;
}

void ping_free(Ping **ping)
{
    if (*ping == NULL) {
        return;
    }
    error_clear(&(*ping)->error);
    free(*ping);
    *ping = NULL;
}
