/* marker_marks: the marks of a marker: what is acknowledged and not marked, when it is time for the
 * next statement, what is sent before it, and what becomes of its answer. */
#pragma once

#include "flow/batch.h"
#include "rows/mark_queue.h"
#include "rows/marker_line.h"

typedef struct MarkerMarks MarkerMarks;

/** The queue, which must outlive it, is changed by it alone. */
MarkerMarks *marks_new(MarkerLine *line, MarkQueue *queue);
void marks_free(MarkerMarks **marks);

/** As the functions of the marker with these names. */
void marks_begin(MarkerMarks *marks, const MarkerSession *session);
void marks_renamed(MarkerMarks *marks);
void marks_retarget(MarkerMarks *marks, uint32_t table_oid);
void marks_stop(MarkerMarks *marks);
void marks_forget(MarkerMarks *marks);
void marks_add(MarkerMarks *marks, const Batch *batch);
void marks_add_position(MarkerMarks *marks, const MarkerPosition *position, bool at_once);
bool marks_recover(const MarkerMarks *marks);
bool marks_are_in_order(const MarkerMarks *marks);
bool marks_position_is_beyond(const MarkerMarks *marks);
void marks_row_moved(MarkerMarks *marks, const char *ctid);

/** The server compares what cannot be compared any more: the statements are made anew. */
void marks_forget_statements(MarkerMarks *marks);

/** Another table has the name: nothing is marked before marks_renamed(). */
bool marks_wait_for_name(const MarkerMarks *marks);

/** Sends the next mark, or what must go before it, if it is time. Else how long to wait for that,
 * in us; 0: something was sent, or nothing is to be sent before something else happens. */
int64_t marks_next(MarkerMarks *marks);
