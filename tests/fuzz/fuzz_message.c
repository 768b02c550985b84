/* The content of a logical message with our prefix: any role may write one. The first byte of the
 * input says how many header columns the pipeline has (0 to 3).
 *
 * What is taken for an event has an id, types and texts that a row could hold; what is refused
 * leaves the batch as it was. */
#include <string.h>

#include "base/memory.h"
#include "base/utf8.h"
#include "check.h"
#include "rows/row.h"
#include "stub/given_schema.h"
#include "target.h"

static void check_text(const Event *event, EventField field)
{
    Slice text = event->row[field];
    fuzz_touch(text);
    bool needed =
        field == FIELD_EVENT_ID || field == FIELD_EVENT_TYPE || field == FIELD_AGGREGATE_TYPE;
    fuzz_check(!needed || text.length > 0);
    if (field != FIELD_PAYLOAD_BYTES && text.length > 0) {
        fuzz_check(utf8_valid(text.data, text.length) && memchr(text.data, 0, text.length) == NULL);
    }
}

/* With a byte less it is no event. */
static void check_end(Slice content, size_t extra_count)
{
    Batch *batch = batch_new();
    Event *event = NULL;
    content.length--;
    fuzz_check(row_read_message(arena_copy(&batch->arena, content), given_schema(extra_count), 0,
                                batch, &event, NULL) != OK);
    batch_free(&batch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    size_t extra_count = data[0] & 3;
    char *exact = x_malloc(size);
    memcpy(exact, data + 1, size - 1);
    Slice content = {.data = exact, .length = size - 1};
    Batch *batch = batch_new();
    Event *event = NULL;
    AUTO_ERROR err = {0};
    if (row_read_message(arena_copy(&batch->arena, content), given_schema(extra_count), 0, batch,
                         &event, &err) == OK) {
        memset(exact, '#', size - 1);
        fuzz_check(batch->count == 1 && batch->unsettled == 1 && event->seq == EVENT_NO_SEQ);
        for (EventField field = FIELD_EVENT_ID; field < FIELD_OCCURRED_AT; field++) {
            check_text(event, field);
        }
        for (size_t i = 0; i < extra_count; i++) {
            fuzz_check(slice_is_null(event->row[FIELD_COUNT + i]));
        }
        memcpy(exact, data + 1, size - 1);
        check_end(content, extra_count);
    } else {
        fuzz_check(batch->count == 0 && batch->unsettled == 0 && batch->bytes == 0);
        fuzz_check(err.class != ERROR_NONE && error_message(&err)[0] != '\0');
    }
    batch_free(&batch);
    free(exact);
    return 0;
}
