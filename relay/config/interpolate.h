/* interpolate: ${env:NAME} and ${file:PATH}, which work in every string of the configuration.
 *
 * Templates use the same ${ for columns; the prefixes env: and file: decide. What was put in is not
 * looked at again. */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "base/text.h"

typedef struct Interpolation {
    char *const *environment; /* NAME=value..., ends with NULL */
    const char *directory;    /* relative file paths start here */
    bool keep_escapes;        /* of a template: leave $${ as it is, the router reads it */
    /** Appends what a reference stands for; rest is the text behind the reference. NULL: as it is.
     */
    void (*quote)(Text *result, const char *content, const char *rest);
    void *arg;
    /** Told of each file that was read, and of each value; either may be NULL. */
    void (*read_file)(void *arg, const char *path);
    void (*read_value)(void *arg, const char *value, const char *reference);
} Interpolation;

/** The text with its references replaced, in *ret_text, which the caller frees. A reference that
 * cannot be replaced (name unset, file unreadable, no closing brace) fails; *ret_message says why,
 * and the caller frees it. */
Status interpolate(const Interpolation *how, const char *text, char **ret_text, char **ret_message);

/** Appends the content of a secret file, without one newline at its end. Relative paths start at
 * how->directory. */
Status interpolate_file(const Interpolation *how, const char *path, Text *text, char **ret_message);

/** True for text that begins with ${env: or ${file:. */
bool interpolate_is_reference(const char *text);

/** Bytes of the reference at the start of text, with its braces; 0 when it has no closing brace. */
size_t interpolate_reference_length(const char *text);

/** Value of a name in an environment, or NULL; borrowed. */
const char *environment_get(char *const *environment, const char *name);
