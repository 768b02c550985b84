/* change_row: rows of a table as JSON: whole, their keys, and keys as headers have them. */
#pragma once

#include "base/error.h"
#include "base/slice.h"
#include "change/change_out.h"
#include "change/change_table.h"

/** Appends a row as an object. An unchanged value is taken from `old` where that has it (NULL: it
 * has none). POISON / CHANGE_UNREADABLE when a value cannot be read: table and column are named.
 * RETRY / CHANGE_SCHEMA_STALE when the schema of an enum's column does not have a label. */
Status change_row_write(const ChangeTable *table, const Slice *row, const Slice *old,
                        ChangeOut *out, Error *err);

/** Appends the key of a row as an object; the table has one. */
Status change_row_write_key(const ChangeTable *table, const Slice *row, const Slice *old,
                            ChangeOut *out, Error *err);

/** Appends the same as Debezium writes it into a header. */
Status change_row_write_key_text(const ChangeTable *table, const Slice *row, const Slice *old,
                                 ChangeOut *out, Error *err);
