/* captured_columns: which columns of the catalog those of a relation are. The log tells names and
 * types of then, in the order of the columns' numbers, but no numbers; the catalog knows the
 * numbers of all columns that the table ever had. A column that is there now and lies before one of
 * the relation was in the relation too; one that was dropped, or is generated, may have been. */
#pragma once

#include "cdc/captured_relation.h"
#include "change/change_catalog.h"

typedef struct DroppedColumns {
    VEC(uint16_t) numbers; /* ascending */
} DroppedColumns;

/** Sets numbers and certain of the relation. False, and nothing is set: it does not fit. */
bool captured_columns_find(CapturedRelation *relation, const ChangeTableFacts *table,
                           const DroppedColumns *dropped);

/* A column of the relation (its place there) and what it may be now. */
typedef struct MaybeColumn {
    size_t at;
    uint16_t number;
    char *name; /* of now */
} MaybeColumn;

typedef struct MaybeColumns {
    VEC(MaybeColumn) items;
} MaybeColumns;

/** Of each column of the relation whose name of then no column has now that it could be: all that
 * it could be, by their order alone. What it is now is among them, unless another has its name. */
void captured_columns_list(const CapturedRelation *relation, const ChangeTableFacts *table,
                           const DroppedColumns *dropped, MaybeColumns *ret);
void captured_columns_clear(MaybeColumns *maybe);
