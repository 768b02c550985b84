/* row: one row of COPY ... (FORMAT binary) -> Event. */
#pragma once

#include "base/error.h"
#include "flow/batch.h"

/** Takes off the file header that stands before the first row (PostgreSQL documentation, COPY,
 * "Binary Format": 11 bytes signature, 4 flags, 4 length of extension). FATAL when it is not there.
 */
Status row_skip_header(const char **bytes, size_t *length, Error *err);

/** True for the trailer: a field count of -1. */
bool row_is_trailer(const char *bytes, size_t length);

/** Adds the event of this row to the batch; its bytes are copied to the batch's arena. The columns
 * are those of table.c's select list, and of the outbox's schema. FATAL / EXIT_INTERNAL when the
 * bytes do not fit that. */
Status row_read(const char *bytes, size_t length, const Schema *schema, Batch *batch,
                Event **ret_event, Error *err);

/** The same for the content of a message of outbox.emit_message, which stays where it is (in the
 * batch's arena; bytes_max as of refusal_apply, 0: no limit): one row without extra columns and
 * without seq. The event has the extra columns of its schema, all NULL. Anybody may write a
 * message: also FAILED when a text is not well-formed UTF-8 or holds a NUL, which no row could
 * hold, or when the event has no id or no types. */
Status row_read_message(Slice content, const Schema *schema, int64_t bytes_max, Batch *batch,
                        Event **ret_event, Error *err);

/** For databases in SQL_ASCII: refuses each event with a text that is not UTF-8
 * (refusal_set_odd_text). */
void row_check_texts(Batch *batch);
