/* CopyData of a walsender, and the same bytes as the text of a pg_lsn. */
#include <stdlib.h>
#include <string.h>

#include "cdc/wire.h"
#include "target.h"

enum { DATA_HEADER = 25, KEEPALIVE_BYTES = 18 };

static void check_message(const char *bytes, size_t length)
{
    WireMessage message;
    AUTO_ERROR err = {0};
    if (wire_read(bytes, length, &message, &err) != OK) {
        if (err.class != ERROR_RETRY || error_message(&err)[0] == '\0') {
            abort();
        }
    } else if (message.kind == WIRE_DATA) {
        if (message.data.data != bytes + DATA_HEADER ||
            message.data.length != length - DATA_HEADER) {
            abort();
        }
    } else if (length != KEEPALIVE_BYTES || !slice_is_null(message.data)) {
        abort();
    }
}

static void check_position(const char *text)
{
    uint64_t lsn = 0;
    uint64_t again = 0;
    char scratch[20];
    if (lsn_parse(text, &lsn) && (!lsn_parse(lsn_format(lsn, scratch), &again) || again != lsn)) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_message((const char *)data, size);
    char *text = malloc(size + 1);
    if (text == NULL) {
        return 0;
    }
    memcpy(text, data, size);
    text[size] = '\0';
    check_position(text);
    free(text);
    return 0;
}
