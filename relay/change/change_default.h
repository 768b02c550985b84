/* change_default: a column's DEFAULT as Debezium reads its expression: a literal is its value, a
 * call of a function a zero, and most else nothing. */
#pragma once

#include "change/change_out.h"
#include "change/change_type.h"

/** The default as JSON, to be freed; NULL when there is none. `oid` is the column's own type, which
 * a domain is not. */
char *change_default_read(const ChangeType *type, uint32_t oid, bool is_enum,
                          const char *expression, ChangeOut *out);
