/* print: the configuration as people read it. */
#pragma once

#include "base/text.h"
#include "config/load.h"

/** Appends the complete commented sample: every option that is built, with its help, range, default
 * and environment name. It loads as it is; conf/outboxd.conf is this text. */
void print_sample(Text *text);

/** Appends the same layout with the effective values of a loading that succeeded, each with where
 * it came from; secrets are masked. */
void print_effective(Text *text, const Load *load);

/* What holds for the whole file: units, references, includes, what overrides it. Lines. */
extern const char PRINT_RULES[];

/** Appends the facts about an option that its help does not say: values or range, whether it is
 * required, its environment variable. "From 1s to 1h. Environment: OUTBOXD_...". */
void print_add_facts(Text *out, const Option *option);

/** Appends a JSON description of the option table. */
void print_schema(Text *text);
