/* The content of a message of outbox.set_context: whatever it is, what is read of it keeps the
 * limits, and what is not read leaves the context as it was. */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "change/change_context.h"
#include "check.h"
#include "target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *exact = malloc(size > 0 ? size : 1);
    memcpy(exact, data, size);
    ChangeContext context;
    ChangeContext before;
    memset(&context, 'x', sizeof(context));
    before = context;
    if (!change_context_read((Slice){.data = exact, .length = size}, &context)) {
        fuzz_check(memcmp(&context, &before, sizeof(context)) == 0);
    } else {
        Arena arena = {0};
        size_t count = 0;
        const RecordHeader *headers = change_context_headers(&context, &arena, &count);
        fuzz_check(count <= CHANGE_CONTEXT_HEADERS);
        for (size_t i = 0; i < count; i++) {
            fuzz_check(headers[i].value.length > 0 &&
                       headers[i].value.length <= CHANGE_CONTEXT_ID_MAX);
            fuzz_check(utf8_valid(headers[i].value.data, headers[i].value.length));
            fuzz_touch(headers[i].name);
        }
        arena_release(&arena);
    }
    free(exact);
    return 0;
}
