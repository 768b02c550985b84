/* The text of a pg_snapshot, and a transaction: the first four bytes of the input. The oracle is a
 * second reader, which knows the definition: a transaction is shown unless it began at or after
 * xmax or is among those that ran. Of a text that is no snapshot nothing is shown. */
#include <string.h>

#include "base/bytes.h"
#include "base/memory.h"
#include "check.h"
#include "rows/mark_queue.h"
#include "target.h"

/* Digits that are at most an xid8; false: none. */
static bool read_number(const char **at, uint64_t *ret_number)
{
    const char *begin = *at;
    uint64_t number = 0;
    for (; **at >= '0' && **at <= '9'; ++*at) {
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, (uint64_t)(**at - '0'), &number)) {
            return false;
        }
    }
    *ret_number = number;
    return *at > begin;
}

static bool shows(const char *text, uint32_t xid)
{
    uint64_t xmin = 0;
    uint64_t xmax = 0;
    bool running = false;
    const char *at = text;
    if (!read_number(&at, &xmin) || *at++ != ':' || !read_number(&at, &xmax) || *at++ != ':') {
        return false;
    }
    while (*at != '\0') {
        uint64_t one = 0;
        if (!read_number(&at, &one)) {
            return false;
        }
        running = running || (uint32_t)one == xid;
        if (*at == ',' && at[1] != '\0') {
            at++;
        } else if (*at != '\0') {
            return false;
        }
    }
    return !running && (int32_t)(xid - (uint32_t)xmax) < 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4) {
        return 0;
    }
    uint32_t xid = bytes_load_u32(data);
    AUTO_TEXT text = x_strndup((const char *)data + 4, size - 4); /* up to the first NUL */
    fuzz_check(mark_snapshot_shows(text, xid) == (xid == 0 || shows(text, xid)));
    return 0;
}
