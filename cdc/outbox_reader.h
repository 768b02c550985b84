/* outbox_reader: what the log tells of an outbox -> events. */
#pragma once

#include "cdc/assemble.h"

#define MESSAGE_PREFIX "outboxd.event" /* of outbox.emit_message */

extern const LogReader OUTBOX_READER;
