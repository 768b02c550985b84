/* slurp: a whole file of the configuration, or a secret. Only regular files are read: a FIFO or a
 * device could keep us waiting for ever, or never end. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/text.h"

/** Appends the content of the file to text, at most `max` bytes. A failure is told in *ret_message,
 * which the caller frees, as `cannot read KIND"path": why`; kind is "" or "file ". */
Status slurp(const char *path, const char *kind, size_t max, Text *text, char **ret_message);

/** True when others than the owner and the group may read the file. */
bool slurp_is_public(const char *path);
