/* captured_names: every name by which this process met a column of a table, by the number of the
 * column (pg_attribute.attnum), which a rename leaves as it is. A mapping may mean the column by
 * any of them. */
#pragma once

#include "base/slice.h"
#include "change/change_catalog.h"

typedef struct CapturedName {
    uint16_t number;
    bool certain; /* false: it may have been another column's, of a number close by */
    char *name;
} CapturedName;

typedef struct CapturedNames {
    VEC(CapturedName) items;
} CapturedNames;

/** number 0: it is not known, and nothing is kept. */
void captured_names_add(CapturedNames *names, uint16_t number, Slice name, bool certain);
void captured_names_add_all(CapturedNames *names, const CapturedNames *from);
void captured_names_meet(CapturedNames *names, const ChangeTableFacts *table);
/** What was met becomes aliases of the columns, and these are met. */
void captured_names_apply(CapturedNames *names, ChangeTableFacts *table);
void captured_names_clear(CapturedNames *names);
