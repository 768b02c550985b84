/* succession: the tables that had the name of an outbox one after another.
 *
 * Rotation by rename gives the name to a new table. After two of them while no relay ran, only the
 * oldest table and the present one are known. The catalog tells what lies between where each table
 * was renamed in the transaction that made the next one (or gave it the name): the row of pg_type
 * that belongs to the older one was written by the rename, the system columns of the newer one in
 * pg_attribute by its creation, and nothing writes those again. Where that chain breaks, tables
 * that look like former outboxes can only be named to a human. Loop thread only. */
#pragma once

#include <libpq-fe.h>
#include <stdint.h>

#include "base/text.h"
#include "config/config.h"

/** Appends the query for what follows old_oid up to, and without, new_oid: a row for each, oldest
 * first. Columns: "old_table", its OID; "present", its name as SQL, NULL when it is gone; "grants",
 * statements that give the rights we lack, "" when none; "linked", whether the chain ends at
 * new_oid. */
void succession_add_query(const PipelineConfig *pipeline, uint32_t old_oid, uint32_t new_oid,
                          Text *sql);

/** Appends the query for tables that look as if they had been between the two: made after old_oid,
 * renamed since, with the columns of new_oid. Columns "stray", name as SQL, and "stray_readable".
 * known: SQL that is false for tables "c" that are known to be something else. */
void succession_add_strays(uint32_t old_oid, uint32_t new_oid, const char *known, Text *sql);

/** Text of a column of its row; "" for NULL. */
const char *succession_value(const PGresult *result, int row, const char *column);
