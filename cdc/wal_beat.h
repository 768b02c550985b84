/* wal_beat: heartbeats of capture = "tables": a record each heartbeat_interval while the stream is
 * read, whatever happens in the database. */
#pragma once

#include "cdc/wal_stream.h"

typedef struct Beat Beat;

/** NULL where none are wanted. */
Beat *beat_new(const WalContext *wal, Stream *stream);
void beat_free(Beat **beat);
