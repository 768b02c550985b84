#include "cdc/snapshot_hold.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "cdc/snapshot_sql.h"
#include "cdc/wire.h"
#include "pg/result.h"
#include "rows/publisher.h"

struct SnapshotHold {
    const WalContext *wal;
    void (*held)(void *arg);
    void *arg;
    PgConn *conn;
    char exported[64];
    uint64_t exported_lsn;
    char name[64];
    ChangePlace *place;
    int64_t since_us;
};

static void on_hold_result(void *arg, const PGresult *result)
{
    SnapshotHold *hold = arg;
    if (PQfnumber(result, "snapshot") < 0) {
        return;
    }
    uint64_t lsn = 0;
    (void)lsn_parse(pg_needed_field(result, 0, "lsn"), &lsn);
    snprintf(hold->name, sizeof(hold->name), "%s", pg_needed_field(result, 0, "snapshot"));
    *hold->place =
        (ChangePlace){.committed_at_us = strtoll(pg_needed_field(result, 0, "at_us"), NULL, 10),
                      .lsn = hold->exported[0] != '\0' ? hold->exported_lsn : lsn,
                      .xid = (uint32_t)strtoull(pg_needed_field(result, 0, "xid"), NULL, 10)};
}

static void on_held(void *arg, const Error *err)
{
    SnapshotHold *hold = arg;
    if (wal_goes_on(hold->wal, err)) {
        hold->since_us = clock_monotonic_us();
        hold->held(hold->arg);
    }
}

static void on_session(void *arg, const Error *err)
{
    SnapshotHold *hold = arg;
    if (!wal_goes_on(hold->wal, err)) {
        return;
    }
    AUTO_BUFFER sql = TEXT_EMPTY;
    snapshot_add_hold(hold->exported, &sql);
    pg_conn_send(hold->conn, &(PgQuery){.step = "hold snapshot",
                                        .sql = text_string(&sql),
                                        .rows_wanted = 1,
                                        .arg = hold,
                                        .result = on_hold_result,
                                        .done = on_held});
}

static void on_hold_opened(void *arg, const Error *err)
{
    SnapshotHold *hold = arg;
    const WalContext *wal = hold->wal;
    if (!wal_goes_on(wal, err)) {
        return;
    }
    AUTO_BUFFER sql = TEXT_EMPTY;
    publisher_add_settings(wal->config, wal->pipeline, false, pg_conn_raw(hold->conn), &sql);
    snapshot_add_session(&sql);
    pg_conn_send(hold->conn, &(PgQuery){.step = "session of the snapshot",
                                        .sql = text_string(&sql),
                                        .arg = hold,
                                        .done = on_session});
}

void snapshot_hold_open(SnapshotHold *hold, const char *exported, uint64_t lsn)
{
    snprintf(hold->exported, sizeof(hold->exported), "%s", exported);
    hold->exported_lsn = lsn;
    hold->name[0] = '\0';
    pg_conn_close(hold->conn);
    pg_conn_open(hold->conn);
}

void snapshot_hold_close(SnapshotHold *hold)
{
    pg_conn_close(hold->conn);
}

const char *snapshot_hold_name(const SnapshotHold *hold)
{
    return hold->name;
}

const ChangePlace *snapshot_hold_place(const SnapshotHold *hold)
{
    return hold->place;
}

int64_t snapshot_hold_since_us(const SnapshotHold *hold)
{
    return hold->since_us;
}

SnapshotHold *snapshot_hold_new(const WalContext *wal, void (*held)(void *arg), void *arg)
{
    SnapshotHold *hold = x_calloc(1, sizeof(*hold));
    hold->wal = wal;
    hold->place = x_calloc(1, sizeof(*hold->place));
    hold->held = held;
    hold->arg = arg;
    hold->conn = claim_new_conn(
        wal->claim, &(PgConnOptions){.tcp_user_timeout_ms = wal->pipeline->claim.lease_ms,
                                     .arg = hold,
                                     .opened = on_hold_opened});
    return hold;
}

void snapshot_hold_free(SnapshotHold **hold)
{
    if (*hold == NULL) {
        return;
    }
    pg_conn_free(&(*hold)->conn);
    free((*hold)->place);
    free(*hold);
    *hold = NULL;
}
