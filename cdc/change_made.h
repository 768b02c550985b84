/* change_made: a record of relay/change becomes an event whose record is made already
 * (flow/made.h), or one that is refused: for the log (change_reader.c) and for a snapshot
 * (snapshot_rows.c) alike. */
#pragma once

#include "change/change_event.h"
#include "config/config.h"
#include "flow/event.h"

/* What people and dead letters see beside the record. */
typedef struct ChangeShown {
    Slice kind;  /* c, u, d, r, t, m, ... */
    Slice table; /* schema.table */
    Slice row;   /* of change_made_row(); null: none */
} ChangeShown;

/** The kind of an operation: one of c, u, d, t, r, m. */
Slice change_made_kind(char op);

/** What a dead letter keeps so that its row can be read again: the table, and the texts of its key.
 * Of the record at that place among `records` of a change. Null: nothing, or no letter is ever
 * written. */
Slice change_made_row(const PipelineConfig *pipeline, const ChangeTable *table,
                      const ChangeRow *row, size_t place, size_t records, Arena *arena);

/** The record is borrowed: it lives as long as the event's batch. */
void change_made_fill(const PipelineConfig *pipeline, Event *event, const ChangeRecord *record,
                      const ChangeShown *shown);

/** It cannot be a record: what is known of it, and why. */
void change_made_refuse(Event *event, Slice topic, const ChangeShown *shown, const Error *why);
