/* A round: partitions of our topics, names of the groups, their committed offsets, then beginning
 * and end of each partition, then when the first unconsumed records came (groups_age.c). An error
 * leaves the rest of the round as complete as it can be; rows that could not be had again stay for
 * GROUP_KEPT_INTERVALS. */
#include "groups/groups_round.h"

#include <librdkafka/rdkafka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "config/lists.h"
#include "groups/groups_age.h"
#include "groups/groups_ask.h"
#include "groups/groups_client.h"
#include "groups/groups_learn.h"
#include "groups/groups_names.h"

struct Round {
    const Config *config;
    GroupsClient *client;
    GroupsNames *names;
    GroupPartition *partitions; /* sorted by topic and number */
    size_t partition_count;
    VEC(GroupRow) rows;
    Learner learner;
    Error error;
};

Round *round_new(const Config *config)
{
    Round *round = x_calloc(1, sizeof(*round));
    round->config = config;
    round->client = groups_client_make(config);
    round->names = groups_names_new(&config->monitor.consumer_groups);
    return round;
}

void round_login(Round *round, const TokenValue *token)
{
    groups_client_login(round->client, token);
}

static void row_free(GroupRow *row)
{
    free(row->group);
    free(row->topic);
}

void round_free(Round **round)
{
    Round *old = *round;
    if (old == NULL) {
        return;
    }
    groups_client_free(&old->client);
    groups_names_free(&old->names);
    for (size_t i = 0; i < old->rows.count; i++) {
        row_free(&old->rows.items[i]);
    }
    for (size_t i = 0; i < old->partition_count; i++) {
        free(old->partitions[i].topic);
    }
    learner_free(&old->learner);
    error_clear(&old->error);
    free(old->partitions);
    vec_free(&old->rows);
    free(old);
    *round = NULL;
}

void round_view(const Round *round, RoundView *ret_view)
{
    *ret_view = (RoundView){.rows = round->rows.items,
                            .count = round->rows.count,
                            .groups_left_out = groups_names_left_out(round->names),
                            .error = &round->error};
}

/* The first error of a round is the one that is told; what only a grant can mend goes before what
 * may heal by itself. */
static void round_note(Round *round, const Error *err)
{
    if (round->error.class == ERROR_NONE ||
        (groups_is_denied(err) && !groups_is_denied(&round->error))) {
        error_copy(&round->error, err);
    }
}

/* Partitions. */

static int partition_compare(const void *a, const void *b)
{
    const GroupPartition *x = a;
    const GroupPartition *y = b;
    int order = strcmp(x->topic, y->topic);
    return order != 0 ? order : (x->partition > y->partition) - (x->partition < y->partition);
}

static GroupPartition *round_partition(const Round *round, const char *topic, int32_t number)
{
    GroupPartition key = {.topic = (char *)topic, .partition = number};
    return round->partition_count == 0 ? NULL
                                       : bsearch(&key, round->partitions, round->partition_count,
                                                 sizeof(key), partition_compare);
}

/* Those of the list, with what is remembered of them; what is not in the list goes. */
static void round_set_partitions(Round *round, const rd_kafka_topic_partition_list_t *list)
{
    size_t count = (size_t)list->cnt;
    GroupPartition *fresh = x_calloc(count + 1, sizeof(*fresh));
    for (size_t i = 0; i < count; i++) {
        const rd_kafka_topic_partition_t *item = &list->elems[i];
        GroupPartition *old = round_partition(round, item->topic, item->partition);
        fresh[i] = old != NULL ? *old : (GroupPartition){.partition = item->partition};
        fresh[i].topic = x_strdup(item->topic);
        fresh[i].known = false;
    }
    for (size_t i = 0; i < round->partition_count; i++) {
        free(round->partitions[i].topic);
    }
    free(round->partitions);
    if (count != round->partition_count) {
        groups_names_forget_foreign(round->names); /* a new topic may be what they consume */
    }
    qsort(fresh, count, sizeof(*fresh), partition_compare);
    round->partitions = fresh;
    round->partition_count = count;
}

static Status round_ask_ends(Round *round, const rd_kafka_topic_partition_list_t *list, Error *err)
{
    rd_kafka_t *rk = groups_client_handle(round->client);
    rd_kafka_topic_partition_list_t *lows = rd_kafka_topic_partition_list_copy(list);
    rd_kafka_topic_partition_list_t *ends = rd_kafka_topic_partition_list_copy(list);
    for (int i = 0; i < list->cnt; i++) {
        lows->elems[i].offset = RD_KAFKA_OFFSET_BEGINNING;
        ends->elems[i].offset = RD_KAFKA_OFFSET_END;
    }
    Status status = groups_find_offsets(rk, lows, err);
    if (status == OK) {
        status = groups_find_offsets(rk, ends, err);
    }
    int64_t now_us = clock_wall_us();
    for (int i = 0; i < list->cnt && status == OK; i++) {
        const rd_kafka_topic_partition_t *low = &lows->elems[i];
        const rd_kafka_topic_partition_t *end =
            rd_kafka_topic_partition_list_find(ends, low->topic, low->partition);
        GroupPartition *partition = round_partition(round, low->topic, low->partition);
        rd_kafka_resp_err_t code = low->err != RD_KAFKA_RESP_ERR_NO_ERROR ? low->err : end->err;
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR || low->offset < 0 || end->offset < 0) {
            AUTO_ERROR why = {0};
            groups_topic_error(code, low->topic, &why);
            round_note(round, &why);
            continue;
        }
        partition->known = true;
        partition->low = low->offset;
        partition->end = end->offset;
        lag_history_look(&partition->history, now_us, end->offset);
    }
    rd_kafka_topic_partition_list_destroy(lows);
    rd_kafka_topic_partition_list_destroy(ends);
    return status;
}

/* Groups. */

/* arg: the round. */
static bool round_has_rows(const void *arg, const char *group)
{
    const Round *round = arg;
    for (size_t i = 0; i < round->rows.count; i++) {
        if (strcmp(round->rows.items[i].group, group) == 0) {
            return true;
        }
    }
    return false;
}

static void round_find_names(Round *round)
{
    AUTO_ERROR err = {0};
    groups_names_find(round->names, groups_client_handle(round->client), round_has_rows, round,
                      &err);
    if (err.class != ERROR_NONE) {
        round_note(round, &err);
    }
}

static GroupRow *round_row(Round *round, const char *group, const char *topic)
{
    for (size_t i = 0; i < round->rows.count; i++) {
        GroupRow *row = &round->rows.items[i];
        if (strcmp(row->group, group) == 0 && strcmp(row->topic, topic) == 0) {
            return row;
        }
    }
    if (round->rows.count == GROUP_ROWS_MAX) {
        return NULL;
    }
    GroupRow *row = vec_add(&round->rows);
    *row = (GroupRow){.group = x_strdup(group), .topic = x_strdup(topic)};
    return row;
}

static void row_sample(GroupRow *row, int64_t now_us)
{
    if (row->sample_count == GROUP_SAMPLES) {
        row->sample_count--;
        memmove(&row->samples[0], &row->samples[1], row->sample_count * sizeof(row->samples[0]));
    }
    row->samples[row->sample_count].at_us = now_us;
    row->samples[row->sample_count].events = row->lag_events;
    row->sample_count++;
    row->updated_us = now_us;
    row->seen = true;
}

static int64_t committed_offset(const GroupOffsets *group, const GroupPartition *partition)
{
    const rd_kafka_topic_partition_t *item = rd_kafka_topic_partition_list_find(
        group->committed, partition->topic, partition->partition);
    return item != NULL && item->err == RD_KAFKA_RESP_ERR_NO_ERROR ? item->offset : -1;
}

static bool group_committed(const Round *round, const GroupOffsets *group)
{
    for (size_t i = 0; i < round->partition_count; i++) {
        if (committed_offset(group, &round->partitions[i]) >= 0) {
            return true;
        }
    }
    return false;
}

/* One topic of one group: partitions [first, end) of the round. */
static void round_sum(Round *round, const GroupOffsets *group, size_t first, size_t end, bool any)
{
    int64_t events = 0;
    double seconds = 0;
    bool committed = false;
    for (size_t i = first; i < end; i++) {
        const GroupPartition *p = &round->partitions[i];
        if (!p->known) {
            return; /* half a sum would be wrong: the last one stays for a while */
        }
        int64_t offset = committed_offset(group, p);
        committed |= offset >= 0;
        events += lag_events(offset, p->low, p->end);
        double age =
            groups_age_seconds(p, offset, round->config->monitor.groups_interval_ms * 1000);
        seconds = isnan(age) || age > seconds ? age : seconds; /* NAN stays */
    }
    if (!committed && any) {
        return; /* it consumes other topics of ours */
    }
    GroupRow *row = round_row(round, group->group, round->partitions[first].topic);
    if (row != NULL) {
        row->lag_events = events;
        row->lag_seconds = seconds;
        row->committed = committed;
        row_sample(row, clock_monotonic_us());
    }
}

static void round_sum_group(Round *round, const GroupOffsets *group)
{
    bool any = group_committed(round, group);
    if (!any && !groups_names_has_outright(round->names, group->group)) {
        groups_names_note_foreign(round->names, group->group);
        return;
    }
    for (size_t first = 0, end; first < round->partition_count; first = end) {
        const char *topic = round->partitions[first].topic;
        for (end = first;
             end < round->partition_count && strcmp(round->partitions[end].topic, topic) == 0;) {
            end++;
        }
        round_sum(round, group, first, end, any);
    }
}

/* Whether a row that was not seen may only be out of sight. */
static bool row_is_excused(const Round *round, const GroupRow *row, const GroupOffsets *groups)
{
    if (groups_names_may_lack(round->names, row->group)) {
        return true;
    }
    for (size_t i = 0; i < round->partition_count; i++) {
        if (!round->partitions[i].known && strcmp(round->partitions[i].topic, row->topic) == 0) {
            return true;
        }
    }
    for (size_t i = 0; i < groups_names_list(round->names)->count; i++) {
        if (strcmp(groups[i].group, row->group) == 0) {
            return groups[i].committed == NULL;
        }
    }
    return false;
}

/* groups NULL: nothing could be asked, all is excused. */
static void round_drop_rows(Round *round, const GroupOffsets *groups)
{
    int64_t kept_us = round->config->monitor.groups_interval_ms * 1000 * GROUP_KEPT_INTERVALS;
    int64_t now_us = clock_monotonic_us();
    size_t count = 0;
    for (size_t i = 0; i < round->rows.count; i++) {
        GroupRow *row = &round->rows.items[i];
        bool stays = row->seen || ((groups == NULL || row_is_excused(round, row, groups)) &&
                                   now_us - row->updated_us < kept_us);
        if (stays) {
            round->rows.items[count++] = *row;
        } else {
            row_free(row);
        }
    }
    round->rows.count = count;
}

static void round_age(Round *round, const GroupOffsets *groups)
{
    VEC(AgeTarget) targets = {0};
    for (size_t g = 0; g < groups_names_list(round->names)->count; g++) {
        bool any = groups[g].committed != NULL &&
                   (group_committed(round, &groups[g]) ||
                    groups_names_has_outright(round->names, groups[g].group));
        for (size_t i = 0; any && i < round->partition_count; i++) {
            GroupPartition *p = &round->partitions[i];
            int64_t offset = committed_offset(&groups[g], p);
            if (p->known && lag_events(offset, p->low, p->end) > 0) {
                *vec_add(&targets) =
                    (AgeTarget){.partition = p, .offset = lag_first(offset, p->low)};
            }
        }
    }
    groups_age_find(groups_client_handle(round->client), targets.items, targets.count,
                    round->config->monitor.groups_interval_ms * 1000);
    vec_free(&targets);
}

static Status round_ask(Round *round, const rd_kafka_topic_partition_list_t *list,
                        GroupOffsets *groups, Error *err)
{
    const StringList *names = groups_names_list(round->names);
    for (size_t i = 0; i < names->count; i++) {
        groups[i].group = names->items[i];
    }
    groups_offsets(groups_client_handle(round->client), list, groups, names->count);
    for (size_t i = 0; i < names->count; i++) {
        if (groups[i].committed == NULL) {
            round_note(round, &groups[i].error);
            groups_names_none_left_out(round->names);
        }
    }
    if (groups_names_glob_error(round->names)->class != ERROR_NONE) {
        round_note(round, groups_names_glob_error(round->names));
    }
    /* After the commits, so that a group is not ahead of the end. */
    return round_ask_ends(round, list, err);
}

/* Topics of ours of which no event tells yet. */
static void round_learn(Round *round, const StringList *patterns)
{
    StringList found = {0};
    AUTO_ERROR err = {0};
    const StringList *names = groups_names_list(round->names);
    const StringList *topics = groups_client_topics(round->client);
    LearnerQuestion question = {.rk = groups_client_handle(round->client),
                                .patterns = patterns,
                                .known = topics,
                                .groups = names};
    if (learner_run(&round->learner, &question, &found, &err) != OK) {
        round_note(round, &err);
    }
    groups_client_know(round->client, &found);
    string_list_free(&found);
    if (groups_names_left_out(round->names) > 0) {
        round->learner.rest = 0; /* the others have their turn in the next round */
    }
    for (size_t i = 0; topics->count == 0 && i < names->count; i++) {
        groups_names_note_foreign(round->names, names->items[i]);
    }
}

static Status round_look(Round *round, const rd_kafka_topic_partition_list_t *list, Error *err)
{
    size_t count = groups_names_list(round->names)->count;
    GroupOffsets *groups = x_calloc(count + 1, sizeof(*groups));
    Status status = round_ask(round, list, groups, err);
    if (status == OK) {
        round_age(round, groups);
        for (size_t i = 0; i < count; i++) {
            if (groups[i].committed != NULL) {
                round_sum_group(round, &groups[i]);
            }
        }
        round_drop_rows(round, groups);
    }
    for (size_t i = 0; i < count; i++) {
        if (groups[i].committed != NULL) {
            rd_kafka_topic_partition_list_destroy(groups[i].committed);
        }
        error_clear(&groups[i].error);
    }
    free(groups);
    return status;
}

void round_run(Round *round, const StringList *topics, const StringList *patterns)
{
    AUTO_ERROR err = {0};
    AUTO_ERROR denied = {0};
    error_clear(&round->error);
    for (size_t i = 0; i < round->rows.count; i++) {
        round->rows.items[i].seen = false;
    }
    rd_kafka_topic_partition_list_t *list = NULL;
    Status status = groups_client_connect(round->client, &err);
    if (status == OK) {
        groups_client_know(round->client, topics);
        const StringList *known = groups_client_topics(round->client);
        if (known->count > 0 || patterns->count > 0) {
            round_find_names(round);
            round_learn(round, patterns);
        }
        status = groups_partitions(groups_client_handle(round->client),
                                   round->config->kafka.brokers, known, &list, &denied);
        if (status != OK) {
            error_copy(&err, &denied);
        }
    }
    if (status == OK) {
        if (denied.class != ERROR_NONE) {
            round_note(round, &denied);
        }
        round_set_partitions(round, list);
        /* Without topics there is nothing to be behind in (and an empty list is no question). */
        status = list->cnt > 0 ? round_look(round, list, &err) : OK;
        if (list->cnt == 0) {
            round_drop_rows(round, NULL);
        }
        rd_kafka_topic_partition_list_destroy(list);
    }
    if (status == OK) {
        groups_client_answered(round->client);
        return;
    }
    const char *reason = groups_client_reason(round->client);
    if (*reason != '\0') {
        AUTO_ERROR named = error_of(&err);
        error_set_as(&err, named.class, named.exit_code, named.code, "%s; %s",
                     error_message(&named), reason);
        error_hint(&err, "%s", error_own_hint(&named));
    }
    round_note(round, &err);
    groups_names_none_left_out(round->names);
    round_drop_rows(round, NULL);
}
