/* change_field: a field of a Connect schema as JSON. */
#pragma once

#include <stdbool.h>

#include "base/text.h"
#include "change/change_type.h"

/* What a field's schema has besides its type. */
typedef struct ChangeField {
    bool optional;
    const char *parameter; /* one more, as JSON ("name":"value"); "" or NULL: none */
    const char *fallback;  /* its default as JSON; NULL: none */
    const char *name;      /* as JSON; NULL: it is no field */
} ChangeField;

/** Appends the schema as an object. */
void change_field_write(const ChangeType *type, const ChangeField *field, Text *out);
