/* mapped_name: schema.table of a mapping (config/table_rules.h), as the server compares it.
 *
 * A name is compared as it is. A pattern (* any characters, ? one, [a-z] one of these, [!a-z] none
 * of these) becomes a regular expression that every server compiles: a range that ends before it
 * begins is nothing. */
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
