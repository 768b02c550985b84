/* token_mask: what a token command wrote to stderr, for the log. */
#pragma once

#include <stddef.h>

#include "base/slice.h"
#include "base/text.h"

enum { TOKEN_SAID_MAX = 1024 };

/** Appends `said` as one line of at most TOKEN_SAID_MAX bytes, without what equals one of the
 * secrets (those of fewer than 4 bytes are nobody's) and without what looks like one: a JWT, or 32
 * and more letters and digits in a row that are no word. */
void token_mask_said(Slice said, const Slice *secrets, size_t secret_count, Text *out);
