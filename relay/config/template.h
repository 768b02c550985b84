/* template: topic and key templates, "${aggregate_type}.events". `$${` is a literal `${`. */
#pragma once

#include <stdbool.h>

#include "base/slice.h"

typedef struct TemplatePart {
    bool is_column;
    Slice text; /* the literal, or the name of the column; borrowed from the template */
} TemplatePart;

/** Takes the next part at *cursor and moves on; false at the end. A `${` without `}` comes as a
 * column whose text is the null slice, and ends the template. */
bool template_next(const char **cursor, TemplatePart *ret_part);

/** NULL when the pattern is a well-formed glob (*, ?, [...], \ before a literal), else what is
 * wrong, a static text. */
const char *glob_problem(const char *pattern);
