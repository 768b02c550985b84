#include "token/token_named.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

static const char *const NAMES[] = {
    "access-key",  "access_key",  "accesskey",     "accountkey", "api-key",    "api_key",
    "apikey",      "assertion",   "authorization", "bearer",     "cookie",     "credential",
    "credentials", "jwt",         "pass",          "passcode",   "passphrase", "passwd",
    "password",    "private-key", "private_key",   "privatekey", "pwd",        "secret",
    "secret-key",  "secret_key",  "secretkey",     "sig",        "signature",  "token"};
static const char *const SCHEMES[] = {"basic", "bearer", "digest", "negotiate", "token"};

static bool is_of_name(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '-' || c == '.';
}

static char said_at(Slice said, size_t at)
{
    return at < said.length ? said.data[at] : '\0';
}

static size_t skip(Slice said, size_t at, const char *these)
{
    while (said_at(said, at) != '\0' && strchr(these, said_at(said, at)) != NULL) {
        at++;
    }
    return at;
}

static bool is_quote(char c)
{
    return c == '"' || c == '\'';
}

/* The end of a value: the same quote, or what separates pairs. */
static size_t value_end(Slice said, size_t at, char quote)
{
    while (at < said.length) {
        char c = said.data[at];
        if (quote != '\0' ? c == quote : isspace((unsigned char)c) || strchr("&,;\"'<>)}]", c)) {
            break;
        }
        at += c == '\\' && at + 1 < said.length ? 2 : 1;
    }
    return at;
}

/* Of a value in JSON in JSON: the quote behind one backslash. Each level doubles those of the value
 * itself: behind three the quote is a part of it, behind five a backslash is the last of it. */
static size_t escaped_end(Slice said, size_t at, char quote)
{
    size_t backslashes = 0;
    for (; at < said.length; at++) {
        if (said.data[at] == quote && backslashes % 4 == 1) {
            return at - 1;
        }
        backslashes = said.data[at] == '\\' ? backslashes + 1 : 0;
    }
    return said.length;
}

static bool word_is(Slice said, TokenRange word, const char *const *words, size_t count, bool ends)
{
    size_t length = word.end - word.begin;
    for (size_t i = 0; i < count; i++) {
        size_t other = strlen(words[i]);
        if ((ends ? length >= other : length == other) &&
            strncasecmp(said.data + word.end - other, words[i], other) == 0) {
            return true;
        }
    }
    return false;
}

/* "Bearer " and the like: what follows is the secret. */
static size_t skip_scheme(Slice said, size_t at)
{
    size_t end = value_end(said, at, '\0');
    bool scheme =
        word_is(said, (TokenRange){at, end}, SCHEMES, sizeof(SCHEMES) / sizeof(SCHEMES[0]), false);
    return scheme ? skip(said, end, " \t") : at;
}

static bool take_value(Slice said, size_t at, TokenRange *ret_secret)
{
    at = skip_scheme(said, at);
    bool escaped = said_at(said, at) == '\\' && is_quote(said_at(said, at + 1)); /* JSON in JSON */
    at += escaped;
    char quote = is_quote(said_at(said, at)) ? said_at(said, at) : '\0';
    at += quote != '\0';
    size_t end = escaped ? escaped_end(said, at, quote) : value_end(said, at, quote);
    *ret_secret = (TokenRange){at, end};
    return ret_secret->end > at;
}

/* A word of prose is none, as in "password authentication failed". */
static bool take_word(Slice said, size_t at, TokenRange *ret_secret)
{
    if (!take_value(said, at, ret_secret)) {
        return false;
    }
    for (size_t i = ret_secret->begin; i < ret_secret->end; i++) {
        if (isdigit((unsigned char)said.data[i])) {
            return true;
        }
    }
    return false;
}

static bool named_value(Slice said, size_t at, TokenRange *ret_secret)
{
    static const char *const IS[] = {"is", "was"};
    TokenRange name = {at, at};
    while (name.end < said.length && is_of_name(said.data[name.end])) {
        name.end++;
    }
    if (name.end == at || !word_is(said, name, NAMES, sizeof(NAMES) / sizeof(NAMES[0]), true)) {
        return false;
    }
    size_t behind = skip(said, skip(said, name.end, "\\\"'"), " \t");
    char next = said_at(said, behind);
    if (next == '=' || next == ':' || (next == '>' && behind == name.end)) { /* also => and := */
        return take_value(said, skip(said, behind + 1, "=> \t"), ret_secret);
    }
    if (behind == name.end) {
        return false;
    }
    if (said.data[at] == '-') {
        return take_value(said, behind, ret_secret);
    }
    TokenRange word = {behind, value_end(said, behind, '\0')};
    bool is = word_is(said, word, IS, sizeof(IS) / sizeof(IS[0]), false);
    return take_word(said, is ? skip(said, word.end, " \t") : behind, ret_secret);
}

/* Behind "://": user:password@, or a token in the place of a user. */
static bool url_secret(Slice said, size_t at, TokenRange *ret_secret)
{
    if (at + 3 > said.length || memcmp(said.data + at, "://", 3) != 0) {
        return false;
    }
    size_t begin = at + 3;
    size_t host = 0;
    for (size_t i = begin; i < said.length && !isspace((unsigned char)said.data[i]) &&
                           strchr("/?#\"'<>", said.data[i]) == NULL;
         i++) {
        host = said.data[i] == '@' ? i : host;
    }
    if (host == 0) {
        return false;
    }
    const char *colon = memchr(said.data + begin, ':', host - begin);
    begin = colon != NULL ? (size_t)(colon - said.data) + 1 : begin;
    *ret_secret = (TokenRange){begin, host};
    return host > begin;
}

bool token_named_secret(Slice said, size_t at, TokenRange *ret_secret)
{
    if (url_secret(said, at, ret_secret)) {
        return true;
    }
    bool inside = at > 0 && (is_of_name(said.data[at - 1]) || said.data[at - 1] == '/');
    return !inside && named_value(said, at, ret_secret);
}
