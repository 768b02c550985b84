/* groups_shown: what was found of the groups, as series and for /status. */
#pragma once

#include <jansson.h>

#include "groups/groups_message.h"
#include "metrics/metrics.h"

typedef struct GroupsShown GroupsShown;

GroupsShown *groups_shown_new(Metrics *metrics);
void groups_shown_free(GroupsShown **shown);

/** Shows the rows of an answer, and none that is not in it. */
void groups_shown_set(GroupsShown *shown, const GroupsAnswer *answer);
/** What was shown is too old. */
void groups_shown_clear(GroupsShown *shown);

/** Adds an object for each row. */
void groups_shown_status(const GroupsShown *shown, json_t *rows);
