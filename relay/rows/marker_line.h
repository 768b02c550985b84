/* marker_line: the connection of a marker as its parts see it. What is in the way of a statement
 * (somebody's lock, a refusal), when it is tried again, and who hears of that.
 *
 * A part sends a statement when the marker calls it, and says in the end how it went: line_ends()
 * for most. Then line_go_on() lets the marker decide what comes next. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "rows/mark_queue.h"
#include "rows/marker_owner.h"

typedef struct MarkerLine MarkerLine;

/* What the marker hears. */
typedef struct MarkerLineEvents {
    /** The connection is free again. */
    void (*go_on)(void *arg);
    /** The server compares what cannot be compared any more: a column's type was changed. */
    void (*types_changed)(void *arg);
} MarkerLineEvents;

/** All must outlive it. queue: how many rows wait for a lock is said. */
MarkerLine *line_new(const MarkerOptions *options, const MarkQueue *queue,
                     const MarkerLineEvents *events, void *arg);
void line_free(MarkerLine **line);

/** Marks go to this table: whose lock is in the way is asked of it. */
void line_aim(MarkerLine *line, uint32_t table_oid);
/** The session is over: nothing is in the way of the next one. */
void line_stop(MarkerLine *line);
/** From now on a refusal is a loss. */
void line_drain(MarkerLine *line);
bool line_drains(const MarkerLine *line);

const MarkerOptions *line_options(const MarkerLine *line);
/** False with on_publish = "keep". */
bool line_touches_rows(const MarkerLine *line);
/** No statement runs. */
bool line_is_free(const MarkerLine *line);
bool line_is_open(const MarkerLine *line);
void line_send(const MarkerLine *line, const PgQuery *query);
void line_go_on(const MarkerLine *line);
void line_lose(const MarkerLine *line, const Error *err);

/** A statement failed. True: it only waited for a lock in vain, or was refused, and will be tried
 * again. */
bool line_must_wait(MarkerLine *line, const Error *err);
/** One passed. */
void line_passed(MarkerLine *line);
/** How it ended: it passed (err NULL), must wait, or, false, is the loss of the connection. */
bool line_ends(MarkerLine *line, const Error *err);

/** Not before that (monotonic) a statement is tried again. */
int64_t line_retry_us(const MarkerLine *line);
void line_rest(MarkerLine *line, int64_t until_us);

/** The owner wants to hear of refusals. */
bool line_takes_refusals(const MarkerLine *line);
/** Tells the owner; a statement that passes takes it back, ... */
void line_refuse(MarkerLine *line, const Error *err);
/** ... unless rows are refused for what they are. */
void line_keep_refusal(MarkerLine *line, bool keep);

/** Who holds the lock is to be asked ... */
bool line_asks_holder(const MarkerLine *line);
/** ... and said. */
void line_ask_holder(MarkerLine *line);
