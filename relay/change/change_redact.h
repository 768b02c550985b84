/* change_redact: a column of which records show less than the table holds: asterisks, a hash, or
 * the beginning of its text, as Debezium's column.mask.with.N.chars, column.mask.hash.v2 and
 * column.truncate.to.N.chars make them. Made with the table; constant afterwards. */
#pragma once

#include "base/sha256.h"
#include "base/slice.h"
#include "base/text.h"
#include "change/change_out.h"

typedef enum ChangeRedactKind {
    REDACT_NONE,
    REDACT_MASK,
    REDACT_HASH,
    REDACT_CUT
} ChangeRedactKind;

typedef struct ChangeRedact {
    ChangeRedactKind kind;
    char *mask;    /* REDACT_MASK: its JSON; owned */
    Sha256 salted; /* REDACT_HASH: a hash that has had the salt */
    size_t most;   /* REDACT_HASH, REDACT_CUT: so many UTF-16 units are left; 0: all */
} ChangeRedact;

/** So many asterisks, whatever the value is, NULL among them. */
ChangeRedact change_redact_mask(size_t characters);
/** SHA-256 of salt and text, of which as many digits are left as the column takes (0: all). */
ChangeRedact change_redact_hash(const char *salt, size_t column_length);
/** So many UTF-16 units, but never the half of a pair. */
ChangeRedact change_redact_cut(size_t characters);
void change_redact_clear(ChangeRedact *redact);

/** Appends the parameter that a field's schema has for it; nothing for REDACT_NONE. */
void change_redact_parameter(const ChangeRedact *redact, Text *out);

/** Appends to out->json what records have of this text; not for REDACT_NONE. */
ChangeWritten change_redact_write(const ChangeRedact *redact, Slice text, ChangeOut *out);

/** What stands for a value that is a constant of the column: null, or JSON of a string. To be
 * freed. */
char *change_redact_constant(const ChangeRedact *redact, const char *json, ChangeOut *out);
