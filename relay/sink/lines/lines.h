/* lines: what the sinks share that write records one after the other to something that may block.
 *
 * Lines are collected on the loop thread; a run of them, the group, is written by a helper thread
 * of the sink's own (a disk that hangs, or a pipe that nobody reads, must hold up neither the loop
 * nor what other pipelines ask of theirs). While one group is on its way the next one collects, so
 * the slower the destination, the larger the groups. A group settles when all of it is written, and
 * not before; one that failed stays, as a whole, and is written again. Where only its first lines
 * had room, those settle, and the others are written next.
 *
 * A sink of this kind is a LinesWriter, which says how, and the SinkOps that name the functions
 * here. */
#pragma once

#include "flow/sink.h"

enum {
    LINES_BYTES_MAX = 4 * 1024 * 1024, /* of a group of several lines */
    LINES_EVENTS_MAX = 20000,
};

typedef struct LinesWriter LinesWriter;

/* How lines are written. Those of the helper thread are called one at a time, and may block. */
typedef struct LinesOps {
    /** Loop. Appends the record as a line, with a line end behind it and nowhere else; POISON: it
     * cannot be one. */
    Status (*format)(const LinesWriter *writer, const Record *record, const Event *event,
                     Text *text, Error *err);
    /** Helper. OK: of the lines, if there are any, *ret_stored bytes count as stored, whole lines
     * and at least one, and whatever they are written to is open. FAILED: none of them counts;
     * RETRY: they are written again later; FATAL: the sink is of no use any more. */
    Status (*write)(LinesWriter *writer, Slice lines, size_t *ret_stored, Error *err);
    /** Helper: closes what write() opened, until the next one. NULL: there is nothing to close. */
    void (*close)(LinesWriter *writer);
    /** Loop: write() was called for the first time since close(), and succeeded. NULL: as said. */
    void (*opened)(const LinesWriter *writer);
    /** Loop: when write() is to be called although there is nothing to write, wall clock; 0: never.
     * Not while it is under way. NULL: never. */
    int64_t (*due_us)(const LinesWriter *writer);
    /** Loop: nobody waits for what is under way any more. NULL: it ends by itself. */
    void (*give_up)(LinesWriter *writer);
    /** After the helper thread has ended. */
    void (*free)(LinesWriter *writer);
} LinesOps;

struct LinesWriter {
    const LinesOps *ops;
    size_t group_bytes; /* what a group of several lines takes at most; 0: LINES_BYTES_MAX */
};

/** Takes the writer, and frees it with the sink. */
Sink *lines_new(const SinkOps *ops, LinesWriter *writer, const SinkOptions *options);
const LinesWriter *lines_writer(const Sink *sink);

/* For SinkOps. */
void lines_open(Sink *sink);
SendResult lines_send(Sink *sink, const Record *record, Event *event, Error *err);
void lines_flush(Sink *sink);
/** Also for release(): closes what is open, so that another relay may have it. */
void lines_purge(Sink *sink);
void lines_reopen(Sink *sink);
void lines_status(const Sink *sink, json_t *json);
bool lines_finish(Sink *sink);
void lines_free(Sink *sink);
