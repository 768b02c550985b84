#include "change/change_array.h"

#include <string.h>

#include "change/change_number.h"

enum { DIMENSIONS_MAX = 6 }; /* PostgreSQL's MAXDIM */

typedef struct ArrayReader {
    const char *at;
    const char *end;
    char delimiter;
} ArrayReader;

/* "[0:1][2:3]=" in front: bounds that nothing is made of. */
static bool skip_bounds(ArrayReader *in)
{
    if (in->at == in->end || *in->at != '[') {
        return true;
    }
    const char *equals = memchr(in->at, '=', (size_t)(in->end - in->at));
    if (equals == NULL) {
        return false;
    }
    for (; in->at < equals; in->at++) {
        if (strchr("[]:-0123456789", *in->at) == NULL) {
            return false;
        }
    }
    in->at++;
    return true;
}

/* An element without its quotes and backslashes; *ret_null: it is NULL. */
static bool read_item(ArrayReader *in, Text *item, bool *ret_null)
{
    text_clear(item);
    bool quoted = *in->at == '"';
    in->at += quoted;
    while (in->at < in->end) {
        char c = *in->at;
        if (quoted ? c == '"' : (c == in->delimiter || c == '}')) {
            break;
        }
        if (c == '\\' && ++in->at == in->end) {
            return false;
        }
        if (!quoted && (c == '{' || c == '"')) {
            return false;
        }
        text_add_char(item, *in->at++);
    }
    if (in->at == in->end) {
        return false;
    }
    in->at += quoted;
    *ret_null = !quoted && item->length == 4 && memcmp(item->data, "NULL", 4) == 0;
    return quoted || item->length > 0;
}

static bool is_decimal(const ChangeType *type)
{
    return type->shape >= SHAPE_DECIMAL && type->shape <= SHAPE_DECIMAL_DOUBLE;
}

static ChangeWritten write_item(const ChangeType *type, ArrayReader *in, ChangeArrayWriter writer,
                                bool first, ChangeOut *out)
{
    bool null = false;
    if (!read_item(in, &out->item, &null)) {
        return CHANGE_BAD;
    }
    if (!first) {
        text_add_char(&out->json, ',');
    }
    if (null && !type->element_required) {
        text_add(&out->json, "null");
        return CHANGE_WRITTEN;
    }
    Slice text = {.data = text_string(&out->item), .length = out->item.length};
    if (null || (is_decimal(type->element) && change_number_special(text) != SPECIAL_NONE)) {
        return CHANGE_AS_NULL;
    }
    ChangeWritten written = writer(type->element, text, out);
    if (written != CHANGE_AS_NULL) {
        return written;
    }
    text_add(&out->json, "null"); /* of a timestamp: this element alone has no value */
    return CHANGE_WRITTEN;
}

ChangeWritten change_array_write(const ChangeType *type, Slice text, ChangeArrayWriter writer,
                                 ChangeOut *out)
{
    ArrayReader in = {
        .at = text.data, .end = text.data + text.length, .delimiter = type->delimiter};
    if (!skip_bounds(&in)) {
        return CHANGE_BAD;
    }
    text_add_char(&out->json, '[');
    int depth = 0;
    bool first = true;
    bool item_may_follow = true; /* or a brace that opens; else a delimiter or one that closes */
    bool opened = false;         /* by the character before: one that closes may follow, too */
    ChangeWritten result = CHANGE_WRITTEN;
    while (in.at < in.end) {
        char c = *in.at;
        if (c == '{' && item_may_follow && depth < DIMENSIONS_MAX) {
            depth++;
            in.at++;
            opened = true;
        } else if (c == '}' && depth > 0 && (opened || !item_may_follow)) {
            opened = false;
            depth--;
            in.at++;
            item_may_follow = false;
            if (depth == 0) {
                break;
            }
        } else if (c == in.delimiter && !item_may_follow && depth > 0) {
            in.at++;
            item_may_follow = true;
        } else if (depth > 0 && item_may_follow) {
            ChangeWritten written = write_item(type, &in, writer, first, out);
            if (written == CHANGE_BAD || written == CHANGE_STALE) {
                return written;
            }
            result = written == CHANGE_AS_NULL ? CHANGE_AS_NULL : result;
            first = opened = false;
            item_may_follow = false;
        } else {
            return CHANGE_BAD;
        }
    }
    text_add_char(&out->json, ']');
    return depth == 0 && in.at == in.end && !item_may_follow ? result : CHANGE_BAD;
}
