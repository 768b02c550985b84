#include "change/change_hstore.h"

#include <stdlib.h>
#include <string.h>

#include "change/change_java.h"
#include "change/change_json.h"

typedef struct HstoreReader {
    const char *at;
    const char *end;
} HstoreReader;

static bool skip_text(HstoreReader *in, const char *text)
{
    size_t length = strlen(text);
    if ((size_t)(in->end - in->at) < length || memcmp(in->at, text, length) != 0) {
        return false;
    }
    in->at += length;
    return true;
}

/* A quoted text, without its quotes and backslashes, at the end of `parts`. */
static bool read_quoted(HstoreReader *in, Text *parts, size_t *ret_at, size_t *ret_length)
{
    if (!skip_text(in, "\"")) {
        return false;
    }
    *ret_at = parts->length;
    while (in->at < in->end && *in->at != '"') {
        if (*in->at == '\\' && ++in->at == in->end) {
            return false;
        }
        text_add_char(parts, *in->at++);
    }
    *ret_length = parts->length - *ret_at;
    return skip_text(in, "\"");
}

static bool read_pairs(Slice text, ChangeOut *out)
{
    HstoreReader in = {.at = text.data, .end = text.data + text.length};
    text_clear(&out->parts);
    out->pairs.count = 0;
    while (in.at < in.end) {
        if (out->pairs.count > 0 && !skip_text(&in, ", ")) {
            return false;
        }
        ChangePair pair = {.order = (uint32_t)out->pairs.count};
        if (!read_quoted(&in, &out->parts, &pair.key, &pair.key_length) || !skip_text(&in, "=>")) {
            return false;
        }
        pair.null = skip_text(&in, "NULL");
        if (!pair.null && !read_quoted(&in, &out->parts, &pair.value, &pair.value_length)) {
            return false;
        }
        *vec_add(&out->pairs) = pair;
    }
    return true;
}

static Slice part(const ChangeOut *out, size_t at, size_t length)
{
    return (Slice){.data = text_string(&out->parts) + at, .length = length};
}

static int by_bucket(const void *a, const void *b)
{
    const ChangePair *left = a;
    const ChangePair *right = b;
    if (left->bucket != right->bucket) {
        return left->bucket < right->bucket ? -1 : 1;
    }
    return left->order < right->order ? -1 : left->order > right->order;
}

static void sort_pairs(ChangeOut *out)
{
    uint32_t mask = change_java_mask(out->pairs.count);
    for (size_t i = 0; i < out->pairs.count; i++) {
        ChangePair *pair = &out->pairs.items[i];
        pair->bucket = change_java_hash(part(out, pair->key, pair->key_length)) & mask;
    }
    if (out->pairs.count > 1) {
        qsort(out->pairs.items, out->pairs.count, sizeof(ChangePair), by_bucket);
    }
}

static bool add_object(const ChangeOut *out, Text *json, bool (*add)(Text *, Slice))
{
    text_add_char(json, '{');
    for (size_t i = 0; i < out->pairs.count; i++) {
        const ChangePair *pair = &out->pairs.items[i];
        if (i > 0) {
            text_add_char(json, ',');
        }
        if (!add(json, part(out, pair->key, pair->key_length))) {
            return false;
        }
        text_add_char(json, ':');
        if (pair->null) {
            text_add(json, "null");
        } else if (!add(json, part(out, pair->value, pair->value_length))) {
            return false;
        }
    }
    text_add_char(json, '}');
    return true;
}

bool change_hstore_write(Slice text, ChangeHstore mode, ChangeOut *out)
{
    if (!read_pairs(text, out)) {
        return false;
    }
    sort_pairs(out);
    if (mode == HSTORE_MAP) {
        return add_object(out, &out->json, change_json_string);
    }
    text_clear(&out->scratch);
    return add_object(out, &out->scratch, change_json_inner) &&
           change_json_string(&out->json, (Slice){.data = text_string(&out->scratch),
                                                  .length = out->scratch.length});
}
