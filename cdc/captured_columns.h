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
