#include "token/token_mask.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "config/mask.h"
#include "token/token_named.h"

enum {
    SECRET_MIN = 4,
    RUN_MIN = 32,   /* hex of 16 bytes */
    MIXED_MIN = 20, /* of letters of both cases and digits */
    UUID_LENGTH = 36,
};

typedef struct Secrets {
    Slice *items;
    size_t count;
} Secrets;

/* What base64, base64url, hex, the dots of a JWT and the tildes of Azure are made of. */
static bool is_of_run(char c)
{
    return isalnum((unsigned char)c) || (c != '\0' && strchr("+/=_-.~", c) != NULL);
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

static bool is_path(const char *text, size_t length)
{
    static const char *const BEGINNINGS[] = {"/", "~/", "./", "../"};
    for (size_t i = 0; i < sizeof(BEGINNINGS) / sizeof(BEGINNINGS[0]); i++) {
        size_t begins = strlen(BEGINNINGS[i]);
        if (length >= begins && memcmp(text, BEGINNINGS[i], begins) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_mixed(const char *text, size_t length)
{
    bool upper = false;
    bool lower = false;
    bool digit = false;
    for (size_t i = 0; i < length; i++) {
        upper = upper || isupper((unsigned char)text[i]);
        lower = lower || islower((unsigned char)text[i]);
        digit = digit || isdigit((unsigned char)text[i]);
    }
    return upper && lower && digit;
}

/* Letters and digits mixed, so long that nobody has typed it; the pieces of paths and of host names
 * are shorter. */
static bool run_is_secret(const char *text, size_t length)
{
    if (is_uuid(text, length)) {
        return false;
    }
    if (length >= RUN_MIN && strncmp(text, "eyJ", 3) == 0) {
        return true;
    }
    if (length >= MIXED_MIN && !is_path(text, length) && is_mixed(text, length)) {
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

static void secrets_add(Secrets *secrets, Slice said, Slice secret)
{
    while (secret.length > 0 && isspace((unsigned char)secret.data[0])) {
        secret.data++;
        secret.length--;
    }
    while (secret.length > 0 && isspace((unsigned char)secret.data[secret.length - 1])) {
        secret.length--;
    }
    if (secret.length >= SECRET_MIN && said.length > 0 &&
        memmem(said.data, said.length, secret.data, secret.length) != NULL) {
        secrets->items[secrets->count++] = secret;
    }
}

/* Those of them that are in `said`. */
static Secrets secrets_of(Slice said, Slice secret, Slice printed)
{
    size_t lines = 1;
    for (size_t i = 0; i < printed.length; i++) {
        lines += printed.data[i] == '\n' || printed.data[i] == '\r';
    }
    Secrets secrets = {.items = x_calloc(lines + 1, sizeof(*secrets.items))};
    secrets_add(&secrets, said, secret);
    for (size_t i = 0, begin = 0; i <= printed.length; i++) {
        if (i == printed.length || printed.data[i] == '\n' || printed.data[i] == '\r') {
            secrets_add(&secrets, said, (Slice){.data = printed.data + begin, .length = i - begin});
            begin = i + 1;
        }
    }
    return secrets;
}

static size_t secret_at(Slice rest, const Secrets *secrets)
{
    size_t longest = 0;
    for (size_t i = 0; i < secrets->count; i++) {
        size_t length = secrets->items[i].length;
        if (length > longest && length <= rest.length &&
            memcmp(rest.data, secrets->items[i].data, length) == 0) {
            longest = length;
        }
    }
    return longest;
}

static size_t run_at(Slice rest, const Secrets *secrets)
{
    size_t run = 0;
    while (run < rest.length && is_of_run(rest.data[run]) &&
           (run == 0 || rest.data[run - 1] != '=' || rest.data[run] == '=') && /* a pair begins */
           (run == 0 || secret_at((Slice){.data = rest.data + run, .length = rest.length - run},
                                  secrets) == 0)) {
        run++;
    }
    return run;
}

/* What is shown of a piece: a byte, or a run that is no secret. */
static void mask_show(Text *masked, Slice piece)
{
    for (size_t i = 0; i < piece.length; i++) {
        text_add_char(masked, piece.data[i] != '\0' ? piece.data[i] : '?');
    }
}

static void mask_all(Slice said, const Secrets *secrets, Text *masked)
{
    TokenRange named = {0};
    for (size_t i = 0; i < said.length;) {
        if (named.begin < i || named.end == 0) {
            named = token_named_secret(said, i, &named) ? named : (TokenRange){0};
        }
        Slice rest = {.data = said.data + i, .length = said.length - i};
        size_t known = secret_at(rest, secrets);
        if (named.end > 0 && named.begin == i) {
            known = known > named.end - i ? known : named.end - i;
        }
        if (known > 0) {
            text_add(masked, MASK);
            i += known;
            continue;
        }
        rest.length = named.end > 0 ? named.begin - i : rest.length;
        size_t run = run_at(rest, secrets);
        if (run > 0 && run_is_secret(rest.data, run)) {
            text_add(masked, MASK);
        } else {
            mask_show(masked, (Slice){.data = rest.data, .length = run > 0 ? run : 1});
        }
        i += run > 0 ? run : 1;
    }
}

void token_mask_said(Slice said, Slice secret, Slice printed, Text *out)
{
    AUTO_BUFFER masked = TEXT_EMPTY;
    AUTO_BUFFER shown = TEXT_EMPTY;
    Secrets secrets = secrets_of(said, secret, printed);
    text_add(&masked, "");
    mask_all(said, &secrets, &masked);
    free(secrets.items);
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
