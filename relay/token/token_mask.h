/* token_mask: what a token command wrote to stderr, for the log. */
#pragma once

#include "base/slice.h"
#include "base/text.h"

enum { TOKEN_SAID_MAX = 1024 };

/** Appends `said` as one line of at most TOKEN_SAID_MAX bytes, without what equals the secret or a
 * line of what the program printed (those of fewer than 4 bytes are nobody's), and without what
 * looks like one: what its name gives away (token_named.h), a JWT, 32 and more letters and digits
 * in a row that are no word, or 20 and more where small and capital letters are among them, unless
 * they are a path. */
void token_mask_said(Slice said, Slice secret, Slice printed, Text *out);
