/* wal_requeue: dead letters of changes that are to be published after all (`outboxd dead requeue`):
 * the rows of their keys are read as they are now, and published beside the stream.
 *
 *   look for letters ─▶ what is their table? ─▶ the stream stands between two transactions ─▶ read
 *   the rows ─▶ they go out, and the stream goes on ─▶ acknowledged: the letters are deleted
 *
 * So what was published of a row before is older than what is read, and what comes later comes
 * behind it. A letter stays asked for until it is deleted: whatever happens in between, it is found
 * again. A record that cannot be published either is a new letter, which nobody asked for. */
#pragma once

#include "cdc/wal_books.h"
#include "cdc/wal_handover.h"
#include "cdc/wal_stream.h"

typedef struct Requeue Requeue;

/** NULL unless capture = "tables". */
Requeue *requeue_new(const WalContext *wal, const WalBooks *books, Handover *handover,
                     Stream *stream);
void requeue_free(Requeue **requeue);

/** The stream stands where it was asked to. */
void requeue_held(Requeue *requeue);
/** A batch came back. */
void requeue_came_back(Requeue *requeue, const Batch *batch);
/** The stream was left. */
void requeue_close(Requeue *requeue);
