/* change_label: whether the schema of an enum's column names a label that a row has.
 *
 * ALTER TYPE ... ADD VALUE sends no RELATION message, so the schema of a table may be older than
 * its rows: then the catalog is to be asked again. A label that was renamed since is not there
 * afterwards either; it is remembered, so that it is asked about once. */
#pragma once

#include <stdbool.h>

#include "base/slice.h"
#include "change/change_out.h"
#include "change/change_type.h"

/** Also true for one that the catalog does not have, once it was asked (out->asked). */
bool change_label_known(const ChangeType *type, Slice label, ChangeOut *out);
