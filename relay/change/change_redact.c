#include "change/change_redact.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/utf8.h"
#include "change/change_json.h"

ChangeRedact change_redact_mask(size_t characters)
{
    char *mask = x_malloc(characters + 3);
    memset(mask, '*', characters + 2);
    mask[0] = mask[characters + 1] = '"';
    mask[characters + 2] = '\0';
    return (ChangeRedact){.kind = REDACT_MASK, .mask = mask};
}

ChangeRedact change_redact_hash(const char *salt, size_t column_length)
{
    ChangeRedact redact = {.kind = REDACT_HASH, .salted = sha256_begin(), .most = column_length};
    sha256_add(&redact.salted, slice_of(salt));
    return redact;
}

ChangeRedact change_redact_cut(size_t characters)
{
    return (ChangeRedact){.kind = REDACT_CUT, .most = characters};
}

void change_redact_clear(ChangeRedact *redact)
{
    free(redact->mask);
    *redact = (ChangeRedact){0};
}

void change_redact_parameter(const ChangeRedact *redact, Text *out)
{
    switch (redact->kind) {
    case REDACT_NONE:
        return;
    case REDACT_MASK:
    case REDACT_HASH:
        text_add(out, "\"masked\":\"true\"");
        return;
    case REDACT_CUT:
        text_printf(out, "\"truncateLength\":\"%zu\"", redact->most);
        return;
    }
}

static void write_hash(const ChangeRedact *redact, Slice text, Text *json)
{
    char digits[SHA256_HEX];
    Sha256 hash = redact->salted;
    sha256_add(&hash, text);
    sha256_end(&hash, digits);
    bool whole = redact->most == 0 || redact->most > SHA256_HEX;
    text_add_char(json, '"');
    text_append(json, digits, whole ? SHA256_HEX : redact->most);
    text_add_char(json, '"');
}

/* The beginning of the text that has so many UTF-16 units; a byte that is no UTF-8 ends it, too,
 * with itself, so that whoever writes it sees it. */
static Slice beginning(Slice text, size_t units)
{
    size_t at = 0;
    while (at < text.length) {
        size_t bytes = utf8_sequence(text.data + at, text.length - at);
        size_t taken = bytes == 4 ? 2 : 1;
        if (taken > units) {
            break;
        }
        if (bytes == 0) {
            at++;
            break;
        }
        units -= taken;
        at += bytes;
    }
    return (Slice){.data = text.data, .length = at};
}

ChangeWritten change_redact_write(const ChangeRedact *redact, Slice text, ChangeOut *out)
{
    switch (redact->kind) {
    case REDACT_NONE:
        break;
    case REDACT_MASK:
        text_add(&out->json, redact->mask);
        return CHANGE_WRITTEN;
    case REDACT_HASH:
        write_hash(redact, text, &out->json);
        return CHANGE_WRITTEN;
    case REDACT_CUT:
        return change_json_string(&out->json, beginning(text, redact->most)) ? CHANGE_WRITTEN
                                                                             : CHANGE_BAD;
    }
    return CHANGE_BAD;
}

char *change_redact_constant(const ChangeRedact *redact, const char *json, ChangeOut *out)
{
    json_t *value = json_loads(json, JSON_DECODE_ANY, NULL);
    Slice text = {.data = json_string_value(value), .length = json_string_length(value)};
    char *result = NULL;
    text_clear(&out->json);
    if (redact->kind == REDACT_MASK || (redact->kind != REDACT_NONE && text.data != NULL)) {
        (void)change_redact_write(redact, text, out);
        result = x_strdup(text_string(&out->json));
    } else {
        result = x_strdup(json);
    }
    json_decref(value);
    return result;
}
