/* groups_trouble: whether the groups can be seen, and how often it is said that they cannot. */
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "base/error.h"
#include "metrics/metrics.h"

typedef struct GroupsTrouble GroupsTrouble;

GroupsTrouble *groups_trouble_new(Metrics *metrics);
void groups_trouble_free(GroupsTrouble **trouble);

/** A round is over: class ERROR_NONE when it was complete. left_out: groups that were not looked
 * at. */
void groups_trouble_tell(GroupsTrouble *trouble, const Error *err, size_t left_out);
/** There was no round: what was left out is as before. */
void groups_trouble_tell_again(GroupsTrouble *trouble, const Error *err);

/** Sets the members up, error and groups_left_out. */
void groups_trouble_status(const GroupsTrouble *trouble, json_t *object);
