/* marker_aside: the events that a marker sets aside as dead letters, in their order, each before
 * anything that is marked. */
#pragma once

#include "flow/event.h"
#include "flow/record.h"
#include "rows/marker_line.h"

typedef struct MarkerAsides MarkerAsides;

MarkerAsides *asides_new(MarkerLine *line);
void asides_free(MarkerAsides **asides);

/** A session begins: the name of its dead-letter table as SQL, which is copied; NULL: none. */
void asides_begin(MarkerAsides *asides, const char *table);
/** The session is over: forgets all, whose events the pipeline takes back. */
void asides_stop(MarkerAsides *asides);

/** As marker_add_aside. */
void asides_add(MarkerAsides *asides, Event *event, const Record *record, const Error *reason);

bool asides_wait(const MarkerAsides *asides);
/** The owner hears of letters that are stored: nothing is sent before it has heard of all. */
bool asides_report(const MarkerAsides *asides);

/** Sends the first ones that wait. */
void asides_send(MarkerAsides *asides);
