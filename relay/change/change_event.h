/* change_event: a change, as Debezium's records of it: key, value and headers, byte for byte.
 *
 * One ChangeEvents for each pipeline, on the loop thread. Records point into the arena that is
 * given, and to constants of the ChangeEvents and of the table. */
#pragma once

#include "base/arena.h"
#include "base/error.h"
#include "change/change_source.h"
#include "change/change_table.h"
#include "change/change_transaction.h"
#include "flow/record.h"

enum { CHANGE_RECORDS_MAX = 3, CHANGE_UUID_LENGTH = 36 };

typedef struct ChangeEvents ChangeEvents;

typedef struct ChangeOptions {
    ChangeModes modes;
    const char *prefix; /* topic_prefix */
    const char *database;
    const char *run; /* a UUID of this start */
} ChangeOptions;

ChangeEvents *change_events_new(const ChangeOptions *options);
void change_events_free(ChangeEvents **events);

typedef struct ChangeRecord {
    Slice topic;
    Slice key;   /* null: none */
    Slice value; /* null: a tombstone */
    const RecordHeader *headers;
    size_t header_count;
} ChangeRecord;

typedef struct ChangeRow {
    char op;              /* c, u, d, r, t */
    const Slice *old_row; /* NULL: not sent */
    const Slice *new_row; /* NULL: none */
    const ChangePlace *place;
    bool asked;   /* the catalog was asked for this row: a label of an enum that it does not have is
                     written all the same */
    bool awaited; /* values that were not sent are read later: the row is not refused for them */
} ChangeRow;

/* The records of one change. */
typedef struct ChangeRecords {
    ChangeRecord items[CHANGE_RECORDS_MAX];
    size_t count;
} ChangeRecords;

/** One record, a delete with its tombstone, or for a key that changes a delete, a tombstone and a
 * create. POISON / CHANGE_UNREADABLE when a value cannot be expressed. RETRY /
 * CHANGE_SCHEMA_STALE when the schema lacks a label of an enum: ask the catalog, make the table
 * anew, and come again with `asked`. Nothing of *ret is set then. */
Status change_event_row(ChangeEvents *events, const ChangeTable *table, const ChangeRow *row,
                        Arena *arena, ChangeRecords *ret, Error *err);

typedef struct ChangeMessage {
    Slice prefix;
    Slice content;
    const ChangePlace *place;
} ChangeMessage;

/** The topic of logical messages; lives as long as the ChangeEvents. */
Slice change_events_message_topic(const ChangeEvents *events);

/** The record of a logical message. POISON when its prefix is no UTF-8. */
Status change_event_message(ChangeEvents *events, const ChangeMessage *message, Arena *arena,
                            ChangeRecord *ret, Error *err);

/** That of a transaction's begin (ended: NULL) or end, at the LSN of that message. */
void change_event_transaction(ChangeEvents *events, const ChangeTransaction *ended,
                              const ChangePlace *place, Arena *arena, ChangeRecord *ret);

/** That of a heartbeat. */
void change_event_heartbeat(ChangeEvents *events, int64_t now_ms, Arena *arena, ChangeRecord *ret);
