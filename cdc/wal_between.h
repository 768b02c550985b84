/* wal_between: the beginning of a rotation by rename (wal_rotation.h): which tables had the name
 * between the one that the position was reached with and the present one, what parts they have,
 * whether the publication had all of them all the time, and their publisher's locks. */
#pragma once

#include "cdc/wal_publisher.h"
#include "cdc/wal_tables.h"

typedef struct Between Between;

Between *between_new(const WalContext *wal, const WalStart *start, Tables *tables);
void between_free(Between **between);

/** The facts are there. Finds the tables, takes their locks: NEWS_TABLES. */
void between_begin(Between *between);
/** The log has every row of the old table and the new one: a change of the publication needs no
 * proof. */
bool between_is_continuous(const Between *between);
/** What tells of old tables in the database. */
PublisherRows *between_publisher(const Between *between);
