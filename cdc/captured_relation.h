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
    bool *in_identity; /* of each column */
    size_t count;
    char *names; /* of the columns, one behind the other */
} CapturedRelation;

CapturedRelation *captured_relation_new(const PgOutputRelation *message);
void captured_relation_free(CapturedRelation **relation);

/** Appends the OIDs of its types: "{23,25}". */
void captured_relation_add_types(const CapturedRelation *relation, Text *out);
