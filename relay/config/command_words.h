/* command_words: the words of a command that the relay starts itself, without a shell.
 *
 * Blanks separate words. '...' and "..." keep what is between them as it is, and may be a part of a
 * word. Nothing is expanded: no variable, no pattern, no backslash. */
#pragma once

#include <stdbool.h>

#include "config/config.h"

/** Appends the words to *words. False: it is no command, and *ret_reason (static) says why. The
 * first word is the absolute path of a program: no search path of whoever started the relay chooses
 * which one gives it secrets. */
bool command_words_split(const char *command, StringList *words, const char **ret_reason);
