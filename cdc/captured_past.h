/* captured_past: what the catalog says of a table, put back to the time when its rows were written,
 * as far as the relation tells: the names of the table and of its columns, and its key. The catalog
 * tells of now, the log of then, and a relay may read it a day later.
 *
 * A relation marks the columns of the replica identity. With the default one (d) these are the
 * primary key of then. A key that was no replica identity is not told: it is taken as it is now,
 * also under its names of then. */
#pragma once

#include "cdc/captured_columns.h"
#include "cdc/captured_names.h"
#include "change/change_catalog.h"

/* What else is known of the table. */
typedef struct CapturedPast {
    bool gone; /* it is not there any more, and what the relation tells of it stands for what the
                  catalog would: its key is its replica identity, unless that is all of it */
    const DroppedColumns *dropped;
    const CapturedRelation *before; /* what was told of it until now; NULL: nothing */
    CapturedNames *met;
} CapturedPast;

/** The relation learns the numbers of its columns. */
void captured_past_apply(CapturedRelation *relation, const CapturedPast *past,
                         ChangeCatalog *catalog);
