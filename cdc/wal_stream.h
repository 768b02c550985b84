/* wal_stream: reading the stream, telling the server what is confirmed, following the log of
 * others while idle. */
#pragma once

#include "cdc/wal_gap.h"
#include "cdc/wal_handover.h"

typedef struct Stream Stream;

typedef struct StreamParts {
    const WalContext *wal;
    ServerLog *log;
    Gap *gap;
    Progress *progress;
    Tables *tables;
    Verify *verify;
    Handover *handover;
    Relations *relations;
    Assembler *assembler;
} StreamParts;

Status stream_new(const StreamParts *parts, Stream **ret_stream, Error *err);
void stream_free(Stream **stream);

/** START_REPLICATION was accepted on this connection, which stays its owner's. */
void stream_begin(Stream *stream, PgConn *walsender);
/** The stream is left, with the message that it holds. */
void stream_stop(Stream *stream);
/** There may be room again. */
void stream_wake(Stream *stream);
/** The message that is held, if one is, is taken now, and the stream goes on. */
void stream_go_on(Stream *stream);

/** Nothing is read from the end of the transaction that is read now on: NEWS_HELD follows, perhaps
 * at once, when what was read is handed on. */
void stream_hold(Stream *stream);
/** Goes on, or is not to be held any more. */
void stream_release(Stream *stream);

/** The right to publish was ours for sure, at the last look or by the stream. */
bool stream_lease_holds(const Stream *stream);
/** Tells the server what is confirmed; reply: and wants an answer. */
void stream_send_status(Stream *stream, bool reply);
/** Each pulse: says that we are there; after half a lease of silence wants an answer. */
void stream_watch(Stream *stream);
/** The end of the server's log was asked for: an idle outbox may follow it. */
void stream_follow(Stream *stream);

/** Adds a heartbeat behind what was read, unless there is no room or the one before is still out.
 */
void stream_beat(Stream *stream);

/** WAL end that the server told. */
uint64_t stream_received(const Stream *stream);
/** Everything that was sent is read. */
bool stream_is_caught_up(const Stream *stream);
