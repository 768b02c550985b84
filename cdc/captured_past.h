/* captured_past: what the catalog says of a table, put back to the time when its rows were written,
 * as far as the relation tells: the names of the table and of its columns, and its key. The catalog
 * tells of now, the log of then, and a relay may read it a day later.
 *
 * A relation marks the columns of the replica identity. With the default one (d) these are the
 * primary key of then. A key that was no replica identity is not told: it is taken as it is now,
 * also under its names of then. */
#pragma once

#include "cdc/captured_relation.h"
#include "change/change_catalog.h"

/** gone: the table is not there any more, and what the relation tells of it stands for what the
 * catalog would. Its key is its replica identity, unless that is all of it. */
void captured_past_apply(const CapturedRelation *relation, bool gone, ChangeCatalog *catalog);
/** The catalog stays as it is now; a column that was renamed since the relation was told has its
 * old name beside the new one. */
void captured_past_follow(const CapturedRelation *before, const ChangeRelation *now,
                          ChangeCatalog *catalog);
