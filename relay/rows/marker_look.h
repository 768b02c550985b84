/* marker_look: looking at single rows: whether somebody has mended, or removed, what could not be
 * published. */
#pragma once

#include "flow/event.h"
#include "rows/marker_line.h"

typedef struct MarkerLook MarkerLook;

MarkerLook *look_new(MarkerLine *line);
void look_free(MarkerLook **look);

/** The session is over, and what was asked with it. */
void look_stop(MarkerLook *look);

/** At most SOURCE_LOOKS_MAX rows, instead of those that were wanted before. */
void look_want(MarkerLook *look, const EventRow *rows, size_t count);
bool look_is_due(const MarkerLook *look);
/** It was refused in this session. */
bool look_is_denied(const MarkerLook *look);

/** Asks, and tells the owner of each row. */
void look_send(MarkerLook *look);
