/* table_rules: what the name of a table, or a pattern of names, means. */
#pragma once

#include <stdbool.h>

typedef struct TablePart {
    char *name;   /* as the database has it: folded to lower case, or without its quotes */
    bool pattern; /* *, ? and [...] stand for others */
} TablePart;

typedef struct TableName {
    TablePart schema;
    TablePart table;
} TableName;

/** Reads schema.table; each part may be a pattern, or in double quotes. Returns what is wrong, a
 * static text, or NULL. Free in any case. */
const char *table_name_read(const char *text, TableName *ret);
void table_name_free(TableName *name);
bool table_name_same(const TableName *a, const TableName *b);
