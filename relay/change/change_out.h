/* change_out: where values are written, and memory that is used again for each of them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/text.h"
#include "base/vec.h"

typedef struct ChangePair {
    size_t key; /* where it begins in `parts` */
    size_t key_length;
    size_t value;
    size_t value_length;
    bool null;
    uint32_t bucket;
    uint32_t order;
} ChangePair;

/* A label of an enum that rows have and the catalog does not. */
typedef struct ChangeGone {
    uint32_t type;
    char *label;
} ChangeGone;

typedef struct ChangeOut {
    Text json;
    Text scratch;
    Text item;  /* of an array, without its quoting */
    Text parts; /* keys and values of an hstore */
    VEC(ChangePair) pairs;
    VEC(ChangeGone) gone;
    bool asked;   /* the catalog was asked for this row: what it does not know is written */
    bool awaited; /* values that were not sent are read later: nothing is refused for them */
} ChangeOut;

void change_out_free(ChangeOut *out);

typedef enum ChangeWritten {
    CHANGE_WRITTEN,
    CHANGE_AS_NULL, /* Debezium has no value for it (NaN in a precise numeric): as a NULL */
    CHANGE_BAD,     /* the text is no value of this type */
    CHANGE_STALE,   /* its schema does not know this label of an enum */
} ChangeWritten;
