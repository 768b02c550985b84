#include "rows/unread.h"

#include <stdlib.h>

#include "base/memory.h"
#include "pg/ident.h"

void unread_add_query(const Config *config, const char *position_table, Text *sql)
{
    text_printf(sql,
                "SELECT o.pipeline AS unread_by, o.slot, pg_catalog.pg_wal_lsn_diff(e.lsn,"
                " z.restart_lsn) AS retained, pg_catalog.pg_size_pretty("
                "pg_catalog.pg_wal_lsn_diff(e.lsn, z.restart_lsn)) AS shown FROM %s o"
                " JOIN pg_catalog.pg_replication_slots z ON z.slot_name = o.slot AND NOT z.active"
                " AND z.database = pg_catalog.current_database() CROSS JOIN (SELECT CASE WHEN"
                " pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() ELSE"
                " pg_catalog.pg_current_wal_lsn() END AS lsn) e WHERE true",
                position_table);
    for (size_t i = 0; i < config->pipeline_count; i++) {
        const PipelineConfig *pipeline = &config->pipelines[i];
        if (pipeline_reads_log(pipeline)) {
            AUTO_TEXT slot = ident_literal(pipeline->wal.slot);
            text_printf(sql, " AND o.slot <> %s", slot);
        }
    }
    text_printf(sql, " ORDER BY 1 LIMIT %d", UNREAD_SLOTS_MAX);
}
