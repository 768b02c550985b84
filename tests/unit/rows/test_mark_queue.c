#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"
#include "flow/event.h"
#include "rows/mark_queue.h"
#include "stub/random.h"

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
    for (size_t i = 0; i < queue.count; i++) {
        const char *before = i == 0 ? "" : i == queue.sent ? " | " : " ";
        text_printf(&text, "%s%" PRId64, before, queue.rows[i].seq);
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
    cr_assert_eq(queue.position.lsn, 0);
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

Test(mark_queue, a_position_goes_with_the_last_row_before_it)
{
    add(1, 3, 9);
    add_position(100);
    add(4, 4, 9);
    add_position(200);
    mark_queue_choose(&queue, 2);
    cr_assert_eq(queue.position_sent.lsn, 0);
    settle("", NONE);
    cr_assert_eq(queue.position.lsn, 0);
    mark_queue_choose(&queue, 1);
    cr_assert_eq(queue.position_sent.lsn, 100);
    cr_assert_eq(queue.position.lsn, 0, "it is not committed yet");
    settle("", NONE);
    cr_assert_eq(queue.position.lsn, 100);
    mark_queue_choose(&queue, 1);
    settle("", NONE);
    cr_assert_eq(queue.position.lsn, 200);
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
    cr_assert_eq(queue.position.lsn, 50);
    cr_assert_eq(queue.refused, 2);
    cr_assert_eq(queue.count, 2);
    cr_assert_not(mark_queue_is_empty(&queue));
    /* One of them is tried again, in vain: it goes behind nobody. */
    mark_queue_excuse(&queue, 2); /* counted round: the first */
    refuse(1, 2, 3);
    cr_assert_eq(queue.refused, 2);
    /* The first one passes: the second still lies before the last positions. */
    mark_queue_excuse(&queue, 0);
    refuse(1, 0, 0);
    cr_assert_eq(queue.position.lsn, 50);
    add(5, 5, 9);
    add_position(250);
    mark_queue_forgive(&queue);
    refuse(1, 0, 0);
    cr_assert_eq(queue.position.lsn, 200);
    refuse(1, 0, 0);
    cr_assert_eq(queue.position.lsn, 250);
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
    cr_assert_eq(queue.position.lsn, 0, "row 3 is not marked");
    refuse(1, 0, 0);
    cr_assert_eq(queue.position.lsn, 100);
}

Test(mark_queue, the_last_position_that_holds_is_sent_with_its_place_in_a_transaction)
{
    add(1, 1, 9);
    add_position(100);
    add(2, 2, 9);
    mark_queue_add_position(&queue, &(MarkerPosition){.lsn = 100, .tx_lsn = 150, .tx_ordinal = 1});
    mark_queue_choose(&queue, 10);
    settle("", NONE);
    cr_assert_eq(queue.position.lsn, 100);
    cr_assert_eq(queue.position.tx_lsn, 150);
    cr_assert_eq(queue.position.tx_ordinal, 1);
    add_position(200);
    mark_queue_choose(&queue, 10);
    settle("", NONE);
    cr_assert_eq(queue.position.lsn, 200);
    cr_assert_eq(queue.position.tx_lsn, 0);
}

Test(mark_queue, a_position_without_rows_is_something_to_write)
{
    add_position(100);
    cr_assert_not(mark_queue_is_empty(&queue));
    mark_queue_choose(&queue, 10);
    cr_assert_eq(queue.sent, 0);
    cr_assert_eq(queue.position_sent.lsn, 100);
    settle("", NONE);
    cr_assert(mark_queue_is_empty(&queue));
    cr_assert_eq(queue.position.lsn, 100);
}

Test(mark_queue, positions_behind_the_same_row_are_one)
{
    add(1, 1, 9);
    for (uint64_t lsn = 1; lsn <= 1000; lsn++) {
        add_position(lsn);
    }
    cr_assert_eq(queue.boundary_count, 1);
    add(2, 2, 9);
    add_position(2000);
    cr_assert_eq(queue.boundary_count, 2);
    mark_queue_choose(&queue, 1);
    settle("", NONE);
    cr_assert_eq(queue.position.lsn, 1000);
}

Test(mark_queue, a_position_that_is_being_written_is_not_replaced)
{
    add(1, 1, 9);
    add_position(100);
    mark_queue_choose(&queue, 1);
    add_position(200);
    add_position(300);
    cr_assert_eq(queue.position_sent.lsn, 100);
    settle("", NONE);
    cr_assert_eq(queue.position.lsn, 100);
    cr_assert_not(mark_queue_is_empty(&queue));
    mark_queue_choose(&queue, 1);
    settle("", NONE);
    cr_assert_eq(queue.position.lsn, 300);
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
    cr_assert_eq(queue.position.lsn, 0, "the server commits no position with rows missing");
    add(5, 5, 42);
    add_position(300);
    mark_queue_choose(&queue, 2);
    cr_assert_eq(queue.position_sent.lsn, 200);
    cr_assert_eq(settle("41:42:41", MISSING(4)), 1);
    mark_queue_choose(&queue, 2);
    assert_rows("4 5");
    cr_assert_eq(queue.position_sent.lsn, 300);
    cr_assert_eq(settle("43:43:", NONE), 0);
    cr_assert_eq(queue.position.lsn, 300);
    cr_assert(mark_queue_is_empty(&queue));
}

Test(mark_queue, a_position_before_a_row_that_is_kept_waits_for_it_no_longer_than_needed)
{
    add(1, 1, 40);
    add_position(100);
    add(2, 2, 41);
    mark_queue_choose(&queue, 10);
    cr_assert_eq(settle("41:41:", MISSING(2)), 1);
    cr_assert_eq(queue.position.lsn, 0);
    mark_queue_choose(&queue, 10);
    cr_assert_eq(queue.position_sent.lsn, 100);
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
    cr_assert_eq(queue.position.lsn, 0);
    cr_assert_not(mark_queue_is_empty(&queue), "its position is to be written");
    mark_queue_choose(&queue, 10);
    cr_assert_eq(settle("", NONE), 0);
    cr_assert_eq(gone.vanished, 0);
    cr_assert_eq(queue.position.lsn, 100);
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
    cr_assert_eq(queue.position_sent.lsn, 100);
}

Test(mark_queue, what_was_sent_when_the_connection_broke_is_sent_again)
{
    add(1, 3, 9);
    add_position(100);
    mark_queue_choose(&queue, 10);
    mark_queue_unsend(&queue);
    cr_assert_eq(queue.position.lsn, 0);
    assert_rows("1 2 3");
    add_position(200); /* nothing is being written: it may replace the other */
    cr_assert_eq(queue.boundary_count, 1);
    mark_queue_choose(&queue, 10);
    cr_assert_eq(queue.sent, 3);
    cr_assert_eq(queue.position_sent.lsn, 200);
    settle("", NONE);
    cr_assert_eq(queue.position.lsn, 200);
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
    cr_assert_eq(queue.position_sent.lsn, 100);
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
    cr_assert_eq(queue.position.lsn, 100, "what is committed stays known");
    add(7, 7, 9);
    add_position(300);
    mark_queue_choose(&queue, 10);
    cr_assert_eq(queue.position_sent.lsn, 300);
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

/* A server with transactions that are streamed before they are visible, and a list of everything
 * that was ever added. */

enum { MODEL_ROWS = 400, MODEL_XIDS = 200, MODEL_POSITIONS = 400, MODEL_SEQS = 90 };

typedef enum ModelState { ROW_QUEUED, ROW_MARKED, ROW_VANISHED } ModelState;

typedef struct Model {
    uint64_t seed;
    Random random;
    uint64_t first_xid; /* 64 bits */
    size_t xid_count;
    bool over[MODEL_XIDS];
    size_t row_count;
    size_t row_xid[MODEL_ROWS]; /* MODEL_XIDS: 0 */
    bool message[MODEL_ROWS];
    bool gone[MODEL_ROWS];     /* deleted by somebody else */
    bool replaced[MODEL_ROWS]; /* ... and another event has its number */
    ModelState state[MODEL_ROWS];
    size_t position_count;
    size_t position_rows[MODEL_POSITIONS]; /* of LSN i + 1: all of the first so many are done */
    uint64_t committed;
    size_t most;
    bool running;
} Model;

static Model model;

/* 64 bits. As in PostgreSQL, the lowest three of each epoch are not given out. */
static uint64_t model_xid(size_t number)
{
    uint64_t xid = model.first_xid + number;
    return xid >> 32 != model.first_xid >> 32 ? xid + 3 : xid;
}

/* Numbers are given out again and again: only the event id tells rows apart. */
static int64_t model_seq(size_t row)
{
    return model.message[row] ? EVENT_NO_SEQ : (int64_t)(row % MODEL_SEQS);
}

/* Short, long, or none. */
static Slice model_id(size_t row)
{
    static char id[200];
    int length = snprintf(id, sizeof(id), "%zu-%0*d", row, row % 3 == 0 ? 150 : 36, 7);
    return row % 7 == 0 ? SLICE_NULL : (Slice){.data = id, .length = (size_t)length};
}

static void model_add_row(void)
{
    size_t i = model.row_count;
    if (i == MODEL_ROWS) {
        return;
    }
    if (model.xid_count == 0 ||
        (model.xid_count < MODEL_XIDS && random_chance(&model.random, 40))) {
        model.xid_count++;
    }
    model.row_xid[i] = random_chance(&model.random, 10) ? MODEL_XIDS : model.xid_count - 1;
    model.message[i] = random_chance(&model.random, 10);
    model.gone[i] = !model.message[i] && random_chance(&model.random, 5);
    model.replaced[i] = model.gone[i] && random_chance(&model.random, 50);
    bool known = model.row_xid[i] < MODEL_XIDS;
    mark_queue_add(&queue, model_seq(i), model_id(i),
                   known ? (uint32_t)model_xid(model.row_xid[i]) : 0);
    model.row_count++;
}

static void model_add_position(void)
{
    if (model.position_count < MODEL_POSITIONS) {
        model.position_rows[model.position_count++] = model.row_count;
        add_position(model.position_count);
    }
}

/* xmin:xmax:xip, xmax behind the last transaction that is over. */
static void model_snapshot(Text *text)
{
    size_t xmax = 0;
    for (size_t i = 0; i < model.xid_count; i++) {
        xmax = model.over[i] ? i + 1 : xmax;
    }
    size_t xmin = 0;
    while (xmin < xmax && model.over[xmin]) {
        xmin++;
    }
    text_printf(text, "%" PRIu64 ":%" PRIu64 ":", model_xid(xmin), model_xid(xmax));
    const char *comma = "";
    for (size_t i = xmin; i < xmax; i++) {
        if (!model.over[i]) {
            text_printf(text, "%s%" PRIu64, comma, model_xid(i));
            comma = ",";
        }
    }
}

static bool model_is_over(size_t row)
{
    return model.row_xid[row] == MODEL_XIDS || model.over[model.row_xid[row]];
}

/* The oldest rows that are not done, in their order, are in the statement, up to one whose number
 * is among them. */
static void model_choose(void)
{
    mark_queue_choose(&queue, model.most);
    model.running = true;
    size_t at = 0;
    bool used[MODEL_SEQS] = {0};
    size_t i = 0;
    for (; i < model.row_count && at < queue.sent; i++) {
        if (model.state[i] != ROW_QUEUED) {
            continue;
        }
        int64_t seq = model_seq(i);
        cr_assert_eq(queue.rows[at].seq, seq, "seed %" PRIu64, model.seed);
        cr_assert(slice_equal(mark_row_id(&queue.rows[at]), model_id(i)), "seed %" PRIu64,
                  model.seed);
        cr_assert(seq == EVENT_NO_SEQ || !used[seq], "seed %" PRIu64 ": twice", model.seed);
        if (seq != EVENT_NO_SEQ) {
            used[seq] = true;
        }
        at++;
    }
    cr_assert_eq(at, queue.sent);
    bool twice = at < queue.count && queue.rows[at].seq != EVENT_NO_SEQ && used[queue.rows[at].seq];
    cr_assert(at == model.most || at == queue.count || twice, "seed %" PRIu64, model.seed);
    size_t count = 0;
    const MarkRow *const *rows = mark_queue_chosen(&queue, &count);
    for (size_t j = 1; j < count; j++) {
        cr_assert_lt(rows[j - 1]->seq, rows[j]->seq);
    }
}

/* What may be committed now, by the list. */
static uint64_t model_position(void)
{
    size_t done = 0;
    while (done < model.row_count && model.state[done] != ROW_QUEUED) {
        done++;
    }
    uint64_t lsn = 0;
    while (lsn < model.position_count && model.position_rows[lsn] <= done) {
        lsn++;
    }
    return lsn;
}

static void model_settle(void)
{
    MarkMiss misses[MODEL_ROWS];
    MarkMissing missing = {.rows = misses};
    size_t sent = queue.sent;
    size_t kept = 0;
    MarkGone given_up = {0};
    size_t last_position = model.position_count;
    for (size_t i = 0; i < model.row_count && sent > 0; i++) {
        if (model.state[i] != ROW_QUEUED) {
            continue;
        }
        sent--;
        bool found = model.message[i] || (model_is_over(i) && !model.gone[i]);
        if (!found) {
            misses[missing.count++] =
                (MarkMiss){.seq = model_seq(i), .replaced = model.replaced[i]};
        }
        if (found || model_is_over(i)) {
            model.state[i] = found ? ROW_MARKED : ROW_VANISHED;
            given_up.vanished += !found && !model.replaced[i];
            given_up.replaced += !found && model.replaced[i];
        } else {
            kept++;
        }
    }
    Text snapshot = TEXT_EMPTY;
    model_snapshot(&snapshot);
    missing.snapshot = text_string(&snapshot);
    uint64_t sent_lsn = queue.position_sent.lsn;
    model.committed = missing.count == 0 ? sent_lsn : model.committed;
    cr_assert_eq(mark_queue_settle(&queue, &missing, &gone), kept, "seed %" PRIu64, model.seed);
    cr_assert_eq(gone.vanished, given_up.vanished, "seed %" PRIu64, model.seed);
    cr_assert_eq(gone.replaced, given_up.replaced, "seed %" PRIu64, model.seed);
    cr_assert_eq(queue.position.lsn, model.committed, "seed %" PRIu64, model.seed);
    cr_assert_leq(model.committed, model_position(),
                  "seed %" PRIu64 ": a position before a row that is not marked", model.seed);
    cr_assert_leq(model.committed, last_position);
    text_free(&snapshot);
    model.running = false;
}

static void model_step(void)
{
    size_t pick = random_below(&model.random, 100);
    if (pick < 40) {
        model_add_row();
    } else if (pick < 55) {
        model_add_position();
    } else if (pick < 70 && model.xid_count > 0) {
        model.over[random_below(&model.random, model.xid_count)] = true;
    } else if (!model.running) {
        model_choose();
    } else if (pick < 73) {
        mark_queue_unsend(&queue);
        model.running = false;
    } else {
        model_settle();
    }
}

/* Everything becomes visible: everything is written, and the last position is committed. */
static void model_finish(void)
{
    memset(model.over, true, sizeof(model.over));
    if (model.running) {
        model_settle();
    }
    for (size_t i = 0; !mark_queue_is_empty(&queue); i++) {
        cr_assert_lt(i, 2 * MODEL_ROWS + 2, "seed %" PRIu64 ": no end", model.seed);
        model_choose();
        model_settle();
    }
    for (size_t i = 0; i < model.row_count; i++) {
        cr_assert_eq(model.state[i], model.gone[i] ? ROW_VANISHED : ROW_MARKED,
                     "seed %" PRIu64 ": row %zu", model.seed, i);
    }
    cr_assert_eq(queue.position.lsn, model.position_count, "seed %" PRIu64, model.seed);
}

Test(mark_queue, no_position_is_committed_before_a_row_that_is_neither_marked_nor_gone)
{
    uint64_t first = 1;
    uint64_t count = 1000;
    random_seeds(&first, &count);
    for (uint64_t seed = first; seed < first + count; seed++) {
        model = (Model){.seed = seed, .random = random_new(seed)};
        model.first_xid = random_chance(&model.random, 50)
                              ? UINT64_C(0x1FFFFFFFF) - random_below(&model.random, MODEL_XIDS)
                              : 3 + random_below(&model.random, 1000);
        model.most = 1 + random_below(&model.random, 20);
        for (int i = 0; i < 600; i++) {
            model_step();
        }
        model_finish();
        mark_queue_release(&queue);
    }
}
