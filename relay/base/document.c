/* A number with its digits is an object with the one key "", which no member has, and the digits as
 * text: jansson knows doubles, and would write 0.500 as 0.5. */
#include "base/document.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/timestamp.h"

enum { DIGITS_MAX = 352 }; /* of any double with "%.3f" */

static void document_set(json_t *object, const char *key, json_t *value)
{
    (void)json_object_set_new_nocheck(object, key, value);
}

void document_slice(json_t *object, const char *key, Slice value)
{
    document_set(object, key,
                 slice_is_null(value) ? json_null()
                                      : json_stringn_nocheck(value.data, value.length));
}

void document_text(json_t *object, const char *key, const char *value)
{
    document_slice(object, key, value != NULL ? slice_of(value) : SLICE_NULL);
}

void document_known(json_t *object, const char *key, const char *value)
{
    document_slice(object, key, *value != '\0' ? slice_of(value) : SLICE_NULL);
}

void document_bool(json_t *object, const char *key, bool value)
{
    document_set(object, key, json_boolean(value));
}

void document_count(json_t *object, const char *key, int64_t value)
{
    document_set(object, key, json_integer(value));
}

void document_time(json_t *object, const char *key, int64_t us)
{
    char scratch[TIMESTAMP_TEXT_MAX];
    document_slice(object, key, us > 0 ? timestamp_format(us, scratch) : SLICE_NULL);
}

void document_number(json_t *object, const char *key, const char *format, double value)
{
    if (isnan(value)) {
        document_null(object, key);
        return;
    }
    char digits[DIGITS_MAX];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(digits, sizeof(digits), format, value);
#pragma GCC diagnostic pop
    document_text(document_object(object, key), "", digits);
}

void document_null(json_t *object, const char *key)
{
    document_set(object, key, json_null());
}

json_t *document_object(json_t *object, const char *key)
{
    json_t *member = json_object();
    document_set(object, key, member);
    return member;
}

json_t *document_array(json_t *object, const char *key)
{
    json_t *member = json_array();
    document_set(object, key, member);
    return member;
}

json_t *document_item(json_t *array)
{
    json_t *item = json_object();
    (void)json_array_append_new(array, item);
    return item;
}

static void document_write_object(const json_t *object, Text *out)
{
    const char *digits = json_string_value(json_object_get(object, ""));
    if (digits != NULL && json_object_size(object) == 1) {
        text_add(out, digits);
        return;
    }
    const char *key;
    json_t *value;
    const char *between = "{";
    json_object_foreach((json_t *)object, key, value)
    {
        text_add(out, between);
        text_add_json(out, slice_of(key));
        text_add_char(out, ':');
        document_write(value, out);
        between = ",";
    }
    text_add(out, *between == '{' ? "{}" : "}");
}

/* As jansson writes it. */
static void document_write_real(double value, Text *out)
{
    size_t begin = out->length;
    text_printf(out, "%.17g", value);
    if (strpbrk(out->data + begin, ".e") == NULL) {
        text_add(out, ".0");
    }
}

static void document_write_array(const json_t *array, Text *out)
{
    size_t index;
    json_t *value;
    text_add_char(out, '[');
    json_array_foreach(array, index, value)
    {
        text_add(out, index > 0 ? "," : "");
        document_write(value, out);
    }
    text_add_char(out, ']');
}

void document_write(const json_t *document, Text *out)
{
    switch (json_typeof(document)) {
    case JSON_OBJECT:
        document_write_object(document, out);
        break;
    case JSON_ARRAY:
        document_write_array(document, out);
        break;
    case JSON_STRING:
        text_add_json(out, (Slice){.data = json_string_value(document),
                                   .length = json_string_length(document)});
        break;
    case JSON_INTEGER:
        text_printf(out, "%lld", (long long)json_integer_value(document));
        break;
    case JSON_REAL:
        document_write_real(json_real_value(document), out);
        break;
    case JSON_TRUE:
        text_add(out, "true");
        break;
    case JSON_FALSE:
        text_add(out, "false");
        break;
    case JSON_NULL:
        text_add(out, "null");
        break;
    }
}

void document_free(json_t **document)
{
    json_decref(*document);
    *document = NULL;
}
