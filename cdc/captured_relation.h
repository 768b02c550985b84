/* captured_relation: a Relation message, kept: what the log told of a table when its rows were
 * written. */
#pragma once

#include "cdc/pgoutput.h"
#include "change/change_table.h"

typedef struct CapturedRelation {
    uint32_t oid;
    char *schema;
    char *name;
    char identity; /* of replicas: d, n, f, i */
    ChangeColumn *columns;
    char **called;     /* what each column was called when this process met it; NULL: as it is */
    bool *in_identity; /* of each column */
    size_t count;
    char *names; /* of the columns, one behind the other */
} CapturedRelation;

CapturedRelation *captured_relation_new(const PgOutputRelation *message);
void captured_relation_free(CapturedRelation **relation);

/** before: what was kept of the same table until now. Columns that were renamed since are called as
 * they were. */
void captured_relation_follow(CapturedRelation *relation, const CapturedRelation *before);

/** What a column of the table as it is now was called before, or when this process met it; the null
 * slice: as it is. */
Slice captured_relation_called(const CapturedRelation *before, const ChangeRelation *now,
                               size_t at);

/** Appends the OIDs of its types: "{23,25}". */
void captured_relation_add_types(const CapturedRelation *relation, Text *out);
