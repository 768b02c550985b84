/* The text of a timestamptz, timestamp or date. */
#include <stdlib.h>
#include <string.h>

#include "base/timestamp.h"
#include "target.h"

/* What was read of the years 1000 to 9999 and is then written, is read as the same. */
static void check_round_trip(int64_t us)
{
    char scratch[TIMESTAMP_TEXT_MAX];
    Slice text = timestamp_format(us, scratch);
    if (text.length > TIMESTAMP_TEXT_MAX) {
        abort();
    }
    char *middle = memchr(text.data, 'T', text.length);
    if (middle != scratch + 10 || scratch[0] == '-' || scratch[0] == '0') {
        return;
    }
    *middle = ' ';
    int64_t again = 0;
    text.length--; /* Z */
    if (!timestamp_parse(text, &again) || again != us) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int64_t us = INT64_MIN;
    bool read = timestamp_parse((Slice){.data = (const char *)data, .length = size}, &us);
    if (read && us != INT64_MIN) {
        check_round_trip(us);
    } else if (!read && us != INT64_MIN) {
        abort();
    }
    return 0;
}
