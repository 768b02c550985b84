/* Numbers.
 *
 * A floating-point number arrives as the shortest text that is read as the same number
 * (extra_float_digits = 3), which are the digits that Java prints, too; only where one digit would
 * do, Java prints the two that are nearest. So digits and exponent are taken from the text and laid
 * out anew. A numeric of any length becomes a binary integer by Horner's scheme, 18 digits a step.
 */
#include "change/change_number.h"

#include <endian.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "change/change_json.h"

enum {
    DIGITS_MAX = 32,       /* of a floating-point number, more than any has */
    DECIMAL_MAX = 1 << 18, /* digits of a numeric with all zeros: 131,072 before the point, 16,383
                              behind it, and what a scale adds */
};

bool change_number_whole(Slice text, int64_t low, int64_t high, int64_t *ret)
{
    bool negative = text.length > 0 && text.data[0] == '-';
    size_t at = negative;
    if (at == text.length) {
        return false;
    }
    int64_t value = 0; /* kept negative: there is one more of these */
    size_t fits = text.length < 18 ? text.length : 18;
    for (; at < fits && (unsigned char)(text.data[at] - '0') <= 9; at++) {
        value = value * 10 - (text.data[at] - '0');
    }
    for (; at < text.length; at++) {
        int digit = text.data[at] - '0';
        if (digit < 0 || digit > 9 || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_sub_overflow(value, digit, &value)) {
            return false;
        }
    }
    if (!negative && __builtin_sub_overflow((int64_t)0, value, &value)) {
        return false;
    }
    *ret = value;
    return value >= low && value <= high;
}

ChangeSpecial change_number_special(Slice text)
{
    if (slice_equal(text, SLICE_LITERAL("NaN"))) {
        return SPECIAL_NAN;
    }
    if (slice_equal(text, SLICE_LITERAL("Infinity"))) {
        return SPECIAL_INFINITY;
    }
    return slice_equal(text, SLICE_LITERAL("-Infinity")) ? SPECIAL_MINUS_INFINITY : SPECIAL_NONE;
}

/* A number as text: its digits without zeros at either end, and where the point stands. */
typedef struct Digits {
    bool negative;
    size_t count;
    int point; /* 0.DIGITS times ten to this */
    char at[DIGITS_MAX];
} Digits;

/* "-1.5", "100", "1e+10", "1.5e-07". */
static bool read_digits(Slice text, Digits *digits)
{
    *digits = (Digits){0};
    size_t at = 0;
    digits->negative = text.length > 0 && text.data[0] == '-';
    at += digits->negative;
    bool any = false;
    bool point = false;
    size_t zeros = 0; /* not yet written */
    for (; at < text.length && text.data[at] != 'e'; at++) {
        char c = text.data[at];
        if (c == '.' && !point && any) {
            point = true;
            continue;
        }
        if (c < '0' || c > '9') {
            return false;
        }
        any = true;
        if (c == '0' && digits->count == 0) {
            digits->point -= point; /* a zero before the first digit counts behind the point only */
            continue;
        }
        digits->point += !point;
        if (c == '0') {
            zeros++;
            continue;
        }
        if (digits->count + zeros + 1 > DIGITS_MAX) {
            return false;
        }
        memset(digits->at + digits->count, '0', zeros);
        digits->count += zeros;
        zeros = 0;
        digits->at[digits->count++] = c;
    }
    if (at < text.length) {
        int64_t exponent = 0;
        Slice rest = {.data = text.data + at + 1, .length = text.length - at - 1};
        if (rest.length > 0 && rest.data[0] == '+') {
            rest = (Slice){.data = rest.data + 1, .length = rest.length - 1};
        }
        if (!change_number_whole(rest, -400, 400, &exponent)) {
            return false;
        }
        digits->point += (int)exponent;
    }
    return any;
}

/* Double.toString(): plain from 0.001 to 10,000,000, else with an exponent. */
static void write_java(Text *out, const Digits *digits)
{
    if (digits->negative) {
        text_add_char(out, '-');
    }
    if (digits->count == 0) {
        text_add(out, "0.0");
        return;
    }
    int count = (int)digits->count;
    if (digits->point < -2 || digits->point > 7) {
        text_append(out, digits->at, 1);
        text_add_char(out, '.');
        text_append(out, count > 1 ? digits->at + 1 : "0", count > 1 ? digits->count - 1 : 1);
        text_add_char(out, 'E');
        change_json_number(out, digits->point - 1);
        return;
    }
    if (digits->point <= 0) {
        text_add(out, "0.");
        for (int i = digits->point; i < 0; i++) {
            text_add_char(out, '0');
        }
        text_append(out, digits->at, digits->count);
        return;
    }
    for (int i = 0; i < digits->point; i++) {
        text_add_char(out, i < count ? digits->at[i] : '0');
    }
    text_add_char(out, '.');
    text_append(out, count > digits->point ? digits->at + digits->point : "0",
                count > digits->point ? (size_t)(count - digits->point) : 1);
}

static bool add_special(Text *out, ChangeSpecial special)
{
    static const char *const NAMES[] = {"", "\"NaN\"", "\"Infinity\"", "\"-Infinity\""};
    text_add(out, NAMES[special]);
    return special != SPECIAL_NONE;
}

/* Where one digit is enough, the two nearest ones: 5e-324 is 4.9E-324. */
static void second_digit(Digits *digits, Slice text, bool single)
{
    char copy[DIGITS_MAX + 8];
    if (digits->count != 1 || text.length >= sizeof(copy) ||
        (digits->point > -2 && digits->point <= 7)) {
        return;
    }
    memcpy(copy, text.data, text.length);
    copy[text.length] = '\0';
    char two[DIGITS_MAX];
    snprintf(two, sizeof(two), "%.1e", single ? (double)strtof(copy, NULL) : strtod(copy, NULL));
    (void)read_digits(slice_of(two), digits);
}

bool change_number_float(Text *out, Slice text, bool single)
{
    if (add_special(out, change_number_special(text))) {
        return true;
    }
    Digits digits;
    if (!read_digits(text, &digits)) {
        return false;
    }
    second_digit(&digits, text, single);
    write_java(out, &digits);
    return true;
}

bool change_number_double(Text *out, Slice text, Text *scratch)
{
    if (add_special(out, change_number_special(text))) {
        return true;
    }
    size_t at = text.length > 0 && text.data[0] == '-';
    if (at == text.length || strspn(text.data + at, "0123456789.") < text.length - at) {
        return false;
    }
    text_clear(scratch);
    text_add_slice(scratch, text);
    char *end = NULL;
    double value = strtod(text_string(scratch), &end);
    if (*end != '\0') {
        return false;
    }
    if (isinf(value)) {
        return add_special(out, value > 0 ? SPECIAL_INFINITY : SPECIAL_MINUS_INFINITY);
    }
    char shortest[DIGITS_MAX + 8];
    for (int precision = 14; precision <= 16; precision++) {
        snprintf(shortest, sizeof(shortest), "%.*e", precision, value);
        if (strtod(shortest, NULL) == value) {
            break;
        }
    }
    return change_number_float(out, slice_of(shortest), false);
}

/* A whole number in limbs of 32 bits, the lowest first. */
typedef struct Limbs {
    uint32_t *at;
    size_t count;
} Limbs;

static void limbs_times_plus(Limbs *limbs, uint32_t factor, uint32_t plus)
{
    uint64_t carry = plus;
    for (size_t i = 0; i < limbs->count; i++) {
        carry += (uint64_t)limbs->at[i] * factor;
        limbs->at[i] = (uint32_t)carry;
        carry >>= 32;
    }
    if (carry > 0) {
        limbs->at[limbs->count++] = (uint32_t)carry;
    }
}

/* Two's complement, big-endian, as few bytes as keep the sign; base64. */
static void add_complement(Text *out, const Limbs *limbs, bool negative, Text *scratch)
{
    text_clear(scratch);
    text_add_char(scratch, 0);
    for (size_t i = limbs->count; i-- > 0;) {
        for (int shift = 24; shift >= 0; shift -= 8) {
            text_add_char(scratch, (char)(limbs->at[i] >> shift));
        }
    }
    unsigned char *bytes = (unsigned char *)scratch->data;
    size_t length = scratch->length;
    unsigned carry = 1;
    for (size_t i = length; negative && i-- > 0;) {
        carry += (unsigned char)~bytes[i];
        bytes[i] = (unsigned char)carry;
        carry >>= 8;
    }
    size_t from = 0;
    while (from + 1 < length && (bytes[from] == 0 || bytes[from] == 0xFF) &&
           (bytes[from] & 0x80) == (bytes[from + 1] & 0x80)) {
        from++;
    }
    change_json_base64(out, bytes + from, length - from, false);
}

/* Digits, at most one point between them. */
static bool decimal_parts(Slice text, bool *negative, Slice *whole, Slice *fraction)
{
    *negative = text.length > 0 && text.data[0] == '-';
    Slice rest = {.data = text.data + *negative, .length = text.length - *negative};
    size_t digits = 0;
    while (digits < rest.length && rest.data[digits] >= '0' && rest.data[digits] <= '9') {
        digits++;
    }
    *whole = (Slice){.data = rest.data, .length = digits};
    *fraction = (Slice){.data = rest.data + digits, .length = 0};
    if (digits < rest.length) {
        if (rest.data[digits] != '.') {
            return false;
        }
        *fraction = (Slice){.data = rest.data + digits + 1, .length = rest.length - digits - 1};
        for (size_t i = 0; i < fraction->length; i++) {
            if (fraction->data[i] < '0' || fraction->data[i] > '9') {
                return false;
            }
        }
    }
    return digits > 0 && text.length < DECIMAL_MAX;
}

static void limbs_add_digits(Limbs *limbs, Slice digits)
{
    static const uint32_t POWERS[] = {1,      10,      100,      1000,      10000,
                                      100000, 1000000, 10000000, 100000000, 1000000000};
    for (size_t at = 0; at < digits.length;) {
        uint32_t group = 0;
        size_t end = at + 9 < digits.length ? at + 9 : digits.length;
        uint32_t power = POWERS[end - at];
        for (; at < end; at++) {
            group = group * 10 + (uint32_t)(digits.data[at] - '0');
        }
        limbs_times_plus(limbs, power, group);
    }
}

/* The same of a number of 64 bits, which nearly all are. */
static void add_small_complement(Text *out, int64_t value)
{
    uint64_t bits = htobe64((uint64_t)value);
    unsigned char bytes[sizeof(bits)];
    memcpy(bytes, &bits, sizeof(bits));
    unsigned char sign = value < 0 ? 0xFF : 0;
    size_t from = 0;
    while (from + 1 < sizeof(bytes) && bytes[from] == sign &&
           ((bytes[from + 1] ^ sign) & 0x80) == 0) {
        from++;
    }
    change_json_base64(out, bytes + from, sizeof(bytes) - from, false);
}

static int64_t small_of(Slice whole, Slice fraction, size_t wanted)
{
    int64_t value = 0;
    for (size_t i = 0; i < whole.length; i++) {
        value = value * 10 + (whole.data[i] - '0');
    }
    for (size_t i = 0; i < wanted; i++) {
        value = value * 10 + (i < fraction.length ? fraction.data[i] - '0' : 0);
    }
    return value;
}

bool change_number_decimal(Text *out, Slice text, int scale, Text *scratch, int *ret_scale)
{
    bool negative = false;
    Slice whole;
    Slice fraction;
    if (!decimal_parts(text, &negative, &whole, &fraction)) {
        return false;
    }
    while (fraction.length > 0 && fraction.data[fraction.length - 1] == '0') {
        fraction.length--;
    }
    size_t wanted = scale == CHANGE_SCALE_ANY ? fraction.length : (size_t)scale;
    if (fraction.length > wanted) {
        return false;
    }
    *ret_scale = (int)wanted;
    size_t digits = whole.length + wanted;
    if (digits <= 18) {
        int64_t value = small_of(whole, fraction, wanted);
        add_small_complement(out, negative ? -value : value);
        return true;
    }
    uint32_t few[16];
    Limbs limbs = {.at = digits > 9 * 14 ? x_calloc(digits / 9 + 2, sizeof(uint32_t)) : few};
    limbs_add_digits(&limbs, whole);
    limbs_add_digits(&limbs, fraction);
    for (size_t i = fraction.length; i < wanted; i++) {
        limbs_times_plus(&limbs, 10, 0);
    }
    add_complement(out, &limbs, negative, scratch);
    if (limbs.at != few) {
        free(limbs.at);
    }
    return true;
}

bool change_number_money(Slice text, Text *scratch)
{
    text_clear(scratch);
    bool negative = false;
    size_t behind = 0; /* digits behind the point */
    bool point = false;
    bool digits = false;
    for (size_t i = 0; i < text.length; i++) {
        char c = text.data[i];
        if (c >= '0' && c <= '9') {
            if (negative && !digits) {
                text_add_char(scratch, '-');
            }
            digits = true;
            behind += point;
            text_add_char(scratch, c);
        } else if (c == '.' && digits && !point) {
            point = true;
            text_add_char(scratch, c);
        } else if ((c == '-' || c == '(') && !digits) {
            negative = true;
        } else if (c != '$' && c != ',' && c != ')') {
            return false;
        }
    }
    return behind == 2;
}
