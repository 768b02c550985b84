/* marker_owner: what a marker is made with, and what it tells its owner. Its parts know these, and
 * never the marker. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"
#include "flow/event.h"
#include "flow/stats.h"
#include "pg/conn.h"
#include "rows/history.h"
#include "rows/table.h"

typedef struct MarkerOwner {
    /** A statement failed: the owner closes everything. */
    void (*lost)(void *arg, const Error *err);
    /** The event is committed to the dead-letter table. */
    void (*aside)(void *arg, Event *event, ErrorCode reason);
    /** The server, whose connection is fine, refused that: the event is its owner's again. */
    void (*aside_refused)(void *arg, Event *event, ErrorCode reason, const Error *err);
    /** Of each row that marker_look_at() named: SourceEvents.row_looks. */
    void (*row_looks)(void *arg, EventRow row, uint64_t look);
    /** Marks, or a position, were committed. */
    void (*marked)(void *arg);
    /** The connection is free and nothing is waiting for it. */
    void (*idle)(void *arg);
    /** Another table has the name by now: nothing was marked, nothing will be until
     * marker_renamed(). */
    void (*replaced)(void *arg);
    /** A statement gave up waiting for somebody's lock: the connection is free for a moment. */
    void (*blocked)(void *arg);
    /** Others wait for the connection: nothing is sent now, and marker_next() is called when it is
     * the marker's turn. */
    bool (*yields)(const void *arg);
    /** A statement was refused (sqlstate_is_refusal) and is tried again each second: rows and
     * connection are kept. err NULL: it went through. NULL: not wanted, it is a loss. */
    void (*refused)(void *arg, const Error *err);
} MarkerOwner;

typedef struct MarkerOptions {
    struct event_base *base;
    const PipelineConfig *pipeline;
    const OutboxTable *table;
    Stats *stats;
    PgConn *conn; /* borrowed; shared with its owner, who sends only while it is not busy */
    /** What proves the history; the row of each session must be claimed by it. NULL: nothing is
     * proven, the row is written whoever owns it. */
    HistoryMemory *history;
    const MarkerOwner *owner;
    void *arg; /* of its functions */
} MarkerOptions;

/* What the owner found out about the server it is connected to. Texts are copied. */
typedef struct MarkerSession {
    uint32_t table_oid;    /* of the table that rows are read from */
    const char *row_table; /* of the row that proves the history: outbox.position, where there is a
                              position, else outbox.publisher; NULL: there is none */
    const char *row_key;   /* condition that finds it, beginning with a column's name */
    const char *row_ctid;  /* where it was claimed; NULL: it was not */
    const char *dead_letter;               /* name of that table as SQL, or NULL */
    const struct MarkerPosition *position; /* the committed one, or NULL */
} MarkerSession;
