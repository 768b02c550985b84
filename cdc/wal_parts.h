/* wal_parts: the objects that the source is made of: each with a header of its own, each given
 * those before it that it needs. wal.c owns them, and is the only file that sees all. */
#pragma once

#include <assert.h>
#include <stddef.h>

#include "cdc/wal_beat.h"
#include "cdc/wal_books.h"
#include "cdc/wal_filling.h"
#include "cdc/wal_ping.h"
#include "cdc/wal_requeue.h"
#include "cdc/wal_rotation.h"
#include "cdc/wal_session.h"
#include "cdc/wal_slot.h"
#include "cdc/wal_view.h"

/* What is at work. */
typedef struct WalWork {
    Waiting *waiting;
    Handover *handover;
    Stream *stream;
    Between *between;
    WalRotation *rotation;
    Filling *fill;
    Beat *beat;
    Requeue *requeue; /* of capture = "tables"; else NULL */
    WalSession *session;
    Ping *ping;
    Walsender *walsender;
    WalSlot *slot;
    View *view;
} WalWork;

typedef struct WalParts {
    SourceOptions *options; /* a copy */
    WalContext *context;
    WalBooks *books;
    WalWork *work;
} WalParts;

/* What the pipeline holds. */
typedef struct WalSource {
    Source source; /* first */
    WalParts *parts;
} WalSource;

static_assert(offsetof(WalSource, source) == 0, "a Source of its operations is cast to it");

/* Whose they are. */
typedef struct WalOwner {
    Source *source;
    const ClaimReader *reader;
    void (*tell)(void *arg, WalNews news);
    void (*stand_by)(void *arg, const char *holder);
} WalOwner; /* the arg of all of these is the WalParts */

Status wal_parts_new(const SourceOptions *options, const WalOwner *owner, WalParts **ret_parts,
                     Error *err);
void wal_parts_free(WalParts **parts);
