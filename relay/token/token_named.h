/* token_named: secrets that a text gives away by what stands before them: the name of a password, a
 * token or a key, an option that is called so, or the user of a URL. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"

/* Bytes of a text: from `begin` up to `end`. */
typedef struct TokenRange {
    size_t begin;
    size_t end;
} TokenRange;

/** True when what begins at `at`, a name or "://", is followed by a secret: *ret_secret is where,
 * never empty and never before `at`.
 *
 * Known are name=value and name: value, also in quotes ("name": "value"), with a name that ends
 * with such a word; --name value; name value, "name is value", where the value has a digit; the
 * schemes of an Authorization; and the password in scheme://user:password@host. */
bool token_named_secret(Slice said, size_t at, TokenRange *ret_secret);
