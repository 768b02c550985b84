/* wal_rotation: the table was renamed and made anew: marks turn to the next table, and an old one
 * is finished. */
#pragma once

#include "cdc/wal_publisher.h"
#include "cdc/wal_stream.h"

typedef struct WalRotation WalRotation;

typedef struct WalRotationParts {
    const WalContext *wal;
    const Progress *progress;
    Tables *tables;
    PositionRow *row;
    Verify *verify;
    const WaitingRows *rows;
    const Handover *handover;
    const Stream *stream;
    PublisherRows *publisher;
} WalRotationParts;

WalRotation *wal_rotation_new(const WalRotationParts *parts);
void wal_rotation_free(WalRotation **rotation);

/** Does what is due: turns to the table that is wanted (NEWS_TURNED), or sees whether the oldest
 * one is finished. */
void wal_rotation_go_on(WalRotation *rotation);
/** A start, or the connection is gone: nothing is asked any more. */
void wal_rotation_forget(WalRotation *rotation);
