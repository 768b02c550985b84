/* row_headers: the row's own headers, a JSON object, as record headers. */
#pragma once

#include "base/error.h"
#include "encode/header_list.h"

/* Names that belong to the envelope: the row's headers of these names are left out. */
typedef struct HeaderNames {
    const Slice *items;
    size_t count;
} HeaderNames;

/** Whether it is one of them, in upper or lower case. */
bool header_names_have(const HeaderNames *names, Slice name);

/** Adds one header for each member: a string gives its text, null a header with a null value,
 * anything else its JSON text as it stands. A null slice adds nothing. New bytes come from the
 * list's arena. Members that are `reserved` (may be NULL) are left out and counted in
 * list->shadowed. POISON when json is not exactly one JSON object, or is beyond encode/limits.h. */
Status row_headers_add(Slice json, const HeaderNames *reserved, HeaderList *list, Error *err);
