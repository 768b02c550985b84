/* value: how values of options read. */
#pragma once

#include "base/text.h"
#include "config/options.h"

/** Appends the range of a number: "1s to 10min". */
void value_add_range(Text *text, const Option *option);
