/* outbox_reader: what the log tells of an outbox -> events. */
#pragma once

#include "cdc/assemble.h"
#include "cdc/relation.h"
#include "rows/parked.h"

#define MESSAGE_PREFIX "outboxd.event" /* of outbox.emit_message */

typedef struct OutboxReader OutboxReader;

extern const LogReader OUTBOX_READER;

/** Both are borrowed. parked: rows that wait for their topic, as is known already; NULL: none. */
OutboxReader *outbox_reader_new(Relations *relations, const Parked *parked);
void outbox_reader_free(OutboxReader **reader);
