/* What looks at the rows tell: ages, and who is unknown. Times are small numbers, not clocks. */
#include <criterion/criterion.h>

#include "watch/sightings.h"

#define SECOND INT64_C(1000000)

static Sightings at;
static SourceSight sight;
static size_t asked_again;

static void begin(void)
{
    sightings_init(&at);
    sight = SIGHT_UNKNOWN;
    asked_again = 0;
}

static void end(void)
{
    sightings_free(&at);
}

TestSuite(sightings, .init = begin, .fini = end);

static void row(int64_t seq, const char *id, int64_t age_us, char part)
{
    sightings_add(&at, &(SightedRow){.seq = seq,
                                     .event_id = id,
                                     .event_type = "t",
                                     .aggregate_id = "k",
                                     .occurred_at_us = EVENT_NO_TIME,
                                     .age_us = age_us,
                                     .part = part});
}

static void look(int64_t sent_us, int64_t top)
{
    sightings_end(&at, &(Look){.sent_us = sent_us,
                               .server_us = sent_us + 1000 * SECOND,
                               .insert_lsn = (uint64_t)sent_us,
                               .top = top});
}

static const Sighting *the(int64_t seq)
{
    for (size_t i = 0; i < at.count; i++) {
        if (at.rows[i].seq == seq) {
            return &at.rows[i];
        }
    }
    cr_assert_fail("row %lld is not there", (long long)seq);
    return NULL;
}

static SourceSight on_sight(void *arg, const Sighting *ignored)
{
    (void)arg;
    (void)ignored;
    return sight;
}

static void on_look_again(void *arg, int64_t seq)
{
    (void)arg;
    (void)seq;
    asked_again++;
}

static Judgement judge(int64_t now_us, bool again)
{
    Judge by = {.sight = on_sight,
                .look_again = again ? on_look_again : NULL,
                .ask_after_us = 5 * SECOND,
                .unseen_after_us = 10 * SECOND};
    Judgement result;
    sightings_judge(&at, &by, now_us, &result);
    return result;
}

/* Ages. */

Test(sightings, without_an_earlier_look_the_time_of_the_row_counts)
{
    row(1, "a", 3600 * SECOND, 'o');
    look(10 * SECOND, 1);
    cr_assert_eq(the(1)->since_us, -3590 * SECOND);
}

Test(sightings, without_an_earlier_look_a_missing_or_future_time_counts_from_the_first_look)
{
    row(1, "a", SIGHTINGS_NO_AGE, 'o');
    row(2, "b", -86400 * SECOND, 'o');
    look(10 * SECOND, 2);
    cr_assert_eq(the(1)->since_us, 10 * SECOND);
    cr_assert_eq(the(2)->since_us, 10 * SECOND);
}

Test(sightings, a_complete_look_that_did_not_show_it_bounds_the_age)
{
    look(10 * SECOND, INT64_MIN);
    row(1, "old", 86400 * SECOND, 'o');
    row(2, "future", -86400 * SECOND, 'o');
    row(3, "missing", SIGHTINGS_NO_AGE, 'o');
    row(4, "recent", SECOND / 2, 'o');
    look(15 * SECOND, 4);
    cr_assert_eq(the(1)->since_us, 10 * SECOND, "a restore does not burn the budget at once");
    cr_assert_eq(the(2)->since_us, 10 * SECOND, "it cannot hide");
    cr_assert_eq(the(3)->since_us, 10 * SECOND);
    cr_assert_eq(the(4)->since_us, 15 * SECOND - SECOND / 2, "its own time is better");
}

Test(sightings, what_was_found_for_a_row_stays)
{
    look(10 * SECOND, INT64_MIN);
    row(1, "a", -30 * SECOND, 'o');
    look(15 * SECOND, 1);
    row(1, "a", 30 * SECOND, 'o'); /* by now its time is in the past */
    look(75 * SECOND, 1);
    cr_assert_eq(the(1)->since_us, 10 * SECOND);
    cr_assert(the(1)->stands);
}

Test(sightings, a_number_that_is_given_out_again_is_another_row)
{
    row(1, "a", 5 * SECOND, 'o');
    look(10 * SECOND, 1);
    row(1, "b", SIGHTINGS_NO_AGE, 'o');
    look(20 * SECOND, 1);
    cr_assert_eq(the(1)->since_us, 10 * SECOND);
    cr_assert_not(the(1)->stands);
}

static void oldest_rows(int64_t first)
{
    for (int64_t i = 0; i < SIGHTINGS_OLDEST; i++) {
        row(first + i, NULL, SECOND, 'o');
    }
}

static void full_look(int64_t sent_us, int64_t first, int64_t top)
{
    oldest_rows(first);
    look(sent_us, top);
}

Test(sightings, an_incomplete_look_proves_only_what_is_above_the_highest_number)
{
    full_look(10 * SECOND, 1, 500);
    cr_assert_not(at.look.complete);
    row(400, "below", 7200 * SECOND, 'o');
    row(501, "above", 7200 * SECOND, 'o');
    look(20 * SECOND, 501);
    cr_assert_eq(the(400)->since_us, (20 - 7200) * SECOND);
    cr_assert_eq(the(501)->since_us, 10 * SECOND);
}

Test(sightings, an_event_in_memory_is_as_old_as_its_row_or_by_the_same_rules)
{
    Slice a = SLICE_LITERAL("a");
    look(10 * SECOND, 5);
    int64_t server = 1000 * SECOND; /* its clock is so far ahead of ours */
    cr_assert_eq(sightings_since(&at, 6, a, server + 13 * SECOND, 14 * SECOND), 13 * SECOND);
    cr_assert_eq(sightings_since(&at, 6, a, server + 5 * SECOND, 14 * SECOND), 10 * SECOND);
    cr_assert_eq(sightings_since(&at, 6, a, server + 99 * SECOND, 14 * SECOND), 14 * SECOND);
    cr_assert_eq(sightings_since(&at, 6, a, EVENT_NO_TIME, 14 * SECOND), 14 * SECOND);
    cr_assert_eq(sightings_since(&at, 6, a, EVENT_NO_TIME, 9 * SECOND), 9 * SECOND,
                 "it was in memory before it could be seen");
    row(6, "a", SIGHTINGS_NO_AGE, 'o');
    look(15 * SECOND, 6);
    cr_assert_eq(sightings_since(&at, 6, a, server + 99 * SECOND, 14 * SECOND), 10 * SECOND);
}

Test(sightings, under_steady_load_an_old_time_counts_from_the_last_look_that_was_below_it)
{
    full_look(10 * SECOND, 1, 200);
    full_look(20 * SECOND, 1001, 1200);
    Slice none = SLICE_NULL;
    cr_assert_eq(sightings_since(&at, 1300, none, SECOND, 21 * SECOND), 20 * SECOND);
    cr_assert_eq(sightings_since(&at, 1150, none, SECOND, 20 * SECOND), 10 * SECOND);
}

/* The oldest. */

Test(sightings, the_oldest_is_the_one_that_waits_longest_and_is_not_settled)
{
    look(SECOND, INT64_MIN);
    row(1, "a", 2 * SECOND, 'o');
    row(2, "b", 4 * SECOND, 'o');
    look(10 * SECOND, 2);
    cr_assert_null(sightings_oldest(&at, false), "they may just pass by");
    cr_assert_eq(sightings_oldest(&at, true)->seq, 2);
    sightings_settled(&at, 2, SLICE_LITERAL("b"));
    cr_assert_eq(sightings_oldest(&at, true)->seq, 1);
    sightings_settled(&at, 2, SLICE_LITERAL("x"));
    sightings_settled(&at, 1, SLICE_LITERAL("a"));
    cr_assert_null(sightings_oldest(&at, true));
    row(1, "a", 3 * SECOND, 'o');
    look(11 * SECOND, 2);
    cr_assert_null(sightings_oldest(&at, true), "its mark is late, no more");
}

static void parked(int64_t seq, const char *id, int64_t since_us)
{
    sightings_waits(
        &at, &(SightedRow){.seq = seq, .event_id = id, .event_type = "t", .aggregate_id = "k"},
        since_us);
}

Test(sightings, an_event_that_waits_in_its_row_counts_before_any_look_shows_it)
{
    look(SECOND, INT64_MIN);
    parked(7, "a", 2 * SECOND);
    cr_assert_eq(sightings_oldest(&at, false)->seq, 7);
    cr_assert(at.low == 7 && at.high == 7, "whether it is settled must be heard of");
    parked(8, "b", 3 * SECOND);
    cr_assert_eq(at.count, 1, "one that waits longer is there");
    parked(5, NULL, SECOND + 1);
    cr_assert_eq(sightings_oldest(&at, false)->seq, 5);
    sightings_settled(&at, 5, SLICE_NULL);
    cr_assert_eq(sightings_oldest(&at, false)->seq, 7);
    parked(5, NULL, 9 * SECOND); /* and back again */
    cr_assert_eq(sightings_oldest(&at, false)->since_us, SECOND + 1);
}

Test(sightings, a_look_takes_the_place_of_what_the_relay_told)
{
    look(SECOND, INT64_MIN);
    parked(7, "a", 2 * SECOND);
    parked(6, "gone", SECOND + 1);
    row(7, "a", 100 * SECOND, 'o');
    look(5 * SECOND, 7);
    cr_assert_eq(at.count, 1);
    cr_assert_eq(the(7)->since_us, 2 * SECOND);
    cr_assert_eq(the(7)->first_us, 5 * SECOND, "the source must have caught up with this look");
    cr_assert_eq(the(7)->first_lsn, 5 * SECOND);
    cr_assert(the(7)->stands);
    cr_assert_eq(sightings_oldest(&at, false)->seq, 7);
    cr_assert_eq(judge(5 * SECOND, false).found, 0);
}

/* The net. */

static Judgement seen_at(int64_t us, bool again)
{
    row(7, "a", SECOND, 'o');
    look(us, 7);
    return judge(us, again);
}

Test(sightings, a_row_is_unseen_when_it_was_unknown_for_long_enough_without_a_break)
{
    cr_assert_eq(seen_at(10 * SECOND, false).unjudged, 1, "seen once");
    cr_assert_eq(seen_at(11 * SECOND, false).unknown, 1);
    cr_assert_eq(seen_at(20 * SECOND, false).found, 0);
    sight = SIGHT_BEHIND;
    cr_assert_eq(seen_at(21 * SECOND, false).behind, 1);
    sight = SIGHT_UNKNOWN;
    cr_assert_eq(seen_at(22 * SECOND, false).found, 0);
    cr_assert_eq(seen_at(31 * SECOND, false).found, 0);
    Judgement result = seen_at(32 * SECOND, false);
    cr_assert_eq(result.found, 1);
    cr_assert_eq(result.unseen, 1);
    cr_assert_eq(result.first_unknown, 7);
    result = seen_at(33 * SECOND, false);
    cr_assert_eq(result.found, 0, "said once");
    cr_assert_eq(result.unseen, 1);
    sight = SIGHT_KNOWN;
    cr_assert_eq(seen_at(34 * SECOND, false).over, 1);
}

Test(sightings, a_row_that_is_gone_is_over)
{
    (void)seen_at(10 * SECOND, false);
    (void)seen_at(11 * SECOND, false);
    cr_assert_eq(seen_at(21 * SECOND, false).unseen, 1);
    look(22 * SECOND, 7);
    Judgement result = judge(22 * SECOND, false);
    cr_assert_eq(result.over, 1);
    cr_assert_eq(result.unseen, 0);
    cr_assert_not(sightings_doubt(&at));
}

Test(sightings, the_source_looks_again_halfway)
{
    (void)seen_at(10 * SECOND, true);
    (void)seen_at(11 * SECOND, true);
    cr_assert(sightings_doubt(&at));
    cr_assert_eq(seen_at(15 * SECOND, true).asked, 0);
    cr_assert_eq(seen_at(16 * SECOND, true).asked, 1);
    cr_assert_eq(seen_at(17 * SECOND, true).asked, 0);
    cr_assert_eq(asked_again, 1);
    cr_assert_eq(seen_at(21 * SECOND, true).found, 1);
    cr_assert_eq(asked_again, 2, "and goes on to");
}

Test(sightings, after_a_time_without_looks_the_source_is_asked_before_anything_is_said)
{
    (void)seen_at(10 * SECOND, true);
    (void)seen_at(11 * SECOND, true);
    Judgement late = seen_at(40 * SECOND, true);
    cr_assert_eq(late.asked, 1);
    cr_assert_eq(late.found, 0, "the answer could not come");
    cr_assert_eq(seen_at(41 * SECOND, true).found, 1);
}

Test(sightings, what_is_settled_while_a_slow_look_is_under_way_is_not_unseen)
{
    (void)seen_at(10 * SECOND, true);
    (void)seen_at(11 * SECOND, true);
    (void)seen_at(16 * SECOND, true);
    sightings_settled(&at, 7, SLICE_LITERAL("a")); /* and marked, when the look was taken */
    cr_assert_eq(seen_at(21 * SECOND, true).found, 0);
    cr_assert_eq(seen_at(30 * SECOND, true).found, 0);
    cr_assert_eq(seen_at(31 * SECOND, true).found, 1, "but it goes on to be unpublished");
}

Test(sightings, while_nobody_can_tell_time_does_not_count)
{
    (void)seen_at(10 * SECOND, false);
    (void)seen_at(11 * SECOND, false);
    row(7, "a", SECOND, 'o');
    look(20 * SECOND, 7);
    Judgement result;
    sightings_judge(&at, NULL, 20 * SECOND, &result);
    cr_assert_eq(result.unknown, 0);
    cr_assert_eq(seen_at(22 * SECOND, false).found, 0);
    cr_assert_eq(seen_at(32 * SECOND, false).found, 1);
    row(7, "a", SECOND, 'o');
    look(33 * SECOND, 7);
    sightings_judge(&at, NULL, 33 * SECOND, &result);
    cr_assert_eq(result.unseen, 1, "a pause mends nothing");
    sightings_excuse(&at);
    cr_assert_eq(seen_at(34 * SECOND, false).unseen, 0);
}

Test(sightings, behind_a_long_backlog_pages_come_by_turns_and_each_twice)
{
    full_look(10 * SECOND, 1, 10000);
    cr_assert_eq(at.page_after, 100);
    for (int turn = 0; turn < 2; turn++) {
        oldest_rows(1);
        for (int64_t seq = 200; seq < 210; seq++) {
            row(seq, NULL, SECOND, 'p');
        }
        look((11 + turn) * SECOND, 10000);
    }
    cr_assert_eq(at.page_after, 209);
    cr_assert(the(205)->stands, "so that it is judged");
    cr_assert_eq(judge(12 * SECOND, false).unknown, 110);
    full_look(13 * SECOND, 1, 10000);
    full_look(14 * SECOND, 1, 10000);
    cr_assert_eq(at.page_after, 100, "behind the last page the first one follows");
    look(15 * SECOND, 10000);
    cr_assert_eq(at.page_after, INT64_MIN, "there is no rest");
}
