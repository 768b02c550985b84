#include "cdc/wal_books.h"

#include <stdlib.h>

#include "base/memory.h"

WalBooks *wal_books_new(const WalContext *wal)
{
    WalBooks *books = x_calloc(1, sizeof(*books));
    books->start = start_new(wal->pipeline);
    books->progress = progress_new();
    books->log = server_log_new();
    books->gap = gap_new(wal, books->progress);
    books->tables = tables_new(wal, books->log);
    books->rows = waiting_rows_new();
    books->relations = x_calloc(1, sizeof(*books->relations));
    books->relations->table = wal->table;
    books->tree = x_calloc(1, sizeof(*books->tree));
    books->relations->tree = books->tree;
    books->relations->old = tables_old(books->tables);
    books->assembler = x_calloc(1, sizeof(*books->assembler));
    books->assembler->pipeline = wal->pipeline;
    if (wal->pipeline->capture == CAPTURE_TABLES) {
        books->changes =
            change_reader_new(wal->pipeline, wal->table->schema, wal->options->metrics);
        books->assembler->reads = &CHANGE_READER;
        books->assembler->changes = books->changes;
        if (wal->pipeline->tables.toast == TOAST_RESELECT) {
            books->reselect = reselect_new(wal, books->start);
            change_reader_reselect(books->changes, books->reselect);
        }
    } else {
        books->outbox = outbox_reader_new(books->relations, waiting_rows_parked(books->rows));
        books->assembler->reads = &OUTBOX_READER;
        books->assembler->outbox = books->outbox;
    }
    books->row = position_new(wal, books->start, books->tables, books->rows, books->progress);
    books->verify = verify_new(wal, books->progress, books->row);
    books->acks = acks_new(&(AcksParts){.wal = wal,
                                        .tables = books->tables,
                                        .progress = books->progress,
                                        .verify = books->verify,
                                        .rows = books->rows,
                                        .assembler = books->assembler});
    return books;
}

void wal_books_free(WalBooks **books)
{
    WalBooks *b = *books;
    if (b == NULL) {
        return;
    }
    acks_free(&b->acks);
    verify_free(&b->verify);
    position_free(&b->row);
    assembler_release(b->assembler);
    reselect_free(&b->reselect);
    change_reader_free(&b->changes);
    outbox_reader_free(&b->outbox);
    free(b->assembler);
    relations_release(b->relations);
    free(b->relations);
    tree_release(b->tree);
    free(b->tree);
    waiting_rows_free(&b->rows);
    tables_free(&b->tables);
    gap_free(&b->gap);
    server_log_free(&b->log);
    progress_free(&b->progress);
    start_free(&b->start);
    free(b);
    *books = NULL;
}
