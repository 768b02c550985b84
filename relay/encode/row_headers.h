/* row_headers: the row's own headers, a JSON object, as record headers. */
#pragma once

#include "base/error.h"
#include "encode/header_list.h"

/** Adds one header for each member: a string gives its text, null a header with a null value,
 * anything else its JSON text as it stands. A null slice adds nothing. New bytes come from the
 * list's arena. POISON when json is not exactly one JSON object, is nested deeper than 64, or has
 * more than RECORD_HEADERS_MAX members. */
Status row_headers_add(Slice json, HeaderList *list, Error *err);
