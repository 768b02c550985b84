/* change_envelope: the parts of Debezium's schemas that no table changes. */
#pragma once

#include "base/text.h"

/** Appends the fields of an envelope behind before and after, with commas between. */
void change_envelope_fields(Text *out);

typedef enum ChangeHead {
    HEAD_MESSAGE_KEY,
    HEAD_MESSAGE_VALUE,
    HEAD_HEARTBEAT_KEY,
    HEAD_HEARTBEAT_VALUE,
    HEAD_TRANSACTION_KEY,
    HEAD_TRANSACTION_VALUE,
} ChangeHead;

/** What stands before the payload of a record that carries its schema; to be freed. content: what a
 * message's is, "bytes" or "string". */
char *change_envelope_head(ChangeHead head, const char *content);
