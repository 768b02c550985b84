/* Accepted names are those of the tools that people have: `token`, `password`, `access_token` (RFC
 * 6749) and `accessToken` (az) for the secret; `expires_in`, `expires_at` and `expires_on` for its
 * life, as a number or as the text of one, as cloud metadata services write it. A JWT (RFC 7519)
 * says `exp` and `sub` itself; it is read, not verified: that is the server's. */
#include "token/token_output.h"

#include <assert.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/document.h"
#include "base/memory.h"
#include "base/timestamp.h"
#include "config/lists.h"

#define SECOND_US INT64_C(1000000)

enum { EXTENSIONS_MAX = 32 };
static const double MS_FROM = 1e11;    /* a Unix time this large is in ms: in seconds, year 5138 */
static const double SECONDS_MAX = 1e9; /* of a life: 31 years */

static const char *const SECRETS[] = {"token", "password", "access_token", "accessToken", NULL};
static const char *const ENDS[] = {"expires_at", "expires_on", NULL};

void token_content_free(TokenContent *content)
{
    if (content->secret != NULL) {
        explicit_bzero(content->secret, strlen(content->secret));
    }
    free(content->secret);
    free(content->principal);
    string_list_free(&content->extensions);
    *content = (TokenContent){0};
}

static Status output_invalid(Error *err, const char *message)
{
    return error_set(err, CODE_TOKEN_OUTPUT_INVALID, "%s", message);
}

/* Numbers, as JSON has them or in a text. */
static bool output_number(const json_t *value, double *ret_number)
{
    char *end = NULL;
    if (json_is_number(value)) {
        *ret_number = json_number_value(value);
        return true;
    }
    const char *text = json_string_value(value);
    if (text == NULL || *text < '0' || *text > '9') {
        return false;
    }
    *ret_number = strtod(text, &end);
    return *end == '\0' && isfinite(*ret_number);
}

/* RFC 3339. A time without a zone is somebody's local one, which is not ours to guess. */
static bool output_time(const char *text, int64_t *ret_us)
{
    size_t length = strlen(text);
    AUTO_BUFFER plain = TEXT_EMPTY;
    if (length < strlen("2026-11-28T09:12:44Z")) {
        return false;
    }
    bool utc = text[length - 1] == 'Z' || text[length - 1] == 'z';
    if (!utc && strpbrk(text + strlen("2026-11-28"), "+-") == NULL) {
        return false;
    }
    unsigned digits = 0;
    bool fraction = false;
    for (size_t i = 0; i < length - (utc ? 1 : 0); i++) {
        bool digit = text[i] >= '0' && text[i] <= '9';
        fraction = text[i] == '.' || (fraction && digit);
        digits = fraction ? digits + 1 : 0;
        if (digits <= 7) { /* the point and what a microsecond has */
            text_add_char(&plain, i == 10 && (text[i] == 'T' || text[i] == 't') ? ' ' : text[i]);
        }
    }
    return timestamp_parse(slice_of(text_string(&plain)), ret_us) && *ret_us > 0;
}

static void output_note_end(TokenContent *content, int64_t end_us)
{
    if (content->expires_us == 0 || end_us < content->expires_us) {
        content->expires_us = end_us;
    }
}

/* Of several ends the first counts. */
static Status output_read_life(const json_t *object, int64_t now_us, TokenContent *content,
                               Error *err)
{
    double number = 0;
    const json_t *in = json_object_get(object, "expires_in");
    if (in != NULL && !json_is_null(in)) {
        if (!output_number(in, &number) || number < 0 || number > SECONDS_MAX) {
            return output_invalid(err, "printed JSON whose expires_in is not a number of seconds");
        }
        output_note_end(content, now_us + (int64_t)(number * 1e6));
    }
    for (int i = 0; ENDS[i] != NULL; i++) {
        const json_t *at = json_object_get(object, ENDS[i]);
        int64_t end_us = 0;
        if (at == NULL || json_is_null(at)) {
            continue;
        }
        if (output_number(at, &number) && number > 0 && number < MS_FROM * 1000) {
            end_us = (int64_t)(number * (number >= MS_FROM ? 1e3 : 1e6));
        } else if (json_string_value(at) == NULL || !output_time(json_string_value(at), &end_us)) {
            return error_set(err, CODE_TOKEN_OUTPUT_INVALID,
                             "printed JSON whose %s is neither a Unix time nor a time with its "
                             "zone, such as 2026-11-28T09:12:44Z",
                             ENDS[i]);
        }
        output_note_end(content, end_us);
    }
    return OK;
}

static Status output_read_extensions(const json_t *object, TokenContent *content, Error *err)
{
    json_t *extensions = json_object_get(object, "extensions");
    const char *name = NULL;
    json_t *value = NULL;
    if (extensions == NULL || json_is_null(extensions)) {
        return OK;
    }
    if (!json_is_object(extensions) || json_object_size(extensions) > EXTENSIONS_MAX) {
        return output_invalid(err, "printed JSON whose extensions are not an object of at most 32 "
                                   "texts");
    }
    json_object_foreach(extensions, name, value)
    {
        if (!json_is_string(value)) {
            return output_invalid(err, "printed JSON with an extension that is not a text");
        }
        string_list_add(&content->extensions, name);
        string_list_add(&content->extensions, json_string_value(value));
    }
    return OK;
}

static Status output_read_object(const json_t *object, int64_t now_us, TokenContent *content,
                                 Error *err)
{
    const char *secret = NULL;
    for (int i = 0; SECRETS[i] != NULL; i++) {
        const json_t *value = json_object_get(object, SECRETS[i]);
        if (value == NULL || json_is_null(value)) {
            continue;
        }
        if (secret != NULL) {
            return output_invalid(err, "printed JSON with more than one of token, password, "
                                       "access_token and accessToken");
        }
        secret = json_string_value(value);
        if (secret == NULL || *secret == '\0' || strpbrk(secret, "\r\n") != NULL) {
            return error_set(err, CODE_TOKEN_OUTPUT_INVALID,
                             "printed JSON whose %s is not a text of one line", SECRETS[i]);
        }
    }
    if (secret == NULL) {
        return output_invalid(err, "printed JSON without token, password, access_token or "
                                   "accessToken");
    }
    content->secret = x_strdup(secret);
    const char *principal = json_string_value(json_object_get(object, "principal"));
    content->principal = x_strdup(principal != NULL ? principal : "");
    return output_read_life(object, now_us, content, err) == OK
               ? output_read_extensions(object, content, err)
               : FAILED;
}

/* JWT: base64url without padding. */

static int digit_of(char c)
{
    static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const char *at = c != '\0' ? strchr(DIGITS, c) : NULL;
    return at != NULL ? (int)(at - DIGITS) : -1;
}

static bool jwt_decode(const char *text, size_t length, Text *ret)
{
    unsigned bits = 0;
    int count = 0;
    for (size_t i = 0; i < length; i++) {
        int digit = digit_of(text[i]);
        if (digit < 0) {
            return false;
        }
        bits = (bits << 6 | (unsigned)digit) & 0xffffff;
        count += 6;
        if (count >= 8) {
            count -= 8;
            text_add_char(ret, (char)(bits >> count & 0xff));
        }
    }
    return true;
}

/* What the token says of itself, where the command said nothing. */
static void output_read_jwt(TokenContent *content)
{
    assert(content->secret != NULL);
    const char *body = strchr(content->secret, '.');
    const char *end = body != NULL ? strchr(body + 1, '.') : NULL;
    AUTO_BUFFER claims = TEXT_EMPTY;
    if (end == NULL || strchr(end + 1, '.') != NULL ||
        !jwt_decode(body + 1, (size_t)(end - body - 1), &claims)) {
        return;
    }
    AUTO(json_t, document_free)
    object = json_loadb(text_string(&claims), claims.length, 0, NULL);
    double exp = json_number_value(json_object_get(object, "exp"));
    const char *subject = json_string_value(json_object_get(object, "sub"));
    if (content->expires_us == 0 && exp > 0 && exp < MS_FROM) {
        content->expires_us = (int64_t)(exp * 1e6);
    }
    if (*content->principal == '\0' && subject != NULL) {
        free(content->principal);
        content->principal = x_strdup(subject);
    }
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f';
}

static Status output_read_text(Slice text, TokenContent *content, Error *err)
{
    if (memchr(text.data, '\n', text.length) != NULL ||
        memchr(text.data, '\r', text.length) != NULL) {
        return output_invalid(err, "printed several lines; it must print the secret alone, or one "
                                   "JSON object");
    }
    content->secret = x_strndup(text.data, text.length);
    content->principal = x_strdup("");
    return OK;
}

Status token_output_read(const char *bytes, size_t length, int64_t now_us,
                         TokenContent *ret_content, Error *err)
{
    Slice text = {.data = bytes, .length = length};
    while (text.length > 0 && is_space(text.data[0])) {
        text.data++;
        text.length--;
    }
    while (text.length > 0 && is_space(text.data[text.length - 1])) {
        text.length--;
    }
    if (text.length == 0) {
        return output_invalid(err, "printed nothing");
    }
    if (memchr(text.data, '\0', text.length) != NULL) {
        return output_invalid(err, "printed a NUL byte");
    }
    TokenContent content = {0};
    Status status = FAILED;
    if (text.data[0] == '{') {
        json_error_t problem;
        AUTO(json_t, document_free)
        object = json_loadb(text.data, text.length, JSON_REJECT_DUPLICATES, &problem);
        status = object != NULL
                     ? output_read_object(object, now_us, &content, err)
                     : error_set(err, CODE_TOKEN_OUTPUT_INVALID,
                                 "printed what begins as a JSON object and is none (line %d)",
                                 problem.line);
    } else {
        status = output_read_text(text, &content, err);
    }
    if (status != OK) {
        token_content_free(&content);
        return FAILED;
    }
    output_read_jwt(&content);
    *ret_content = content;
    return OK;
}
