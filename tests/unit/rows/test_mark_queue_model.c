#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "flow/event.h"
#include "rows/mark_queue.h"
#include "stub/random.h"

static MarkQueue queue;

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
        mark_queue_add_position(&queue, &(MarkerPosition){.lsn = model.position_count});
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
        cr_assert_eq(queue.rows.items[at].seq, seq, "seed %" PRIu64, model.seed);
        cr_assert(slice_equal(mark_row_id(&queue.rows.items[at]), model_id(i)), "seed %" PRIu64,
                  model.seed);
        cr_assert(seq == EVENT_NO_SEQ || !used[seq], "seed %" PRIu64 ": twice", model.seed);
        if (seq != EVENT_NO_SEQ) {
            used[seq] = true;
        }
        at++;
    }
    cr_assert_eq(at, queue.sent);
    bool twice = at < queue.rows.count && queue.rows.items[at].seq != EVENT_NO_SEQ &&
                 used[queue.rows.items[at].seq];
    cr_assert(at == model.most || at == queue.rows.count || twice, "seed %" PRIu64, model.seed);
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
    uint64_t sent_lsn = queue.positions.on_its_way.lsn;
    model.committed = missing.count == 0 ? sent_lsn : model.committed;
    MarkGone gone = {0};
    cr_assert_eq(mark_queue_settle(&queue, &missing, &gone), kept, "seed %" PRIu64, model.seed);
    cr_assert_eq(gone.vanished, given_up.vanished, "seed %" PRIu64, model.seed);
    cr_assert_eq(gone.replaced, given_up.replaced, "seed %" PRIu64, model.seed);
    cr_assert_eq(queue.positions.committed.lsn, model.committed, "seed %" PRIu64, model.seed);
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
    cr_assert_eq(queue.positions.committed.lsn, model.position_count, "seed %" PRIu64, model.seed);
}

Test(mark_queue_model, no_position_is_committed_before_a_row_that_is_neither_marked_nor_gone)
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
