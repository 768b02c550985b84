#include "cdc/copy_rows.h"

#include <stdlib.h>

#include "base/memory.h"
#include "rows/row.h"

struct CopyRows {
    bool header_read;
    Error error;
};

void copy_rows_begin(CopyRows *rows)
{
    rows->header_read = false;
    error_clear(&rows->error);
}

bool copy_rows_next(CopyRows *rows, const char *bytes, size_t length, Slice *ret_row)
{
    if (rows->error.class != ERROR_NONE) {
        return false;
    }
    if (!rows->header_read) {
        rows->header_read = true;
        if (row_skip_header(&bytes, &length, &rows->error) != OK || length == 0) {
            return false;
        }
    }
    if (row_is_trailer(bytes, length)) {
        return false;
    }
    *ret_row = (Slice){.data = bytes, .length = length};
    return true;
}

Error *copy_rows_error(CopyRows *rows)
{
    return &rows->error;
}

CopyRows *copy_rows_new(void)
{
    return x_calloc(1, sizeof(CopyRows));
}

void copy_rows_free(CopyRows **rows)
{
    if (*rows == NULL) {
        return;
    }
    error_clear(&(*rows)->error);
    free(*rows);
    *rows = NULL;
}
