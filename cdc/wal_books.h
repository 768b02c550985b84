/* wal_books: what the source knows, remembers and writes down: the objects that those at work stand
 * on. */
#pragma once

#include "cdc/change_reader.h"
#include "cdc/outbox_reader.h"
#include "cdc/wal_ack.h"
#include "cdc/wal_gap.h"

typedef struct WalBooks {
    Tree *tree;
    Relations *relations;
    Assembler *assembler;
    OutboxReader *outbox;  /* of capture = "wal"; else NULL */
    ChangeReader *changes; /* of capture = "tables"; else NULL */
    Reselect *reselect;    /* of toast = "reselect"; else NULL */
    WalStart *start;
    Progress *progress;
    ServerLog *log;
    Gap *gap;
    Tables *tables;
    WaitingRows *rows;
    PositionRow *row;
    Verify *verify;
    Acks *acks;
} WalBooks;

WalBooks *wal_books_new(const WalContext *wal);
void wal_books_free(WalBooks **books);
