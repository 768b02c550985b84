#include "cdc/wal_parts.h"

#include <stdlib.h>

#include "base/memory.h"
#include "cdc/wal_fill.h"
#include "cdc/wal_snapshot.h"

static WalContext *parts_make_context(const SourceOptions *options, const WalOwner *owner,
                                      OutboxTable *table, WalParts *arg)
{
    WalContext *wal = x_calloc(1, sizeof(*wal));
    wal->options = options;
    wal->config = options->config;
    wal->pipeline = options->pipeline;
    wal->source = owner->source;
    wal->table = table;
    wal->arg = arg;
    wal->tell = owner->tell;
    wal->stand_by = owner->stand_by;
    wal->claim = claim_new(&(ClaimOptions){.source = options,
                                           .table = table,
                                           .events = owner->source,
                                           .reader = owner->reader,
                                           .arg = arg,
                                           .shared = wal_keeps_rows(wal)});
    wal->marker = claim_marker(wal->claim);
    wal->history = claim_history(wal->claim);
    return wal;
}

/* What reads, asks and decides. */
static void parts_make_work(WalContext *wal, const WalBooks *b, WalWork *w)
{
    w->between = between_new(wal, b->start, b->tables);
    w->rotation = wal_rotation_new(&(WalRotationParts){.wal = wal,
                                                       .progress = b->progress,
                                                       .tables = b->tables,
                                                       .row = b->row,
                                                       .verify = b->verify,
                                                       .rows = b->rows,
                                                       .handover = w->handover,
                                                       .stream = w->stream,
                                                       .publisher = between_publisher(w->between)});
    w->fill = wal->pipeline->capture == CAPTURE_TABLES
                  ? wal_snapshot_new(wal, b, w->handover)
                  : fill_new(&(FillParts){.wal = wal,
                                          .books = b,
                                          .waiting = w->waiting,
                                          .handover = w->handover,
                                          .rotation = w->rotation});
    w->session = wal_session_new(wal, b->start, b->log, w->waiting, b->relations);
    w->beat = beat_new(wal, w->stream);
    w->requeue = requeue_new(wal, b, w->handover, w->stream);
    w->ping = ping_new(wal, b->log, b->assembler);
    w->walsender = walsender_new(&(WalsenderParts){.wal = wal,
                                                   .start = b->start,
                                                   .gap = b->gap,
                                                   .progress = b->progress,
                                                   .waiting = w->waiting,
                                                   .assembler = b->assembler,
                                                   .fill = w->fill,
                                                   .stream = w->stream});
    w->slot = wal_slot_new(&(WalSlotParts){.wal = wal,
                                           .books = b,
                                           .waiting = w->waiting,
                                           .between = w->between,
                                           .fill = w->fill,
                                           .walsender = w->walsender});
    w->view = view_new(&(ViewParts){.wal = wal,
                                    .progress = b->progress,
                                    .tables = b->tables,
                                    .rows = b->rows,
                                    .waiting = w->waiting,
                                    .assembler = b->assembler,
                                    .stream = w->stream,
                                    .changes = b->changes});
}

Status wal_parts_new(const SourceOptions *options, const WalOwner *owner, WalParts **ret_parts,
                     Error *err)
{
    OutboxTable *table = NULL;
    if (table_new(options->pipeline, &table, err) != OK) {
        return FAILED;
    }
    WalParts *parts = x_calloc(1, sizeof(*parts));
    parts->options = x_malloc(sizeof(*parts->options));
    *parts->options = *options;
    WalContext *wal = parts->context = parts_make_context(parts->options, owner, table, parts);
    WalBooks *b = parts->books = wal_books_new(wal);
    WalWork *w = parts->work = x_calloc(1, sizeof(*w));
    w->waiting = waiting_new(wal, b->acks, b->progress, b->rows, b->row, b->tables);
    w->handover = handover_new(wal, b->progress, w->waiting, b->assembler, b->reselect);
    if (stream_new(&(StreamParts){.wal = wal,
                                  .log = b->log,
                                  .gap = b->gap,
                                  .progress = b->progress,
                                  .tables = b->tables,
                                  .verify = b->verify,
                                  .handover = w->handover,
                                  .relations = b->relations,
                                  .assembler = b->assembler},
                   &w->stream, err) != OK) {
        wal_parts_free(&parts);
        return FAILED;
    }
    parts_make_work(wal, b, w);
    *ret_parts = parts;
    return OK;
}

static void parts_free_work(WalWork *w)
{
    view_free(&w->view);
    wal_slot_free(&w->slot);
    walsender_free(&w->walsender);
    ping_free(&w->ping);
    requeue_free(&w->requeue);
    beat_free(&w->beat);
    wal_session_free(&w->session);
    filling_free(&w->fill);
    wal_rotation_free(&w->rotation);
    between_free(&w->between);
    stream_free(&w->stream);
    handover_free(&w->handover);
    waiting_free(&w->waiting);
    free(w);
}

void wal_parts_free(WalParts **parts)
{
    if (*parts == NULL) {
        return;
    }
    claim_free(&(*parts)->context->claim); /* nobody is answered any more */
    parts_free_work((*parts)->work);
    wal_books_free(&(*parts)->books);
    table_free(&(*parts)->context->table);
    free((*parts)->context);
    free((*parts)->options);
    free(*parts);
    *parts = NULL;
}
