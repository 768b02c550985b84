/* old_tables: tables that had the name of the outbox before, and what was said of them. */
#pragma once

#include "cdc/tree.h"

/* A table that had the configured name before: wal_rotation.c. */
typedef struct OldTable {
    uint32_t oid;
    char *name; /* present one, as SQL; NULL: it is gone */
    Tree tree;
} OldTable;

typedef struct OldTables {
    OldTable *items; /* oldest first */
    size_t count;
} OldTables;

/* An old table that was spoken of. */
typedef struct SaidTable {
    uint32_t oid;
    bool gone;
} SaidTable;

typedef struct SaidTables {
    SaidTable *items;
    size_t count;
} SaidTables;

/** At the end; name: its present one, as SQL, or "": it is gone. */
void old_tables_add(OldTables *tables, uint32_t oid, const char *name);
/** Its place; their count: it is none of them. */
size_t old_tables_find(const OldTables *tables, uint32_t oid);
void old_tables_clear(OldTables *tables);

/** Once for each table: that it was renamed, and that it is gone. */
bool said_tables_news(SaidTables *said, uint32_t oid, bool gone);
void said_tables_release(SaidTables *said);
