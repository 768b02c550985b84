#include "base/utf8.h"

#include <string.h>

static bool utf8_tail(unsigned char byte)
{
    return (byte & 0xC0U) == 0x80U;
}

size_t utf8_sequence(const char *bytes, size_t length)
{
    const unsigned char *b = (const unsigned char *)bytes;
    if (length == 0) {
        return 0;
    }
    if (b[0] < 0x80) {
        return 1;
    }
    if (b[0] >= 0xC2 && b[0] <= 0xDF) {
        return length >= 2 && utf8_tail(b[1]) ? 2 : 0;
    }
    if (b[0] >= 0xE0 && b[0] <= 0xEF) {
        if (length < 3 || !utf8_tail(b[1]) || !utf8_tail(b[2])) {
            return 0;
        }
        bool overlong = b[0] == 0xE0 && b[1] < 0xA0;
        bool surrogate = b[0] == 0xED && b[1] > 0x9F;
        return overlong || surrogate ? 0 : 3;
    }
    if (b[0] >= 0xF0 && b[0] <= 0xF4) {
        if (length < 4 || !utf8_tail(b[1]) || !utf8_tail(b[2]) || !utf8_tail(b[3])) {
            return 0;
        }
        bool overlong = b[0] == 0xF0 && b[1] < 0x90;
        bool beyond = b[0] == 0xF4 && b[1] > 0x8F;
        return overlong || beyond ? 0 : 4;
    }
    return 0;
}

uint32_t utf8_code(const char *bytes, size_t length)
{
    static const unsigned char FIRST[] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    uint32_t code = (unsigned char)bytes[0] & FIRST[length];
    for (size_t i = 1; i < length; i++) {
        code = code << 6 | ((unsigned char)bytes[i] & 0x3FU);
    }
    return code;
}

bool utf8_steers(uint32_t code)
{
    static const struct {
        uint32_t first;
        uint32_t last;
    } RANGES[] = {
        {0x00, 0x1F},     {0x7F, 0x9F},     {0x061C, 0x061C}, {0x200B, 0x200B}, {0x200E, 0x200F},
        {0x2028, 0x202E}, {0x2066, 0x206F}, {0xFEFF, 0xFEFF}, {0xFFF9, 0xFFFB}, {0xE0001, 0xE007F},
    };
    for (size_t i = 0; i < sizeof(RANGES) / sizeof(RANGES[0]); i++) {
        if (code >= RANGES[i].first && code <= RANGES[i].last) {
            return true;
        }
    }
    return false;
}

size_t utf8_cut(const char *bytes, size_t length, size_t most)
{
    size_t end = length < most ? length : most;
    for (size_t back = 1; back <= 3 && back <= end; back++) {
        unsigned char byte = (unsigned char)bytes[end - back];
        if (byte >= 0xC0) { /* begins a character, of so many bytes */
            size_t bytes_of = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : 2;
            return back < bytes_of ? end - back : end;
        }
        if (byte < 0x80) {
            break;
        }
    }
    return end;
}

bool utf8_valid(const char *bytes, size_t length)
{
    for (size_t i = 0; i < length;) {
        uint64_t word = 0;
        if (length - i >= sizeof(word)) {
            memcpy(&word, bytes + i, sizeof(word));
            if ((word & UINT64_C(0x8080808080808080)) == 0) { /* ASCII, as nearly everything is */
                i += sizeof(word);
                continue;
            }
        }
        size_t step = utf8_sequence(bytes + i, length - i);
        if (step == 0) {
            return false;
        }
        i += step;
    }
    return true;
}
