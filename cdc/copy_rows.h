/* copy_rows: COPY in binary, as pg/conn.h hands its pieces out: a header, rows, a trailer. What
 * goes wrong with one of them is kept until the end. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/slice.h"

typedef struct CopyRows CopyRows;

CopyRows *copy_rows_new(void);
void copy_rows_free(CopyRows **rows);
/** Another COPY begins. */
void copy_rows_begin(CopyRows *rows);
/** True: the piece holds this row. False also once something went wrong. */
bool copy_rows_next(CopyRows *rows, const char *bytes, size_t length, Slice *ret_row);
/** What went wrong first, to be filled in by whoever cannot read a row. Never NULL. */
Error *copy_rows_error(CopyRows *rows);
