/* mapped_name: schema.table of a mapping, as the server compares it.
 *
 * A part in double quotes is a name, taken as it is ("" is one quote in it). One without quotes is
 * folded to lower case, as SQL does, and may be a pattern: * any characters, ? one, [a-z] one of
 * these, [!a-z] none of these, \ before a character that is meant itself. The pattern becomes a
 * regular expression that every server compiles: a range that ends before it begins is nothing. */
#pragma once

#include <stdbool.h>

typedef struct MappedPart {
    char *text; /* the name, or the regular expression of the whole name */
    bool is_pattern;
} MappedPart;

typedef struct MappedName {
    MappedPart schema;
    MappedPart table;
} MappedName;

/** False, and nothing to free, when it is not two parts that are well-formed. */
bool mapped_name_read(const char *written, MappedName *ret);
void mapped_name_clear(MappedName *name);
