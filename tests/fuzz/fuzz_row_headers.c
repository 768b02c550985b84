/* The headers of a row: text that should be one JSON object. */
#include <stdlib.h>

#include "encode/row_headers.h"
#include "target.h"

static size_t touch(Slice bytes)
{
    size_t sum = 0;
    for (size_t i = 0; i < bytes.length; i++) {
        sum += (unsigned char)bytes.data[i];
    }
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Arena arena = {0};
    HeaderList list;
    AUTO_ERROR err = {0};
    headers_begin(&list, &arena, 2);
    Slice json = arena_copy(&arena, (Slice){.data = (const char *)data, .length = size});
    Status status = row_headers_add(json, NULL, &list, &err);
    size_t sum = 0;
    for (size_t i = 0; i < list.count; i++) {
        if (status == OK && slice_is_null(list.items[i].name)) {
            abort();
        }
        sum += touch(list.items[i].name) + touch(list.items[i].value);
    }
    if ((status == OK && list.count > RECORD_HEADERS_MAX) ||
        (status != OK && err.class != ERROR_POISON) || sum > SIZE_MAX / 2) {
        abort();
    }
    arena_release(&arena);
    return 0;
}
