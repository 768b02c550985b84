/* interpolate: ${env:NAME} and ${file:PATH}, which work in every string of the configuration.
 *
 * Templates use the same ${ for columns; the prefixes env: and file: decide. What was put in is not
 * looked at again. */
#pragma once

#include <stdbool.h>

#include "base/error.h"

typedef struct Interpolation {
    char *const *environment; /* NAME=value..., ends with NULL */
    const char *directory;    /* relative file paths start here */
    bool keep_escapes;        /* of a template: leave $${ as it is, the router reads it */
} Interpolation;

/** The text with its references replaced, in *ret_text, which the caller frees. A reference that
 * cannot be replaced (name unset, file unreadable, no closing brace) fails; *ret_message says why,
 * and the caller frees it. */
Status interpolate(const Interpolation *how, const char *text, char **ret_text, char **ret_message);

/** Value of a name in an environment, or NULL; borrowed. */
const char *environment_get(char *const *environment, const char *name);
