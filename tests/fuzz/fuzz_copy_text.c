/* A row of COPY in the text format. The first byte is the number of values that were asked for. */
#include <stdlib.h>
#include <string.h>

#include "cdc/copy_text.h"
#include "target.h"

enum { VALUES_MAX = 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    size_t count = data[0] % (VALUES_MAX + 1);
    size_t length = size - 1;
    char *bytes = malloc(length + 1);
    Slice row[VALUES_MAX];
    AUTO_ERROR err = {0};
    memcpy(bytes, data + 1, length);
    Status status = copy_text_read(bytes, length, row, count, &err);
    size_t sum = 0;
    for (size_t i = 0; status == OK && i < count; i++) {
        bool inside = row[i].data == NULL ||
                      (row[i].data >= bytes && row[i].data + row[i].length < bytes + length);
        if (!inside) {
            abort();
        }
        sum += row[i].length;
    }
    if (sum > length || (status != OK && err.code != CODE_PG_PROTOCOL)) {
        abort();
    }
    free(bytes);
    return 0;
}
