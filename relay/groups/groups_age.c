/* While we look, the history of ends says between which two looks a record came. Before that, and
 * to know better, the broker is asked for the first record of some time, which halves what is not
 * known (and needs no more than DESCRIBE on the topic: no record is read). All partitions are asked
 * at once, so a search takes some twenty round trips when nothing is known, and four later on.
 *
 * A record that came before we looked is as old as its timestamp says: the time of the event. */
#include "groups/groups_age.h"

#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "groups/groups_ask.h"

enum {
    QUESTIONS_MAX = 300, /* some 30 for each record of which nothing is known */
    SEARCH_SECONDS_MAX = 3,
};

static const int64_t RESOLUTION_US = 1000000;

int64_t groups_age_question_us(const LagBracket *bracket, int64_t now_us, int64_t interval_us)
{
    int64_t age_us = now_us > bracket->before_us ? now_us - bracket->before_us : 0;
    int64_t near_us = age_us / 20 > RESOLUTION_US ? age_us / 20 : RESOLUTION_US;
    near_us = near_us < interval_us ? near_us : interval_us;
    if (bracket->after_us == INT64_MIN) {
        int64_t question_us = bracket->before_us - (age_us > near_us ? age_us : near_us);
        return question_us > 0 ? question_us : 0;
    }
    int64_t width_us = bracket->before_us - bracket->after_us;
    return width_us > near_us ? bracket->after_us + width_us / 2 : 0;
}

static rd_kafka_topic_partition_list_t *age_questions(const AgeTarget *targets, size_t count,
                                                      int64_t now_us, int64_t interval_us)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);
    for (size_t i = 0; i < count; i++) {
        GroupPartition *p = targets[i].partition;
        LagBracket bracket;
        int64_t question_us =
            lag_history_bracket(&p->history, targets[i].offset, &bracket)
                ? groups_age_question_us(&bracket, now_us, interval_us) / 1000 * 1000
                : 0;
        bool answerable = question_us > bracket.after_us && question_us < bracket.before_us;
        if (question_us > 0 && answerable && p->asked_us == 0) {
            p->asked_us = question_us;
            rd_kafka_topic_partition_t *item =
                rd_kafka_topic_partition_list_add(list, p->topic, p->partition);
            item->offset = question_us / 1000;
            item->opaque = p;
        }
    }
    return list;
}

void groups_age_find(rd_kafka_t *rk, const AgeTarget *targets, size_t count, int64_t interval_us)
{
    int64_t deadline_us = clock_monotonic_us() + (int64_t)SEARCH_SECONDS_MAX * 1000000;
    int64_t now_us = clock_wall_us();
    bool more = true;
    for (int i = 0; i < QUESTIONS_MAX && more && clock_monotonic_us() < deadline_us; i++) {
        for (size_t t = 0; t < count; t++) {
            targets[t].partition->asked_us = 0;
        }
        rd_kafka_topic_partition_list_t *list = age_questions(targets, count, now_us, interval_us);
        AUTO_ERROR err = {0};
        more = list->cnt > 0 && groups_find_offsets(rk, list, &err) == OK;
        bool learnt = false;
        for (int k = 0; more && k < list->cnt; k++) {
            const rd_kafka_topic_partition_t *item = &list->elems[k];
            GroupPartition *p = item->opaque;
            if (item->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
                lag_history_learn(&p->history, p->asked_us,
                                  item->offset >= 0 ? item->offset : p->end);
                learnt = true;
            }
        }
        more = learnt;
        rd_kafka_topic_partition_list_destroy(list);
    }
}

/* A search that was not finished knows less than we promise. */
static bool age_is_known(const LagBracket *bracket, int64_t now_us, int64_t interval_us)
{
    if (bracket->after_us == INT64_MIN) {
        return false;
    }
    int64_t fair_us = (now_us - bracket->before_us) / 10;
    fair_us = fair_us > 2 * interval_us ? fair_us : 2 * interval_us;
    return bracket->before_us - bracket->after_us <= fair_us;
}

double groups_age_seconds(const GroupPartition *partition, int64_t committed, int64_t interval_us)
{
    if (lag_events(committed, partition->low, partition->end) == 0) {
        return 0;
    }
    int64_t offset = lag_first(committed, partition->low);
    int64_t now_us = clock_wall_us();
    LagBracket bracket;
    if (!lag_history_bracket(&partition->history, offset, &bracket) ||
        !age_is_known(&bracket, now_us, interval_us)) {
        return NAN;
    }
    double age = (double)(now_us - lag_bracket_time_us(&bracket, offset)) / 1e6;
    return age > 0 ? age : 0;
}
