#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "groups/groups_age.h"
#include "groups/lag_history.h"
#include "stub/random.h"

enum { SECOND = 1000000 };

static const int64_t NOW_US = INT64_C(1795252364) * SECOND;

Test(lag_history, lag_counts_what_is_there_and_not_consumed)
{
    static const struct {
        const char *what;
        int64_t committed;
        int64_t low;
        int64_t end;
        int64_t lag;
        int64_t first;
    } CASES[] = {
        {"some behind", 60, 0, 100, 40, 60},
        {"caught up", 100, 0, 100, 0, 100},
        {"removed by retention", 10, 30, 100, 70, 30},
        {"nothing committed", -1, 30, 100, 70, 30},
        {"no such offset (librdkafka)", -1001, 0, 5, 5, 0},
        {"ahead of an end that went back", 200, 0, 100, 0, 200},
        {"empty", -1, 7, 7, 0, 7},
        {"largest", 0, 0, INT64_MAX, INT64_MAX, 0},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        cr_expect_eq(lag_events(CASES[i].committed, CASES[i].low, CASES[i].end), CASES[i].lag, "%s",
                     CASES[i].what);
        cr_expect_eq(lag_first(CASES[i].committed, CASES[i].low), CASES[i].first, "%s",
                     CASES[i].what);
    }
}

static LagBracket bracket_of(const LagHistory *history, int64_t offset)
{
    LagBracket bracket;
    bool known = lag_history_bracket(history, offset, &bracket);
    cr_assert(known);
    return bracket;
}

Test(lag_history, a_record_came_between_the_last_look_without_it_and_the_first_with_it)
{
    LagHistory history = {0};
    lag_history_look(&history, NOW_US, 10);
    lag_history_look(&history, NOW_US + 10 * SECOND, 10);
    lag_history_look(&history, NOW_US + 20 * SECOND, 30);
    LagBracket bracket = bracket_of(&history, 10);
    cr_assert_eq(bracket.after_us, NOW_US + 10 * SECOND);
    cr_assert_eq(bracket.before_us, NOW_US + 20 * SECOND);
    cr_assert_eq(lag_bracket_time_us(&bracket, 10), NOW_US + 10 * SECOND + SECOND / 4);
    cr_assert_eq(lag_bracket_time_us(&bracket, 29), NOW_US + 20 * SECOND - SECOND / 4);
    cr_assert_eq(bracket_of(&history, 9).after_us, INT64_MIN, "before we looked");
    LagBracket none;
    cr_assert_not(lag_history_bracket(&history, 30, &none), "not there yet");
}

Test(lag_history, answers_of_the_broker_narrow_what_is_known)
{
    LagHistory history = {0};
    lag_history_look(&history, NOW_US, 100);
    lag_history_learn(&history, NOW_US - 10 * SECOND, 100); /* none since then */
    cr_assert_eq(bracket_of(&history, 50).before_us, NOW_US - 10 * SECOND);
    lag_history_learn(&history, NOW_US - 100 * SECOND, 20);
    LagBracket bracket = bracket_of(&history, 50);
    cr_assert_eq(bracket.after_us, NOW_US - 100 * SECOND);
    lag_history_learn(&history, NOW_US - 60 * SECOND, 20);
    cr_assert_eq(bracket_of(&history, 50).after_us, NOW_US - 60 * SECOND, "nothing came till then");
    lag_history_learn(&history, NOW_US - 30 * SECOND, 60);
    bracket = bracket_of(&history, 50);
    cr_assert_eq(bracket.after_us, NOW_US - 60 * SECOND);
    cr_assert_eq(bracket.before_us, NOW_US - 30 * SECOND);
    cr_assert_eq(bracket_of(&history, 60).after_us, NOW_US - 30 * SECOND);
    size_t count = history.count;
    lag_history_learn(&history, NOW_US + SECOND, 1000);
    cr_assert_eq(history.count, count, "later than the last look: not a bracket of anything");
}

Test(lag_history, a_topic_made_anew_or_a_clock_set_back_begins_again)
{
    LagHistory history = {0};
    lag_history_look(&history, NOW_US, 100);
    lag_history_look(&history, NOW_US + SECOND, 3);
    cr_assert_eq(history.count, 1);
    cr_assert_eq(history.points[0].offset, 3);
    lag_history_look(&history, NOW_US - SECOND, 5);
    cr_assert_eq(history.count, 1);
    cr_assert_eq(history.points[0].offset, 5);
}

enum { RECORDS = 4000 };

/* A partition whose every record's time is known. */
typedef struct Walk {
    Random random;
    LagHistory history;
    int64_t times[RECORDS + 64];
    int64_t end;
    int64_t now_us;
} Walk;

static void walk_come(Walk *walk, size_t records, size_t apart_us)
{
    for (size_t i = 0; i < records && walk->end < RECORDS; i++) {
        walk->now_us += 1 + (int64_t)random_below(&walk->random, apart_us);
        walk->times[walk->end++] = walk->now_us;
    }
}

/* What the broker answers. */
static int64_t walk_find(const Walk *walk, int64_t time_us)
{
    int64_t first = 0;
    while (first < walk->end && walk->times[first] < time_us) {
        first++;
    }
    return first;
}

static LagBracket walk_search(Walk *walk, int64_t offset)
{
    for (int i = 0; i < 60; i++) {
        LagBracket bracket = bracket_of(&walk->history, offset);
        int64_t question_us = groups_age_question_us(&bracket, walk->now_us, 15 * SECOND);
        if (question_us == 0) {
            return bracket;
        }
        lag_history_learn(&walk->history, question_us, walk_find(walk, question_us));
    }
    cr_assert_fail("the search does not end");
    return (LagBracket){0};
}

static bool walk_in_order(const LagHistory *history)
{
    for (size_t i = 1; i < history->count; i++) {
        if (history->points[i - 1].offset >= history->points[i].offset ||
            history->points[i - 1].until_us > history->points[i].from_us) {
            return false;
        }
    }
    return history->count < LAG_POINTS_MAX;
}

static void walk_run(uint64_t seed)
{
    static Walk walk;
    walk = (Walk){.random = random_new(seed), .now_us = NOW_US};
    walk_come(&walk, RECORDS / 2, 3 * SECOND); /* from before we looked */
    while (walk.end < RECORDS) {
        walk.now_us += 1 + (int64_t)random_below(&walk.random, 10 * SECOND);
        lag_history_look(&walk.history, walk.now_us, walk.end);
        int64_t offset = (int64_t)random_below(&walk.random, (size_t)walk.end);
        LagBracket bracket = walk_search(&walk, offset);
        int64_t came_us = walk.times[offset];
        bool within = bracket.after_us <= came_us && came_us <= bracket.before_us;
        int64_t error_us = llabs(lag_bracket_time_us(&bracket, offset) - came_us);
        cr_assert(within && error_us <= 15 * SECOND && walk_in_order(&walk.history), "seed %llu",
                  (unsigned long long)seed);
        walk_come(&walk, random_below(&walk.random, 40), SECOND);
    }
}

Test(lag_history, stays_bounded_in_order_and_true_whatever_is_asked)
{
    uint64_t seed = 1;
    uint64_t seeds = 50;
    random_seeds(&seed, &seeds);
    for (uint64_t last = seed + seeds; seed < last; seed++) {
        walk_run(seed);
    }
}

Test(lag_history, age_is_told_only_when_it_is_known)
{
    int64_t now_us = clock_wall_us();
    GroupPartition partition = {.low = 0, .end = 10};
    lag_history_look(&partition.history, now_us - 3600 * (int64_t)SECOND, 5);
    lag_history_look(&partition.history, now_us, 10);
    cr_assert(isnan(groups_age_seconds(&partition, 7, SECOND)), "any time in an hour");
    cr_assert(isnan(groups_age_seconds(&partition, 2, SECOND)), "before we looked");
    cr_assert_eq(groups_age_seconds(&partition, 10, SECOND), 0);
    lag_history_learn(&partition.history, now_us - 1000 * (int64_t)SECOND, 7);
    lag_history_learn(&partition.history, now_us - 998 * (int64_t)SECOND, 8);
    cr_assert_float_eq(groups_age_seconds(&partition, 7, SECOND), 999, 2);
}
