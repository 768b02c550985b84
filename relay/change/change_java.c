#include "change/change_java.h"

#include <string.h>

#include "base/utf8.h"
#include "change/change_time.h"

uint32_t change_java_hash(Slice key)
{
    uint32_t hash = 0;
    for (size_t at = 0; at < key.length;) {
        size_t length = utf8_sequence(key.data + at, key.length - at);
        if (length == 0) {
            return 0; /* such a text is refused when it is written */
        }
        uint32_t code = utf8_code(key.data + at, length);
        if (code >= 0x10000) {
            hash = hash * 31 + 0xD800 + ((code - 0x10000) >> 10);
            code = 0xDC00 + (code & 0x3FF);
        }
        hash = hash * 31 + code;
        at += length;
    }
    return hash ^ hash >> 16;
}

uint32_t change_java_mask(size_t count)
{
    uint32_t buckets = 16;
    while (count > buckets / 4 * 3) {
        buckets *= 2;
    }
    return buckets - 1;
}

void change_java_date(int64_t ms, Text *out)
{
    enum { DAY_MS = 86400000 };
    int64_t of_day = ms % DAY_MS + (ms % DAY_MS < 0 ? DAY_MS : 0);
    if (ms >= DAY_MS) {
        size_t begin = out->length;
        change_time_date_text(out, ms / DAY_MS);
        if (out->data[begin] == '+') { /* of a year beyond 9999, which SimpleDateFormat lacks */
            memmove(out->data + begin, out->data + begin + 1, out->length - begin);
            out->length--;
        }
        if (of_day == 0) {
            return;
        }
        text_add_char(out, 'T');
    }
    change_time_clock_text(out, of_day * 1000, 3);
    text_add_char(out, 'Z');
}
