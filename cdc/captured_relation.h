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
    uint16_t *numbers; /* attnum of each column; 0: not known */
    bool *certain;     /* of each number */
    bool *in_identity; /* of each column */
    size_t count;
    char *names; /* of the columns, one behind the other */
} CapturedRelation;

CapturedRelation *captured_relation_new(const PgOutputRelation *message);
void captured_relation_free(CapturedRelation **relation);

/** A table that is gone, whose catalog tells no numbers: before (NULL: none) is what was kept of it
 * until now, from which they are taken where the columns are the same, or were renamed. */
void captured_relation_follow(CapturedRelation *relation, const CapturedRelation *before);

/** Appends the OIDs of its types: "{23,25}". */
void captured_relation_add_types(const CapturedRelation *relation, Text *out);
