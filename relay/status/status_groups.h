/* status_groups: the part of the status screen about consumer groups. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "base/text.h"

/** Appends an empty line and the table of the /status object "consumer_groups", and why it is not
 * complete; nothing when groups is not an object, or says nothing. */
void status_groups_add(const json_t *groups, bool colours, Text *out);
