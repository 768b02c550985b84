/* groups: how far consumer groups are behind in the topics that the pipelines write, as metrics and
 * for /status. Opt-in: monitor.consumer_groups.
 *
 * A helper process asks Kafka every monitor.groups_interval (groups_helper.h says why). All
 * functions here are for the loop thread and do not block. Trouble is told once in the log and
 * stays in /status; publishing never notices. */
#pragma once

#include <event2/event.h>
#include <jansson.h>

#include "config/config.h"
#include "metrics/metrics.h"

typedef struct Groups Groups;

typedef struct GroupsOptions {
    struct event_base *base;
    const Config *config;
    Metrics *metrics;
    void *arg;
    /** Adds the topics that have been written so far; those that the configuration names outright
     * are known. */
    void (*topics)(void *arg, StringList *names);
} GroupsOptions;

/** Begins to look, at once; NULL when no group is asked for or no pipeline writes to Kafka. What
 * *options points at must outlive the groups. */
Groups *groups_new(const GroupsOptions *options);

/** Ends the helper. */
void groups_free(Groups **groups);

/** Sets "consumer_groups" of /status; null when off. */
void groups_status(const Groups *groups, json_t *status);
