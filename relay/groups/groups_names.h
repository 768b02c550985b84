/* groups_names: which groups are asked about in a round: those that monitor.consumer_groups names,
 * and, of those that its globs match, at most GROUPS_ASKED_MAX, by turns. Blocks as groups_ask.h
 * says. */
#pragma once

#include <librdkafka/rdkafka.h>
#include <stdbool.h>

#include "base/error.h"
#include "config/config.h"

typedef struct GroupsNames GroupsNames;

/** patterns: monitor.consumer_groups. */
GroupsNames *groups_names_new(const StringList *patterns);
void groups_names_free(GroupsNames **names);

/** Makes the list of a round anew. is_ours: whether a group is known to consume our topics. *err:
 * that the groups of the cluster could not be listed. */
void groups_names_find(GroupsNames *names, rd_kafka_t *rk,
                       bool (*is_ours)(const void *arg, const char *group), const void *arg,
                       Error *err);
const StringList *groups_names_list(const GroupsNames *names);

/** Whether the configuration names this very group. */
bool groups_names_has_outright(const GroupsNames *names, const char *group);
/** Whether the group may be there and is not in the list, since the cluster's could not be had. */
bool groups_names_may_lack(const GroupsNames *names, const char *group);
/** Of a glob that nothing matches, for want of a right; class ERROR_NONE: none. */
const Error *groups_names_glob_error(const GroupsNames *names);

/** An asked group consumes nothing of ours: others get its place in the next round. */
void groups_names_note_foreign(GroupsNames *names, const char *group);
/** There is another topic, which the foreign ones may consume. */
void groups_names_forget_foreign(GroupsNames *names);

/** Groups that match, but are beyond those that are asked. */
size_t groups_names_left_out(const GroupsNames *names);
/** It cannot be said who is ours. */
void groups_names_none_left_out(GroupsNames *names);
