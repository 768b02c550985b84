/* marker_upkeep: what a marker does when there is nothing better to do: pruning old published rows,
 * counting those that are not published. */
#pragma once

#include "rows/marker_line.h"

typedef struct MarkerUpkeep MarkerUpkeep;

MarkerUpkeep *upkeep_new(MarkerLine *line);
void upkeep_free(MarkerUpkeep **upkeep);

/** The table is another one. */
void upkeep_begin_anew(MarkerUpkeep *upkeep);

/** Everything is read: no need to count what is left. */
void upkeep_set_caught_up(MarkerUpkeep *upkeep, bool caught_up);

/** The connection is gone, or to be closed: what was counted before all was read is not told any
 * more. */
void upkeep_stop(MarkerUpkeep *upkeep);
/** As marker_backlog. */
double upkeep_backlog(const MarkerUpkeep *upkeep, bool *ret_capped);

/** Sends a statement if one is due. */
void upkeep_next(MarkerUpkeep *upkeep);
