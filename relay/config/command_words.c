#include "config/command_words.h"

#include <string.h>

#include "base/text.h"
#include "config/lists.h"

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* One word, which begins at *at; false when a quote is not closed. */
static bool word_read(const char **at, Text *word)
{
    const char *c = *at;
    text_clear(word);
    text_add(word, "");
    while (*c != '\0' && !is_blank(*c)) {
        if (*c != '\'' && *c != '"') {
            text_add_char(word, *c++);
            continue;
        }
        const char *end = strchr(c + 1, *c);
        if (end == NULL) {
            return false;
        }
        text_append(word, c + 1, (size_t)(end - c - 1));
        c = end + 1;
    }
    *at = c;
    return true;
}

bool command_words_split(const char *command, StringList *words, const char **ret_reason)
{
    AUTO_BUFFER word = TEXT_EMPTY;
    size_t before = words->count;
    for (const char *c = command;;) {
        while (is_blank(*c)) {
            c++;
        }
        if (*c == '\0') {
            break;
        }
        if (!word_read(&c, &word)) {
            *ret_reason = "a quote is not closed";
            return false;
        }
        string_list_add(words, text_string(&word));
    }
    if (words->count == before) {
        *ret_reason = "it is empty";
        return false;
    }
    if (words->items[before][0] != '/') {
        *ret_reason = "its first word is not an absolute path";
        return false;
    }
    return true;
}
