/* change_hstore: an hstore as JSON, in the order in which Java's HashMap gives its keys. */
#pragma once

#include <stdbool.h>

#include "base/slice.h"
#include "change/change_out.h"
#include "config/change_mode.h"

/** Appends an object, or a string that holds one. False: the text is no hstore. */
bool change_hstore_write(Slice text, ChangeHstore mode, ChangeOut *out);
