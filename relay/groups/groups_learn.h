/* groups_learn: which topics the pipelines write, as far as it can be known without an event: those
 * that the configuration names outright, and, of those that a template may name, the ones of which
 * a watched group has committed an offset. So a group's lag is known after a restart although
 * nothing new is written. DESCRIBE on topics and groups is all it needs. */
#pragma once

#include <librdkafka/rdkafka.h>

#include "base/error.h"
#include "config/config.h"

/** Adds the topics that the configuration names outright to *names, and to *patterns a glob for
 * each other template (and "*" where rows may name their topic). */
void groups_config_topics(const Config *config, StringList *names, StringList *patterns);

/* Large clusters are looked through in portions. Zeroed at first. */
typedef struct Learner {
    char *after; /* the next portion begins behind this topic; NULL: at the beginning */
    int rest;    /* rounds to go until it is looked through again */
} Learner;

void learner_free(Learner *learner);

typedef struct LearnerQuestion {
    rd_kafka_t *rk;
    const StringList *patterns; /* of topics that may be ours */
    const StringList *known;    /* topics that are */
    const StringList *groups;
} LearnerQuestion;

/** Looks through a portion when it is time to, and adds topics that were not known to *found.
 * Blocks. An error leaves the portion for the next round. */
Status learner_run(Learner *learner, const LearnerQuestion *question, StringList *found,
                   Error *err);
