/* row_headers: the row's own headers, a JSON object, as record headers. */
#pragma once

#include "base/error.h"
#include "encode/header_list.h"

/** True: the name belongs to the envelope, and the row's header of that name is left out. */
typedef bool HeaderReserved(Slice name);

/** Adds one header for each member: a string gives its text, null a header with a null value,
 * anything else its JSON text as it stands. A null slice adds nothing. New bytes come from the
 * list's arena. Members that are `reserved` (may be NULL) are left out and counted in
 * list->shadowed. POISON when json is not exactly one JSON object, or is beyond encode/limits.h. */
Status row_headers_add(Slice json, HeaderReserved *reserved, HeaderList *list, Error *err);
