/* document: a JSON object that several hands fill, such as /status: each sets its own members with
 * these, in the order in which people read them, and document_write writes the whole.
 *
 * The tree is jansson's; what goes into it and how it is written is not. Texts may be no UTF-8 (a
 * database in SQL_ASCII), which jansson refuses; what would steer a terminal is escaped, which
 * jansson leaves; and numbers keep the digits that they were given. One thread. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "base/text.h"

/** A member that is null when value is. */
void document_text(json_t *object, const char *key, const char *value);
void document_slice(json_t *object, const char *key, Slice value);
/** The same, but null when it is "". */
void document_known(json_t *object, const char *key, const char *value);

void document_bool(json_t *object, const char *key, bool value);
void document_count(json_t *object, const char *key, int64_t value);
/** As ISO 8601, UTC; null when it is not positive. */
void document_time(json_t *object, const char *key, int64_t us);
/** As printf writes it by a format of one double, such as "%.3f"; null when it is NAN. */
void document_number(json_t *object, const char *key, const char *format, double value);
void document_null(json_t *object, const char *key);

/** A new member to fill; borrowed. */
json_t *document_object(json_t *object, const char *key);
json_t *document_array(json_t *object, const char *key);
/** A new object at the end of an array; borrowed. */
json_t *document_item(json_t *array);

/** Appends it, without white space. Takes trees of jansson's own, too. */
void document_write(const json_t *document, Text *out);

/** For AUTO(json_t, document_free). */
void document_free(json_t **document);
