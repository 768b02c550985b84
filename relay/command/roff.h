/* roff: texts of ours as a man page has them, in the macros of man(7). What would steer the
 * formatter is escaped, so that a text is shown as it is and can be copied from the page. */
#pragma once

#include "base/text.h"

/** Appends the head of a page: its title line, and NAME. */
void roff_add_head(Text *out, const char *page, int section, const char *summary);

/** Appends text within a line. */
void roff_add(Text *out, const char *text);

/** Appends paragraphs: a blank line stands between two, `backquotes` are bold. Each sentence begins
 * a line. Ends with a line end. */
void roff_add_words(Text *out, const char *words);

/** Appends a line of macro and argument: ".SH OPTIONS". */
void roff_add_macro(Text *out, const char *macro, const char *argument);

/** Appends flags as they are written ("-c, --config FILE") in one line, which ends: flags are bold,
 * what stands for a value is italic. */
void roff_add_flags(Text *out, const char *flags);

/** Likewise a synopsis ("[-c FILE] [--status]"), which is broken between brackets only. */
void roff_add_synopsis(Text *out, const char *synopsis);
