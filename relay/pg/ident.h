/* ident: names and texts from the configuration, quoted for SQL. */
#pragma once

#include "base/error.h"

/** "schema.table" or "table" as SQL reads it (folded to lower case unless in double quotes) becomes
 * "\"schema\".\"table\"", malloc'd. The error is FATAL / EXIT_CONFIG. */
Status ident_quote_table(const char *name, char **ret_quoted, Error *err);

/** One column name, taken literally, in double quotes; malloc'd. */
char *ident_quote(const char *name);

/** A string literal for SQL with standard_conforming_strings on, in single quotes; malloc'd. */
char *ident_literal(const char *text);
