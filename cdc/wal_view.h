/* wal_view: what the source shows: what it knows of a row, its backlog, its slot (SourceOps). */
#pragma once

#include <jansson.h>

#include "cdc/change_reader.h"
#include "cdc/wal_stream.h"

typedef struct View View;

typedef struct ViewParts {
    const WalContext *wal;
    const Progress *progress;
    const Tables *tables;
    const WaitingRows *rows;
    const Waiting *waiting;
    const Assembler *assembler;
    const Stream *stream;
    ChangeReader *changes; /* of capture = "tables"; else NULL */
} ViewParts;

View *view_new(const ViewParts *parts);
void view_free(View **view);

SourceSight view_sight(const View *view, int64_t seq, Slice event_id, uint64_t insert_lsn);
double view_backlog(const View *view);
void view_status(const View *view, json_t *pipeline);
void view_slot(const View *view, json_t *slot);
