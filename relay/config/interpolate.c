#include "config/interpolate.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"

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

/* Appends the content of a file, without one newline at its end. */
static Status interpolate_file(const Interpolation *how, const char *path, Text *text,
                               char **ret_message)
{
    AUTO_TEXT full = *path == '/' ? x_strdup(path) : x_format("%s/%s", how->directory, path);
    FILE *file = fopen(full, "re");
    if (file == NULL) {
        *ret_message = x_format("cannot read file \"%s\": %s", full, strerror(errno)); // NOLINT
        return FAILED;
    }
    char *content = x_malloc(SECRET_BYTES_MAX + 1);
    size_t length = fread(content, 1, SECRET_BYTES_MAX + 1, file);
    int failure = ferror(file) ? errno : 0;
    (void)fclose(file);
    Status status = FAILED;
    if (failure != 0) {
        *ret_message = x_format("cannot read file \"%s\": %s", full, strerror(failure)); // NOLINT
    } else if (length > SECRET_BYTES_MAX) {
        *ret_message = x_format("file \"%s\" is larger than 64 KiB", full);
    } else if (memchr(content, '\0', length) != NULL) {
        *ret_message = x_format("file \"%s\" contains a NUL byte", full);
    } else {
        length -= length > 0 && content[length - 1] == '\n' ? 1 : 0;
        length -= length > 0 && content[length - 1] == '\r' ? 1 : 0;
        text_append(text, content, length);
        status = OK;
    }
    explicit_bzero(content, SECRET_BYTES_MAX + 1);
    memory_free_text(&content);
    return status;
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

static bool interpolate_is_reference(const char *text)
{
    return strncmp(text, "${env:", 6) == 0 || strncmp(text, "${file:", 7) == 0;
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
            const char *end = strchr(c, '}');
            if (end == NULL) {
                *ret_message = x_format("\"%.6s...\" has no closing brace", c);
                return FAILED;
            }
            AUTO_TEXT reference = x_strndup(c + 2, (size_t)(end - c - 2));
            if (interpolate_one(how, reference, &result, ret_message) != OK) {
                return FAILED;
            }
            c = end + 1;
        } else {
            text_add_char(&result, *c++);
        }
    }
    *ret_text = result.data;
    result = TEXT_EMPTY;
    return OK;
}
