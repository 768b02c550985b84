#include "change/change_hex.h"

static int digit_of(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool change_hex_read(Slice digits, Text *bytes)
{
    if (digits.length % 2 != 0) {
        return false;
    }
    for (size_t at = 0; at < digits.length; at += 2) {
        int high = digit_of(digits.data[at]);
        int low = digit_of(digits.data[at + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        text_add_char(bytes, (char)(high << 4 | low));
    }
    return true;
}
