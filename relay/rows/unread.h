/* unread: replication slots of ours that nobody reads: a pipeline with capture = "wal" kept its
 * position for them, no pipeline of the configuration has them, and no client reads them. Each
 * retains WAL without end. */
#pragma once

#include "base/text.h"
#include "config/config.h"

enum { UNREAD_SLOTS_MAX = 100 };

/** Appends a query: a row for each, with columns unread_by (the pipeline), slot, retained (bytes)
 * and shown (the same for people). position_table: as SQL; it may be read. */
void unread_add_query(const Config *config, const char *position_table, Text *sql);
