#include <criterion/criterion.h>
#include <stdint.h>
#include <string.h>

#include "base/utf8.h"

/* Decodes by the definition, slowly: the length of the sequence, or 0. */
static size_t reference_sequence(const unsigned char *bytes, size_t length)
{
    static const struct {
        unsigned char mask, lead;
        uint32_t least;
    } FORMS[] = {{0x80, 0x00, 0}, {0xE0, 0xC0, 0x80}, {0xF0, 0xE0, 0x800}, {0xF8, 0xF0, 0x10000}};
    for (size_t form = 0; form < 4; form++) {
        if ((bytes[0] & FORMS[form].mask) != FORMS[form].lead || length < form + 1) {
            continue;
        }
        uint32_t code = bytes[0] & (unsigned char)~FORMS[form].mask;
        for (size_t i = 1; i <= form; i++) {
            if ((bytes[i] & 0xC0) != 0x80) {
                return 0;
            }
            code = code << 6 | (bytes[i] & 0x3F);
        }
        bool surrogate = code >= 0xD800 && code <= 0xDFFF;
        return code >= FORMS[form].least && code <= 0x10FFFF && !surrogate ? form + 1 : 0;
    }
    return 0;
}

Test(utf8, agrees_with_the_definition_for_every_three_bytes_and_a_fourth)
{
    for (uint32_t value = 0; value < 1U << 24; value++) {
        unsigned char bytes[4] = {(unsigned char)(value >> 16), (unsigned char)(value >> 8),
                                  (unsigned char)value, 0x80};
        size_t expected = reference_sequence(bytes, 4);
        if (utf8_sequence((const char *)bytes, 4) != expected) {
            cr_assert_fail("%02x %02x %02x 80: expected %zu", bytes[0], bytes[1], bytes[2],
                           expected);
        }
    }
}

Test(utf8, every_truncation_of_a_sequence_is_refused)
{
    const char *sequences[] = {"\xC3\xBC", "\xE2\x82\xAC", "\xF0\x9F\x98\x80"};
    for (size_t i = 0; i < 3; i++) {
        size_t whole = strlen(sequences[i]);
        cr_assert(utf8_valid(sequences[i], whole));
        for (size_t length = 1; length < whole; length++) {
            cr_assert_not(utf8_valid(sequences[i], length));
            cr_assert_eq(utf8_sequence(sequences[i], length), 0);
        }
    }
}

Test(utf8, the_empty_text_and_nul_bytes_are_valid)
{
    cr_assert(utf8_valid("", 0));
    cr_assert(utf8_valid("a\0b", 3));
}

Test(utf8, one_bad_byte_anywhere_makes_the_text_invalid)
{
    char text[] = "gr\xC3\xBC\xC3\x9F Gott, 20 \xE2\x82\xAC";
    size_t length = sizeof(text) - 1;
    cr_assert(utf8_valid(text, length));
    for (size_t i = 0; i < length; i++) {
        char kept = text[i];
        text[i] = (char)0xFF;
        cr_assert_not(utf8_valid(text, length));
        text[i] = kept;
    }
}

Test(utf8, what_is_cut_ends_with_a_whole_character)
{
    static const char TEXT[] = "aä€𝄞z"; /* 1 + 2 + 3 + 4 + 1 bytes */
    static const size_t LEFT[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 11, 11};
    for (size_t most = 0; most < sizeof(LEFT) / sizeof(LEFT[0]); most++) {
        cr_assert_eq(utf8_cut(TEXT, 11, most), LEFT[most], "%zu", most);
        size_t ended = most < 11 ? most : 11;
        cr_assert_eq(utf8_cut(TEXT, ended, 100), LEFT[most], "ended after %zu", most);
    }
    cr_assert_eq(utf8_cut("\x82\x82\x82\x82\x82", 5, 4), 4, "no text: as it is");
}
