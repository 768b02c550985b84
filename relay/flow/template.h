/* template: "${column}" texts for topics and keys, compiled once. "$${" stands for "${". */
#pragma once

#include "base/arena.h"
#include "base/error.h"
#include "flow/event.h"

typedef struct Template Template;

/** Compiles text for rows of this schema, which it does not keep. The error is FATAL / EXIT_CONFIG.
 */
Status template_compile(const char *text, const Schema *schema, Template **ret_template,
                        Error *err);
void template_free(Template **template);

/** The text for this event, whose row is of the schema, in arena or borrowed from the event. When a
 * column is NULL: the null slice if the template is that column alone, else the empty string stands
 * for it and *ret_null is true. */
Slice template_render(const Template *template, const Event *event, Arena *arena, bool *ret_null);

/** A glob (fnmatch) that every text of this template matches; the caller frees it. */
char *template_glob(const Template *template);

/** The constant text if the template has no column, else NULL. */
const char *template_constant(const Template *template);
