/* wal_walsender: the connection of the stream: which history the server has, and START_REPLICATION.
 */
#pragma once

#include "cdc/wal_filling.h"
#include "cdc/wal_stream.h"
#include "cdc/wal_waiting.h"

typedef struct Walsender Walsender;

typedef struct WalsenderParts {
    WalContext *wal;
    WalStart *start;
    Gap *gap;
    Progress *progress;
    Waiting *waiting;
    Assembler *assembler;
    const Filling *fill;
    Stream *stream;
} WalsenderParts;

Walsender *walsender_new(const WalsenderParts *parts);
void walsender_free(Walsender **walsender);

/** Connects and asks for the history of the server: NEWS_IDENTIFIED. */
void walsender_open(Walsender *walsender);
void walsender_close(Walsender *walsender);
/** Begins the stream. */
void walsender_stream(Walsender *walsender);
/** For commands about the slot, between NEWS_IDENTIFIED and walsender_stream(). */
PgConn *walsender_conn(const Walsender *walsender);
