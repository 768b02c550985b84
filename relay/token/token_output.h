/* token_output: what a token command prints, read.
 *
 * Either the secret alone, in one line, or a JSON object with it and its life. The bytes are those
 * of a foreign program and may be a secret wherever they stand: no message repeats any of them. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "config/config.h"

enum { TOKEN_OUTPUT_MAX = 64 * 1024 };

typedef struct TokenContent {
    char *secret;          /* NULL: none */
    char *principal;       /* "": it does not say */
    StringList extensions; /* name, value, name, value */
    int64_t expires_us;    /* wall clock; 0: it does not say */
} TokenContent;

/** Reads `length` bytes. now_us: wall clock when the program was started, for lives in seconds.
 * FAILED with a message that goes behind "OPTION " ("printed nothing"); the code is
 * TOKEN_OUTPUT_INVALID. The caller frees *ret_content. */
Status token_output_read(const char *bytes, size_t length, int64_t now_us,
                         TokenContent *ret_content, Error *err);

/** Overwrites and frees the texts: no content. */
void token_content_free(TokenContent *content);
