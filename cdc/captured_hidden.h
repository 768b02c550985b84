/* captured_hidden: whether a table has the columns that its mapping hides.
 *
 * A start refuses a name that no table has (MAPPED_NO_COLUMN). If a column is missing in a table of
 * which the relay knows no earlier columns, it was renamed or dropped since the start, and nobody
 * can tell which: what it may be called now must not be published as it is. A pattern may mean
 * tables that are not alike: of these, nothing is known. */
#pragma once

#include "change/change_table.h"

/** FATAL / MAPPING_COLUMN: neither the rows of the table nor the catalog have a column that the
 * mapping, which names this table alone, masks, cuts, hashes or excludes. */
Status captured_hidden_judge(const MappingConfig *mapping, const ChangeTable *table,
                             const ChangeCatalog *catalog, Error *err);
