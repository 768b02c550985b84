#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/text.h"
#include "flow/event.h"
#include "rows/mark_queue.h"

static MarkQueue queue;
static MarkGone gone; /* by the last settle() */

static void end(void)
{
    mark_queue_release(&queue);
}

TestSuite(mark_queue, .fini = end);

static void add(int64_t first, int64_t last, uint32_t xid)
{
    for (int64_t seq = first; seq <= last; seq++) {
        mark_queue_add(&queue, seq, SLICE_NULL, xid);
    }
}

static void add_position(uint64_t lsn)
{
    mark_queue_add_position(&queue, &(MarkerPosition){.lsn = lsn});
}

/* The statement did not find these rows; ends with 0. */
static size_t settle(const char *snapshot, const int64_t *seqs)
{
    MarkMiss rows[16];
    MarkMissing missing = {.rows = rows, .snapshot = snapshot};
    while (seqs[missing.count] != 0) {
        rows[missing.count] = (MarkMiss){.seq = seqs[missing.count]};
        missing.count++;
    }
    return mark_queue_settle(&queue, &missing, &gone);
}

#define MISSING(...) ((const int64_t[]){__VA_ARGS__, 0})
#define NONE         ((const int64_t[]){0})

/* "3 4 | 5": the rows that are being marked, and the others. */
static void assert_rows(const char *expected)
{
    Text text = TEXT_EMPTY;
    for (size_t i = 0; i < queue.rows.count; i++) {
        const char *before = i == 0 ? "" : i == queue.sent ? " | " : " ";
        text_printf(&text, "%s%" PRId64, before, queue.rows.items[i].seq);
    }
    cr_assert_str_eq(text_string(&text), expected, "%s", text_string(&text));
    text_free(&text);
}

Test(mark_queue, nothing_is_empty)
{
    cr_assert(mark_queue_is_empty(&queue));
    mark_queue_choose(&queue, 10);
    cr_assert_eq(queue.sent, 0);
    cr_assert_eq(settle("", NONE), 0);
    cr_assert_eq(queue.positions.committed.lsn, 0);
}

Test(mark_queue, the_oldest_rows_go_first)
{
    add(1, 5, 9);
    mark_queue_choose(&queue, 2);
    assert_rows("1 2 | 3 4 5");
    add(6, 6, 9); /* while the statement runs */
    cr_assert_eq(settle("", NONE), 0);
    assert_rows("3 4 5 6");
    mark_queue_choose(&queue, 10);
    cr_assert_eq(queue.sent, 4);
    settle("", NONE);
    cr_assert(mark_queue_is_empty(&queue));
}

/* The array of rows moves as it grows. */
Test(mark_queue, rows_that_come_while_a_statement_runs_leave_the_chosen_ones_as_they_were)
{
    add(2, 3, 9);
    add(1, 1, 9);
    mark_queue_choose(&queue, 3);
    add(4, 5000, 9);
    size_t count = 0;
    const MarkRow *const *rows = mark_queue_chosen(&queue, &count);
    cr_assert_eq(count, 3);
    for (size_t i = 0; i < count; i++) {
        cr_assert_eq(rows[i]->seq, (int64_t)i + 1);
        cr_assert(rows[i] >= queue.rows.items && rows[i] < queue.rows.items + queue.rows.count);
    }
    mark_queue_refuse(&queue);
    cr_assert_eq(queue.refused, 3);
    for (size_t i = 0; i < 5; i++) {
        cr_assert_eq(queue.rows.items[i].refused, i < 3);
    }
}

Test(mark_queue, a_position_goes_with_the_last_row_before_it)
{
    add(1, 3, 9);
    add_position(100);
    add(4, 4, 9);
    add_position(200);
    mark_queue_choose(&queue, 2);
    cr_assert_eq(queue.positions.on_its_way.lsn, 0);
    settle("", NONE);
    cr_assert_eq(queue.positions.committed.lsn, 0);
    mark_queue_choose(&queue, 1);
    cr_assert_eq(queue.positions.on_its_way.lsn, 100);
    cr_assert_eq(queue.positions.committed.lsn, 0, "it is not committed yet");
    settle("", NONE);
    cr_assert_eq(queue.positions.committed.lsn, 100);
    mark_queue_choose(&queue, 1);
    settle("", NONE);
    cr_assert_eq(queue.positions.committed.lsn, 200);
    cr_assert(mark_queue_is_empty(&queue));
}

/* Marks the next rows one by one, and is refused these. */
static void refuse(size_t count, int64_t a, int64_t b)
{
    for (size_t i = 0; i < count; i++) {
        mark_queue_choose(&queue, 1);
        size_t chosen = 0;
        int64_t seq = mark_queue_chosen(&queue, &chosen)[0]->seq;
        cr_assert_eq(chosen, 1);
        if (seq == a || seq == b) {
            mark_queue_refuse(&queue);
        } else {
            cr_assert_eq(settle("", NONE), 0);
        }
    }
}

Test(mark_queue, what_is_refused_stays_and_no_position_passes_it)
{
    add(1, 1, 9);
    add_position(50);
    add(2, 2, 9);
    add_position(100);
    add(3, 3, 9);
    add_position(150);
    add(4, 4, 9);
    add_position(200);
    refuse(4, 2, 3);
    cr_assert_eq(queue.positions.committed.lsn, 50);
    cr_assert_eq(queue.refused, 2);
    cr_assert_eq(queue.rows.count, 2);
    cr_assert_not(mark_queue_is_empty(&queue));
    /* One of them is tried again, in vain: it goes behind nobody. */
    mark_queue_excuse(&queue, 2); /* counted round: the first */
    refuse(1, 2, 3);
    cr_assert_eq(queue.refused, 2);
    /* The first one passes: the second still lies before the last positions. */
    mark_queue_excuse(&queue, 0);
    refuse(1, 0, 0);
    cr_assert_eq(queue.positions.committed.lsn, 50);
    add(5, 5, 9);
    add_position(250);
    mark_queue_forgive(&queue);
    refuse(1, 0, 0);
    cr_assert_eq(queue.positions.committed.lsn, 200);
    refuse(1, 0, 0);
    cr_assert_eq(queue.positions.committed.lsn, 250);
    cr_assert(mark_queue_is_empty(&queue));
}

Test(mark_queue, what_was_refused_and_is_tried_row_by_row_commits_no_position_too_early)
{
    add(1, 3, 9);
    add_position(100);
    add(4, 4, 9);
    refuse(4, 1, 3);
    mark_queue_forgive(&queue);
    refuse(1, 3, 3);
    cr_assert_eq(queue.positions.committed.lsn, 0, "row 3 is not marked");
    refuse(1, 0, 0);
    cr_assert_eq(queue.positions.committed.lsn, 100);
}

Test(mark_queue, the_last_position_that_holds_is_sent_with_its_place_in_a_transaction)
{
    add(1, 1, 9);
    add_position(100);
    add(2, 2, 9);
    mark_queue_add_position(&queue, &(MarkerPosition){.lsn = 100, .tx_lsn = 150, .tx_ordinal = 1});
    mark_queue_choose(&queue, 10);
    settle("", NONE);
    cr_assert_eq(queue.positions.committed.lsn, 100);
    cr_assert_eq(queue.positions.committed.tx_lsn, 150);
    cr_assert_eq(queue.positions.committed.tx_ordinal, 1);
    add_position(200);
    mark_queue_choose(&queue, 10);
    settle("", NONE);
    cr_assert_eq(queue.positions.committed.lsn, 200);
    cr_assert_eq(queue.positions.committed.tx_lsn, 0);
}

Test(mark_queue, a_position_without_rows_is_something_to_write)
{
    add_position(100);
    cr_assert_not(mark_queue_is_empty(&queue));
    mark_queue_choose(&queue, 10);
    cr_assert_eq(queue.sent, 0);
    cr_assert_eq(queue.positions.on_its_way.lsn, 100);
    settle("", NONE);
    cr_assert(mark_queue_is_empty(&queue));
    cr_assert_eq(queue.positions.committed.lsn, 100);
}

Test(mark_queue, positions_behind_the_same_row_are_one)
{
    add(1, 1, 9);
    for (uint64_t lsn = 1; lsn <= 1000; lsn++) {
        add_position(lsn);
    }
    cr_assert_eq(queue.positions.waiting.count, 1);
    add(2, 2, 9);
    add_position(2000);
    cr_assert_eq(queue.positions.waiting.count, 2);
    mark_queue_choose(&queue, 1);
    settle("", NONE);
    cr_assert_eq(queue.positions.committed.lsn, 1000);
}

Test(mark_queue, a_position_that_is_being_written_is_not_replaced)
{
    add(1, 1, 9);
    add_position(100);
    mark_queue_choose(&queue, 1);
    add_position(200);
    add_position(300);
    cr_assert_eq(queue.positions.on_its_way.lsn, 100);
    settle("", NONE);
    cr_assert_eq(queue.positions.committed.lsn, 100);
    cr_assert_not(mark_queue_is_empty(&queue));
    mark_queue_choose(&queue, 1);
    settle("", NONE);
    cr_assert_eq(queue.positions.committed.lsn, 300);
    cr_assert(mark_queue_is_empty(&queue));
}

Test(mark_queue, rows_that_cannot_be_seen_yet_are_kept_with_the_position_behind_them)
{
    add(1, 2, 40);
    add_position(100);
    add(3, 4, 41);
    add_position(200);
    mark_queue_choose(&queue, 10);
    cr_assert_eq(settle("41:41:", MISSING(3, 4)), 2);
    cr_assert_eq(gone.vanished, 0);
    assert_rows("3 4");
    cr_assert_eq(queue.positions.committed.lsn, 0,
                 "the server commits no position with rows missing");
    add(5, 5, 42);
    add_position(300);
    mark_queue_choose(&queue, 2);
    cr_assert_eq(queue.positions.on_its_way.lsn, 200);
    cr_assert_eq(settle("41:42:41", MISSING(4)), 1);
    mark_queue_choose(&queue, 2);
    assert_rows("4 5");
    cr_assert_eq(queue.positions.on_its_way.lsn, 300);
    cr_assert_eq(settle("43:43:", NONE), 0);
    cr_assert_eq(queue.positions.committed.lsn, 300);
    cr_assert(mark_queue_is_empty(&queue));
}

Test(mark_queue, a_position_before_a_row_that_is_kept_waits_for_it_no_longer_than_needed)
{
    add(1, 1, 40);
    add_position(100);
    add(2, 2, 41);
    mark_queue_choose(&queue, 10);
    cr_assert_eq(settle("41:41:", MISSING(2)), 1);
    cr_assert_eq(queue.positions.committed.lsn, 0);
    mark_queue_choose(&queue, 10);
    cr_assert_eq(queue.positions.on_its_way.lsn, 100);
}

Test(mark_queue, rows_whose_transaction_is_over_have_vanished)
{
    add(1, 3, 40);
    add(4, 4, 0); /* seen in the table */
    add(5, 5, 41);
    add_position(100);
    mark_queue_choose(&queue, 10);
    cr_assert_eq(settle("41:42:41", MISSING(2, 4, 5)), 1);
    cr_assert_eq(gone.vanished, 2);
    assert_rows("5");
    mark_queue_choose(&queue, 10);
    cr_assert_eq(settle("42:42:", MISSING(5)), 0);
    cr_assert_eq(gone.vanished, 1);
    cr_assert_eq(queue.positions.committed.lsn, 0);
    cr_assert_not(mark_queue_is_empty(&queue), "its position is to be written");
    mark_queue_choose(&queue, 10);
    cr_assert_eq(settle("", NONE), 0);
    cr_assert_eq(gone.vanished, 0);
    cr_assert_eq(queue.positions.committed.lsn, 100);
    cr_assert(mark_queue_is_empty(&queue));
}

Test(mark_queue, messages_have_no_row_that_could_be_missing)
{
    mark_queue_add(&queue, EVENT_NO_SEQ, SLICE_NULL, 40);
    add(1, 1, 40);
    mark_queue_add(&queue, EVENT_NO_SEQ, SLICE_NULL, 40);
    add_position(100);
    mark_queue_choose(&queue, 10);
    cr_assert_eq(settle("40:40:", MISSING(1)), 1);
    assert_rows("1");
    mark_queue_choose(&queue, 10);
    cr_assert_eq(queue.positions.on_its_way.lsn, 100);
}

Test(mark_queue, what_was_sent_when_the_connection_broke_is_sent_again)
{
    add(1, 3, 9);
    add_position(100);
    mark_queue_choose(&queue, 10);
    mark_queue_unsend(&queue);
    cr_assert_eq(queue.positions.committed.lsn, 0);
    assert_rows("1 2 3");
    add_position(200); /* nothing is being written: it may replace the other */
    cr_assert_eq(queue.positions.waiting.count, 1);
    mark_queue_choose(&queue, 10);
    cr_assert_eq(queue.sent, 3);
    cr_assert_eq(queue.positions.on_its_way.lsn, 200);
    settle("", NONE);
    cr_assert_eq(queue.positions.committed.lsn, 200);
}

static const struct {
    const char *snapshot;
    uint32_t xid;
    bool shows;
} SNAPSHOTS[] = {
    {"10:20:", 0, true}, /* it was seen in the table */
    {"10:20:", 9, true},
    {"10:20:", 10, true},
    {"10:20:", 19, true},
    {"10:20:", 20, false},
    {"10:20:", 21, false},
    {"10:20:10", 10, false},
    {"10:20:10", 11, true},
    {"10:20:10,12,19", 12, false},
    {"10:20:10,12,19", 19, false},
    {"10:20:10,12,19", 1, true},
    {"10:20:10,12,19", 9, true}, /* not "19" */
    {"10:20:10,12,19", 13, true},
    /* 32 bits of 64: epoch 1 begins at 4294967296. */
    {"4294967290:4294967300:4294967295", 4294967289, true},
    {"4294967290:4294967300:4294967295", 4294967295, false},
    {"4294967290:4294967300:4294967295", 4294967294, true},
    {"4294967290:4294967300:4294967295,4294967299", 3, false},
    {"4294967290:4294967300:4294967295,4294967299", 2, true}, /* the one that is 2**32 + 2 */
    {"4294967290:4294967300:", 4, false},
    {"4294967290:4294967300:", 2147483652, true}, /* half a circle back is the past */
    {"4294967290:4294967300:", 2147483651, false},
    {"21474836480:21474836490:21474836485", 5, false}, /* epoch 5 */
    {"21474836480:21474836490:21474836485", 4, true},
    {"21474836480:21474836490:21474836485", 4294967295, true},
    /* Nothing is known: a row is rather kept than given up. */
    {"", 7, false},
    {"10", 7, false},
    {"10:20", 7, false},
    {"10:20:12,", 7, false},
    {"10:20:x", 7, false},
    {"10:20: 12", 7, false},
    {"10:+20:", 7, false},
    {"10:99999999999999999999:", 7, false},
};

Test(mark_queue, a_snapshot_shows_what_was_over_when_it_was_taken)
{
    for (size_t i = 0; i < sizeof(SNAPSHOTS) / sizeof(SNAPSHOTS[0]); i++) {
        cr_assert_eq(mark_snapshot_shows(SNAPSHOTS[i].snapshot, SNAPSHOTS[i].xid),
                     SNAPSHOTS[i].shows, "%s: %" PRIu32, SNAPSHOTS[i].snapshot, SNAPSHOTS[i].xid);
    }
}

Test(mark_queue, a_row_is_known_by_number_and_event_id)
{
    static const char LONG[] = "a-name-that-is-longer-than-a-uuid-and-lives-on-the-heap";
    mark_queue_add(&queue, 5, SLICE_LITERAL("a"), 9);
    mark_queue_add(&queue, 6, SLICE_NULL, 9);
    mark_queue_add(&queue, 7, slice_of(LONG), 9);
    mark_queue_add(&queue, 8, SLICE_LITERAL(""), 9);
    cr_assert(mark_queue_has(&queue, 5, SLICE_LITERAL("a")));
    cr_assert_not(mark_queue_has(&queue, 5, SLICE_LITERAL("b")));
    cr_assert_not(mark_queue_has(&queue, 5, SLICE_NULL));
    cr_assert(mark_queue_has(&queue, 6, SLICE_NULL));
    cr_assert_not(mark_queue_has(&queue, 6, SLICE_LITERAL("")), "NULL is a state of its own");
    cr_assert(mark_queue_has(&queue, 7, slice_of(LONG)));
    cr_assert(mark_queue_has(&queue, 8, SLICE_LITERAL("")));
    cr_assert_not(mark_queue_has(&queue, 8, SLICE_NULL));
}

Test(mark_queue, a_number_that_was_given_out_again_is_not_twice_in_a_statement)
{
    mark_queue_add(&queue, 2, SLICE_LITERAL("old"), 9);
    mark_queue_add(&queue, 1, SLICE_LITERAL("b"), 9);
    add_position(100);
    mark_queue_add(&queue, 2, SLICE_LITERAL("new"), 9);
    add_position(200);
    mark_queue_choose(&queue, 10);
    cr_assert_eq(queue.sent, 2);
    cr_assert_eq(queue.positions.on_its_way.lsn, 100);
    size_t count = 0;
    const MarkRow *const *rows = mark_queue_chosen(&queue, &count);
    cr_assert_eq(count, 2);
    cr_assert_eq(rows[0]->seq, 1, "in order of seq");
    cr_assert(slice_equal(mark_row_id(rows[1]), SLICE_LITERAL("old")));
    settle("", NONE);
    cr_assert_not(mark_queue_has(&queue, 2, SLICE_LITERAL("old")));
    cr_assert(mark_queue_has(&queue, 2, SLICE_LITERAL("new")));
    mark_queue_choose(&queue, 10);
    cr_assert_eq(queue.sent, 1);
}

Test(mark_queue, rows_of_another_history_are_forgotten_with_their_positions)
{
    add(1, 3, 9);
    add_position(100);
    mark_queue_choose(&queue, 10);
    settle("", NONE);
    add(4, 6, 9);
    add_position(200);
    mark_queue_choose(&queue, 2);
    mark_queue_forget(&queue);
    cr_assert(mark_queue_is_empty(&queue));
    cr_assert_eq(queue.positions.committed.lsn, 100, "what is committed stays known");
    add(7, 7, 9);
    add_position(300);
    mark_queue_choose(&queue, 10);
    cr_assert_eq(queue.positions.on_its_way.lsn, 300);
    settle("", NONE);
    cr_assert(mark_queue_is_empty(&queue));
}

Test(mark_queue, a_row_that_another_event_replaced_is_told_from_one_that_is_gone)
{
    add(1, 3, 9);
    mark_queue_choose(&queue, 10);
    MarkMiss rows[] = {{.seq = 3, .replaced = true}, {.seq = 1}};
    MarkMissing missing = {.rows = rows, .count = 2, .snapshot = "10:10:"};
    cr_assert_eq(mark_queue_settle(&queue, &missing, &gone), 0);
    cr_assert_eq(gone.vanished, 1);
    cr_assert_eq(gone.replaced, 1);
}
