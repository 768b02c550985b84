#include "config/interpolate.h"

#include <string.h>

#include "base/memory.h"
#include "config/slurp.h"

enum { SECRET_BYTES_MAX = 64 * 1024 };

const char *environment_get(char *const *environment, const char *name)
{
    size_t length = strlen(name);
    for (; *environment != NULL; environment++) {
        if (strncmp(*environment, name, length) == 0 && (*environment)[length] == '=') {
            return *environment + length + 1;
        }
    }
    return NULL;
}

Status interpolate_file(const Interpolation *how, const char *path, Text *text, char **ret_message)
{
    AUTO_TEXT full = *path == '/' ? x_strdup(path) : x_format("%s/%s", how->directory, path);
    size_t before = text->length;
    if (slurp(full, "file ", SECRET_BYTES_MAX, text, ret_message) != OK) {
        return FAILED;
    }
    if (text->length > before && text->data[text->length - 1] == '\n') {
        text->length--;
    }
    if (text->length > before && text->data[text->length - 1] == '\r') {
        text->length--;
    }
    text->data[text->length] = '\0';
    if (how->read_file != NULL) {
        how->read_file(how->arg, full);
    }
    return OK;
}

/* reference is what stands between ${ and }. */
static Status interpolate_one(const Interpolation *how, const char *reference, Text *text,
                              char **ret_message)
{
    if (strncmp(reference, "file:", 5) == 0) {
        return interpolate_file(how, reference + 5, text, ret_message);
    }
    const char *value = environment_get(how->environment, reference + 4);
    if (value == NULL) {
        *ret_message = x_format("environment variable \"%s\" is not set", reference + 4);
        return FAILED;
    }
    text_add(text, value);
    return OK;
}

bool interpolate_is_reference(const char *text)
{
    return strncmp(text, "${env:", 6) == 0 || strncmp(text, "${file:", 7) == 0;
}

size_t interpolate_reference_length(const char *text)
{
    const char *end = strchr(text, '}');
    return end != NULL ? (size_t)(end - text) + 1 : 0;
}

/* The reference at the start of text, of that length with its braces. */
static Status interpolate_reference(const Interpolation *how, const char *text, size_t length,
                                    Text *result, char **ret_message)
{
    AUTO_TEXT reference = x_strndup(text + 2, length - 3);
    AUTO_BUFFER content = TEXT_EMPTY;
    text_add(&content, "");
    if (interpolate_one(how, reference, &content, ret_message) != OK) {
        return FAILED;
    }
    if (how->read_value != NULL) {
        AUTO_TEXT whole = x_strndup(text, length);
        how->read_value(how->arg, content.data, whole);
    }
    if (how->quote != NULL) {
        how->quote(result, content.data, text + length);
    } else {
        text_add(result, content.data);
    }
    explicit_bzero(content.data, content.length);
    return OK;
}

Status interpolate(const Interpolation *how, const char *text, char **ret_text, char **ret_message)
{
    AUTO_BUFFER result = TEXT_EMPTY;
    text_add(&result, "");
    for (const char *c = text; *c != '\0';) {
        if (c[0] == '$' && c[1] == '$' && c[2] == '{') {
            /* an escaped reference, or a template's literal */
            bool drop = !how->keep_escapes && interpolate_is_reference(c + 1);
            text_add(&result, drop ? "${" : "$${");
            c += 3;
        } else if (interpolate_is_reference(c)) {
            size_t length = interpolate_reference_length(c);
            if (length == 0) {
                *ret_message = x_format("\"%.6s...\" has no closing brace", c);
                return FAILED;
            }
            if (interpolate_reference(how, c, length, &result, ret_message) != OK) {
                return FAILED;
            }
            c += length;
        } else {
            text_add_char(&result, *c++);
        }
    }
    *ret_text = result.data;
    result = TEXT_EMPTY;
    return OK;
}
