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

typedef struct ChangeOut {
    Text json;
    Text scratch;
    Text item;  /* of an array, without its quoting */
    Text parts; /* keys and values of an hstore */
    VEC(ChangePair) pairs;
} ChangeOut;

void change_out_free(ChangeOut *out);

typedef enum ChangeWritten {
    CHANGE_WRITTEN,
    CHANGE_AS_NULL, /* Debezium has no value for it (NaN in a precise numeric): as a NULL */
    CHANGE_BAD,     /* the text is no value of this type */
} ChangeWritten;
