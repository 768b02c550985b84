#include "rows/mapped_name.h"

#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"

static char fold(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* Bytes of the character that begins here. */
static size_t character_length(const char *c)
{
    size_t length = 1;
    while (((unsigned char)c[length] & 0xC0) == 0x80) {
        length++;
    }
    return length;
}

/* Of a regular expression, outside of a set and in one: a backslash before what is no letter, digit
 * or part of a character is that character. */
static void add_literal(const char *c, size_t length, Text *out)
{
    if (length == 1 && !isalnum((unsigned char)*c) && *c != '_' && (unsigned char)*c < 0x80) {
        text_add_char(out, '\\');
    }
    char folded = fold(*c);
    text_append(out, &folded, 1);
    text_append(out, c + 1, length - 1);
}

/* One character of a set, which a backslash may precede; false at the end of the pattern. */
static bool set_character(const char **at, const char **ret, size_t *ret_length)
{
    const char *c = *at;
    c += *c == '\\' ? 1 : 0;
    if (*c == '\0') {
        return false;
    }
    *ret = c;
    *ret_length = character_length(c);
    *at = c + *ret_length;
    return true;
}

/* Bytes of UTF-8 are in the order of the characters. */
static bool is_range(const char *low, size_t low_length, const char *high, size_t high_length)
{
    size_t shorter = low_length < high_length ? low_length : high_length;
    char first[2] = {fold(*low), fold(*high)};
    int order = low_length == 1 && high_length == 1
                    ? (unsigned char)first[0] - (unsigned char)first[1]
                    : memcmp(low, high, shorter);
    return order < 0 || (order == 0 && low_length <= high_length);
}

/* Behind "[": reads up to behind "]". */
static bool add_set(const char **at, Text *out)
{
    AUTO_BUFFER members = TEXT_EMPTY;
    bool none_of = **at == '!' || **at == '^';
    *at += none_of ? 1 : 0;
    for (bool first = true; first || **at != ']'; first = false) {
        const char *low = NULL;
        const char *high = NULL;
        size_t low_length = 0;
        size_t high_length = 0;
        if (!set_character(at, &low, &low_length)) {
            return false;
        }
        if (**at != '-' || (*at)[1] == ']') {
            add_literal(low, low_length, &members);
            continue;
        }
        (*at)++;
        if (!set_character(at, &high, &high_length)) {
            return false;
        }
        if (is_range(low, low_length, high, high_length)) {
            add_literal(low, low_length, &members);
            text_add_char(&members, '-');
            add_literal(high, high_length, &members);
        }
    }
    (*at)++;
    if (members.length == 0) {
        text_add(out, none_of ? "." : "(?!)"); /* which nothing satisfies */
    } else {
        text_printf(out, "[%s%s]", none_of ? "^" : "", members.data);
    }
    return true;
}

static bool read_quoted(const char **at, Text *out)
{
    for (const char *c = *at + 1; *c != '\0'; c++) {
        if (*c == '"' && c[1] != '"') {
            *at = c + 1;
            return out->length > 0;
        }
        c += *c == '"' ? 1 : 0;
        text_add_char(out, *c);
    }
    return false;
}

/* Up to the dot behind it, or the end; plain: the same without what makes it an expression. */
static bool read_bare(const char **at, Text *expression, Text *plain, bool *ret_pattern)
{
    const char *c = *at;
    *ret_pattern = false;
    text_add_char(expression, '^');
    while (*c != '\0' && *c != '.') {
        if (*c == '"') {
            return false;
        }
        if (*c == '*' || *c == '?' || *c == '[') {
            *ret_pattern = true;
            char sign = *c++;
            if (sign == '[' && !add_set(&c, expression)) {
                return false;
            }
            text_add(expression, sign == '*' ? ".*" : sign == '?' ? "." : "");
            continue;
        }
        c += *c == '\\' ? 1 : 0;
        if (*c == '\0') {
            return false;
        }
        size_t length = character_length(c);
        add_literal(c, length, expression);
        text_add_char(plain, fold(*c));
        text_append(plain, c + 1, length - 1);
        c += length;
    }
    text_add_char(expression, '$');
    bool some = c > *at;
    *at = c;
    return some;
}

static bool read_part(const char **at, MappedPart *ret)
{
    AUTO_BUFFER plain = TEXT_EMPTY;
    AUTO_BUFFER expression = TEXT_EMPTY;
    bool pattern = false;
    bool whole =
        **at == '"' ? read_quoted(at, &plain) : read_bare(at, &expression, &plain, &pattern);
    if (whole) {
        ret->text = x_strdup(text_string(pattern ? &expression : &plain));
        ret->is_pattern = pattern;
    }
    return whole;
}

bool mapped_name_read(const char *written, MappedName *ret)
{
    const char *at = written;
    MappedName name = {0};
    bool whole =
        read_part(&at, &name.schema) && *at++ == '.' && read_part(&at, &name.table) && *at == '\0';
    if (!whole) {
        mapped_name_clear(&name);
        return false;
    }
    *ret = name;
    return true;
}

void mapped_name_clear(MappedName *name)
{
    free(name->schema.text);
    free(name->table.text);
    *name = (MappedName){0};
}
