/* file_format: what a record looks like in the file. */
#pragma once

#include "base/text.h"
#include "config/config.h"
#include "flow/event.h"
#include "flow/record.h"

/** Appends the record with its line end. json: one object without a line end in it,
 *
 *    {"topic":"…","key":"…","value":"…","headers":{"name":"…"},"id":"…","time":"2026-…Z"}
 *
 * in which bytes that are not UTF-8 stand as key_base64, value_base64 and headers_base64, and null
 * is a record without key, a tombstone, or a header without value. raw: the value's bytes; POISON
 * when they hold a line end. now_us: the time of a record that has none of its own. */
Status file_format_add(FileFormat format, const Record *record, const Event *event, int64_t now_us,
                       Text *text, Error *err);
