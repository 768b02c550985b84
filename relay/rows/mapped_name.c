#include "rows/mapped_name.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "config/table_rules.h"

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
    text_append(out, c, length);
}

/* One character of a set; false at the end of the pattern. */
static bool set_character(const char **at, const char **ret, size_t *ret_length)
{
    *ret = *at;
    *ret_length = **at != '\0' ? character_length(*at) : 0;
    *at += *ret_length;
    return *ret_length > 0;
}

/* Bytes of UTF-8 are in the order of the characters. */
static bool is_range(const char *low, size_t low_length, const char *high, size_t high_length)
{
    int order = memcmp(low, high, low_length < high_length ? low_length : high_length);
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

static bool part_read(TablePart *part, MappedPart *ret)
{
    AUTO_BUFFER expression = TEXT_EMPTY;
    text_add_char(&expression, '^');
    for (const char *c = part->name; part->pattern && *c != '\0';) {
        if (*c == '*' || *c == '?' || *c == '[') {
            char sign = *c++;
            if (sign == '[' && !add_set(&c, &expression)) {
                return false;
            }
            text_add(&expression, sign == '*' ? ".*" : sign == '?' ? "." : "");
        } else {
            size_t length = character_length(c);
            add_literal(c, length, &expression);
            c += length;
        }
    }
    text_add_char(&expression, '$');
    ret->text = x_strdup(part->pattern ? expression.data : part->name);
    ret->is_pattern = part->pattern;
    return true;
}

bool mapped_name_read(const char *written, MappedName *ret)
{
    TableName table = {0};
    MappedName name = {0};
    bool whole = table_name_read(written, &table) == NULL &&
                 part_read(&table.schema, &name.schema) && part_read(&table.table, &name.table);
    table_name_free(&table);
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
