#include "token/token_mask.h"

#include <ctype.h>
#include <string.h>

#include "base/memory.h"
#include "config/mask.h"

enum {
    SECRET_MIN = 4,
    RUN_MIN = 32, /* hex of 16 bytes */
    UUID_LENGTH = 36,
};

/* What base64, base64url, hex and the dots of a JWT are made of. */
static bool is_of_run(char c)
{
    return isalnum((unsigned char)c) || (c != '\0' && strchr("+/=_-.", c) != NULL);
}

/* Request ids are worth more than they tell. */
static bool is_uuid(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? text[i] != '-' : !isxdigit((unsigned char)text[i])) {
            return false;
        }
    }
    return length == UUID_LENGTH;
}

/* Letters and digits mixed, so long that nobody has typed it; paths and host names are of shorter
 * pieces. */
static bool run_is_secret(const char *text, size_t length)
{
    if (is_uuid(text, length)) {
        return false;
    }
    if (length >= RUN_MIN && strncmp(text, "eyJ", 3) == 0) {
        return true;
    }
    size_t piece = 0;
    bool letter = false;
    bool digit = false;
    for (size_t i = 0; i < length; i++) {
        bool cut = text[i] == '/' || text[i] == '.';
        piece = cut ? 0 : piece + 1;
        letter = !cut && (letter || isalpha((unsigned char)text[i]));
        digit = !cut && (digit || isdigit((unsigned char)text[i]));
        if (piece >= RUN_MIN && letter && digit) {
            return true;
        }
    }
    return false;
}

static size_t secret_at(Slice rest, const Slice *secrets, size_t count)
{
    size_t longest = 0;
    for (size_t i = 0; i < count; i++) {
        size_t length = secrets[i].length;
        if (length >= SECRET_MIN && length > longest && length <= rest.length &&
            memcmp(rest.data, secrets[i].data, length) == 0) {
            longest = length;
        }
    }
    return longest;
}

void token_mask_said(Slice said, const Slice *secrets, size_t secret_count, Text *out)
{
    AUTO_BUFFER masked = TEXT_EMPTY;
    AUTO_BUFFER shown = TEXT_EMPTY;
    text_add(&masked, "");
    for (size_t i = 0; i < said.length;) {
        Slice rest = {.data = said.data + i, .length = said.length - i};
        size_t known = secret_at(rest, secrets, secret_count);
        if (known > 0) {
            text_add(&masked, MASK);
            i += known;
            continue;
        }
        size_t run = 0;
        while (run < rest.length && is_of_run(rest.data[run]) &&
               (run == 0 || secret_at((Slice){.data = rest.data + run, .length = rest.length - run},
                                      secrets, secret_count) == 0)) {
            run++;
        }
        if (run > 0 && run_is_secret(rest.data, run)) {
            text_add(&masked, MASK);
        } else {
            size_t length = run > 0 ? run : 1;
            for (size_t j = 0; j < length; j++) {
                text_add_char(&masked, rest.data[j] != '\0' ? rest.data[j] : '?');
            }
        }
        i += run > 0 ? run : 1;
    }
    text_add_shown(&shown, masked.data, false);
    char *line = text_fold(x_strdup(text_string(&shown)));
    size_t length = strlen(line);
    size_t kept = length <= TOKEN_SAID_MAX ? length : TOKEN_SAID_MAX - strlen(" ...");
    while (kept < length && kept > 0 && ((unsigned char)line[kept] & 0xc0) == 0x80) {
        kept--; /* not inside a character */
    }
    text_append(out, line, kept);
    text_add(out, kept < length ? " ..." : "");
    memory_free_text(&line);
}
