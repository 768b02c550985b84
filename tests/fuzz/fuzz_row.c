/* Rows of a binary COPY. The first byte of the input says how many extra columns the table has (0
 * to 3) and whether a file header comes first. */
#include <stdlib.h>

#include "rows/row.h"
#include "stub/given_schema.h"
#include "target.h"

static void check_row(const char *bytes, size_t length, size_t extra_count)
{
    Batch *batch = batch_new();
    Event *event = NULL;
    AUTO_ERROR err = {0};
    if (row_read(bytes, length, given_schema(extra_count), batch, &event, &err) == OK) {
        /* Every byte of the row belongs to something: 2 for the count, 12 for seq. */
        size_t least = 2 + 12 + 4;
        for (EventField field = FIELD_EVENT_ID; field < FIELD_OCCURRED_AT; field++) {
            least += 4 + event->row[field].length;
        }
        for (size_t i = 0; i < extra_count; i++) {
            least += 4 + event->row[FIELD_COUNT + i].length;
        }
        if ((length != least && length != least + 8) || batch->count != 1) {
            abort();
        }
    } else if (batch->count != 0 || batch->unsettled != 0 || err.class != ERROR_FATAL) {
        abort();
    }
    batch_free(&batch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    const char *bytes = (const char *)data + 1;
    size_t length = size - 1;
    AUTO_ERROR err = {0};
    if ((data[0] & 4) == 0 || row_skip_header(&bytes, &length, &err) == OK) {
        if (!row_is_trailer(bytes, length)) {
            check_row(bytes, length, data[0] & 3);
        }
    }
    return 0;
}
