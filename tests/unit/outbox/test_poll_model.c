/* The polling source beside a model of an application: transactions that draw numbers and commit in
 * any order or not at all, marks that commit while a fetch is under way, people who unmark rows,
 * topics that are missing for a while, numbers that go back (also to those of events in flight) or
 * are drawn long before the INSERT. Whatever happens: no event twice without a reason (poll_rig.c
 * asserts it), of each key none before an earlier one, and none late.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "outbox/poll_fence.h"
#include "outbox/poll_internal.h"
#include "outbox/poll_pace.h"
#include "outbox/poll_sweep.h"
#include "poll_rig.h"
#include "stub/random.h"

TestSuite(poll_model, .timeout = 300);

enum {
    KEYS = 12,
    TRANSACTIONS = 6,
    EVENTS = 40, /* of one transaction */
    EARLY = 20,
    LATE_FETCHES = 40, /* fetches with room, until everything that is committed is delivered */
    NO_KEY = -1,
};

typedef struct Transaction {
    bool open;
    int number;
    size_t count;
    int64_t seqs[EVENTS];
} Transaction;

static struct {
    uint64_t seed;
    Random random;
    Transaction transactions[TRANSACTIONS];
    int names;
    int64_t next; /* of the sequence */
    int key[RIG_ROWS];
    int order[RIG_ROWS];  /* within its key */
    int drawn[KEYS];      /* orders */
    int last[KEYS];       /* delivered */
    int locked_by[KEYS];  /* transaction + 1 */
    int64_t early[EARLY]; /* numbers that were drawn and belong to no transaction */
    size_t early_count;
    size_t savepoints; /* in 100: an event is followed by a rolled-back number */
    int missing;       /* the key whose topic is missing, or NO_KEY */
    bool numbers_tell; /* the relay may read the sequence */
    bool dear;         /* a sweep costs so much that there are few */
    int storages;
    size_t unmarked, went_back, inserted_late, truncated, returned;
} model;

static char last_value[24];
static char storage[32];

/* What the server tells of table and sequence. */
static void tell_numbers(void)
{
    snprintf(last_value, sizeof(last_value), "%lld", (long long)model.next - 1);
    snprintf(storage, sizeof(storage), "4242 %d", 4241 + model.storages);
    rig.last_value = model.numbers_tell ? last_value : NULL;
    rig.storage = storage;
}

static int64_t draw(void)
{
    model.next++;
    tell_numbers();
    return model.next - 1;
}

static char writers[256];

static void on_delivered(const Event *event)
{
    int key = model.key[event->seq];
    if (key == NO_KEY) {
        return;
    }
    cr_assert_lt(model.last[key], model.order[event->seq],
                 "seed %lu: key %d: %d behind %d (seq %lld)", (unsigned long)model.seed, key,
                 model.order[event->seq], model.last[key], (long long)event->seq);
    model.last[key] = model.order[event->seq];
}

static void name_writers(void)
{
    size_t length = 0;
    writers[0] = '\0';
    for (int i = 0; i < TRANSACTIONS; i++) {
        if (model.transactions[i].open) {
            length += (size_t)snprintf(writers + length, sizeof(writers) - length, "%s%d/%d",
                                       length > 0 ? " " : "", i + 3, model.transactions[i].number);
        }
    }
    rig.writers = writers;
}

static bool numbers_left(void)
{
    return model.next < RIG_ROWS - 8;
}

/* An INSERT: the key's lock is held until the end of the transaction. */
static void insert_one(int t)
{
    Transaction *transaction = &model.transactions[t];
    int key = (int)random_below(&model.random, KEYS);
    if (transaction->count == EVENTS || !numbers_left() ||
        (model.locked_by[key] != 0 && model.locked_by[key] != t + 1)) {
        return;
    }
    model.locked_by[key] = t + 1;
    int64_t seq = draw();
    model.key[seq] = key;
    model.order[seq] = ++model.drawn[key];
    transaction->seqs[transaction->count++] = seq;
    if (random_chance(&model.random, model.savepoints)) {
        (void)draw();
    }
}

static void begin_transaction(int t)
{
    model.transactions[t] = (Transaction){.open = true, .number = ++model.names};
    name_writers();
    insert_one(t);
}

static void end_transaction(int t, bool commit)
{
    Transaction *transaction = &model.transactions[t];
    for (size_t i = 0; commit && i < transaction->count; i++) {
        rig_insert(transaction->seqs[i], transaction->seqs[i]);
    }
    for (int key = 0; key < KEYS; key++) {
        model.locked_by[key] = model.locked_by[key] == t + 1 ? 0 : model.locked_by[key];
    }
    transaction->open = false;
    name_writers();
}

static void draw_early(void)
{
    if (model.early_count < EARLY && numbers_left()) {
        model.early[model.early_count++] = draw();
    }
}

static void insert_early(void)
{
    if (model.early_count > 0) {
        size_t pick = random_below(&model.random, model.early_count);
        int64_t seq = model.early[pick];
        model.early[pick] = model.early[--model.early_count];
        model.key[seq] = NO_KEY;
        rig_insert(seq, seq);
        model.inserted_late++;
    }
}

static void unmark_by_hand(void)
{
    int64_t seq = (int64_t)random_below(&model.random, (size_t)model.next);
    for (int tries = 0; tries < 20 && !rig.rows[seq].marked; tries++) {
        seq = (int64_t)random_below(&model.random, (size_t)model.next);
    }
    RigRow *row = &rig.rows[seq];
    if (row->marked && !row->out && rig.pipe.source->ops->unmarked(rig.pipe.source) == 0) {
        *row = (RigRow){.visible = true, .version = row->version};
        model.key[seq] = NO_KEY;
        model.unmarked++;
    }
}

static void go_back_to(int64_t to)
{
    for (int64_t seq = to; seq < model.next; seq++) {
        rig.rows[seq] = (RigRow){.version = rig.rows[seq].version + 1};
    }
    model.next = to;
    tell_numbers();
}

/* False while a read of the table is half done. */
static bool nobody_writes(void)
{
    for (int t = 0; t < TRANSACTIONS; t++) {
        if (model.transactions[t].open) {
            end_transaction(t, random_chance(&model.random, 80));
        }
    }
    model.early_count = 0;
    return !rig.in_snapshot;
}

static void look_anew(void)
{
    rig.hang_fetch = false;
    stub_continue();
    rig.pipe.room_events = 1000;
    rig.pipe.source->ops->wake(rig.pipe.source);
}

/* Rows that are published are deleted, and the sequence is set back; event ids are new. Only a look
 * between that and the old top can tell: there is one. */
static void set_back(void)
{
    look_anew();
    RIG_WAIT((rig_ack_all(), rig.pipe.source->ops->unmarked(rig.pipe.source) == 0) &&
             !rig.in_snapshot);
    if (!model.numbers_tell || !nobody_writes()) {
        return;
    }
    int64_t to = model.next - (int64_t)random_below(&model.random, (size_t)model.next);
    for (int64_t seq = to > 0 ? to : 1; seq < model.next; seq++) {
        to = rig.rows[seq].visible && !rig.rows[seq].marked ? seq + 1 : to;
    }
    go_back_to(to > 0 ? to : 1);
    model.went_back++;
    size_t fetches = rig.fetches;
    RIG_WAIT(rig.fetches > fetches + 2);
}

/* TRUNCATE ... RESTART IDENTITY, or rows deleted by hand and ALTER SEQUENCE ... RESTART: whatever
 * is in flight, waits for its mark or for its topic. Perhaps the new numbers are beyond the old
 * ones before anybody looks. */
static void restart_numbers(void)
{
    if (!nobody_writes()) {
        return;
    }
    int64_t back = (int64_t)random_below(&model.random, 20);
    bool all = random_chance(&model.random, 40);
    model.storages++;
    go_back_to(all || back >= model.next ? 1 : model.next - back);
    model.truncated++;
    if (random_chance(&model.random, 50)) {
        begin_transaction(0);
        for (int i = 0; i < EVENTS; i++) {
            insert_one(0);
        }
        end_transaction(0, true);
    }
}

static bool parks(const Event *event)
{
    return model.missing != NO_KEY && model.key[event->seq] == model.missing;
}

/* As the pipeline does it: all batches come back, and everything that waits is read again. */
static void topic_returns(void)
{
    if (model.missing == NO_KEY) {
        return;
    }
    rig.pipe.source->ops->reread(rig.pipe.source);
    rig_ack_all();
    int last = 0;
    for (int64_t seq = 0; seq < model.next; seq++) {
        RigRow *row = &rig.rows[seq];
        if (row->parked) {
            row->parked = false;
            row->delivered = 0;
        } else if (row->acknowledged && model.key[seq] == model.missing) {
            last = model.order[seq] > last ? model.order[seq] : last;
        }
    }
    model.last[model.missing] = last;
    model.missing = NO_KEY;
    model.returned++;
    rig.pipe.source->ops->wake(rig.pipe.source);
}

static void topic_goes_or_returns(void)
{
    if (model.missing == NO_KEY) {
        model.missing = (int)random_below(&model.random, KEYS);
    } else {
        topic_returns();
    }
}

/* What depends on time. The fence is asked at most so often, and a fetch follows the last one after
 * a pause: a walk takes less time than either. Sweeps are dear where what a fetch costs anyway is
 * so far below zero that each seems to have taken an hour. */
static void set_pace(void)
{
    const Reading *reading = ((const PollSource *)rig.pipe.source)->poll->reading;
    if (!model.dear) {
        return;
    }
    reading->sweep->plain_us = -INT64_C(3600000000);
    if (random_chance(&model.random, 60)) {
        reading->fence->next_us = 0;
    }
    if (random_chance(&model.random, 60)) {
        pace_want(reading->pace);
        rig.pipe.source->ops->wake(rig.pipe.source);
    }
}

static void step(void)
{
    set_pace();
    int t = (int)random_below(&model.random, TRANSACTIONS);
    bool open = model.transactions[t].open;
    switch (random_below(&model.random, 15)) {
    case 0:
    case 1:
        if (!open) {
            begin_transaction(t);
        }
        break;
    case 2:
    case 3:
    case 4:
        if (open) {
            insert_one(t);
        }
        break;
    case 5:
    case 6:
        if (open) {
            end_transaction(t, random_chance(&model.random, 80));
        }
        break;
    case 7:
        rig.hang_fetch = random_chance(&model.random, 60);
        break;
    case 8:
        rig.hang_fetch = false;
        stub_continue();
        break;
    case 9:
        rig.large = random_chance(&model.random, model.dear ? 50 : 10) != rig.large;
        __attribute__((fallthrough));
    case 10:
        if (rig.pipe.batch_count > 0) {
            rig_ack(-1);
        }
        break;
    case 11:
        random_chance(&model.random, 50) ? draw_early() : insert_early();
        break;
    case 12:
        if (!random_chance(&model.random, 90)) {
            set_back();
        } else if (!model.dear) { /* such a row may be held back until the next sweep is due */
            unmark_by_hand();
        }
        break;
    case 13:
        if (model.dear && random_chance(&model.random, 80)) {
            break; /* after either everything is looked at */
        }
        random_chance(&model.random, 85) ? topic_goes_or_returns() : restart_numbers();
        break;
    default:
        rig.pipe.room_events =
            random_chance(&model.random, 80) ? 1000 : random_below(&model.random, 4);
        rig.pipe.source->ops->wake(rig.pipe.source);
    }
    for (size_t i = random_below(&model.random, 6); i > 0; i--) {
        event_base_loop(rig.pipe.base, EVLOOP_NONBLOCK);
    }
}

static size_t undelivered(bool only_those_with_keys)
{
    size_t count = 0;
    for (int64_t seq = 0; seq < model.next; seq++) {
        if (rig.rows[seq].visible && rig.rows[seq].delivered == 0 &&
            (!only_those_with_keys || model.key[seq] != NO_KEY)) {
            count++;
        }
    }
    return count;
}

/* With room, what is committed is delivered soon, whatever is still open; then all is marked. Where
 * sweeps are dear those with keys need none, as gaps and fence know of them. */
static void assert_nothing_is_late(void)
{
    look_anew();
    size_t fetches = rig.fetches;
    set_pace();
    if (model.dear) {
        RIG_WAIT(undelivered(true) == 0 || rig.fetches > fetches + LATE_FETCHES);
        cr_assert_eq(undelivered(true), 0, "seed %lu: late without a sweep",
                     (unsigned long)model.seed);
        rig.pipe.source->ops->look_again(rig.pipe.source, 0);
        fetches = rig.fetches + undelivered(false);
    } else {
        fetches += rig.pipe.pipeline.poll.sweep_interval_ms;
    }
    RIG_WAIT(undelivered(false) == 0 || rig.fetches > fetches + LATE_FETCHES);
    cr_assert_eq(undelivered(false), 0, "seed %lu: late", (unsigned long)model.seed);
}

static void begin_model(uint64_t seed)
{
    memset(&model, 0, sizeof(model));
    model.seed = seed;
    model.random = random_new(seed);
    model.next = 1 + (int64_t)random_below(&model.random, 50);
    model.savepoints = random_below(&model.random, 40);
    model.missing = NO_KEY;
    model.numbers_tell = random_chance(&model.random, 80);
    rig_prepare();
    tell_numbers();
    rig.parks = parks;
    rig.writers = writers;
    writers[0] = '\0';
    rig.delivered = on_delivered;
    rig.pipe.pipeline.limits.batch_events = 3 + (int64_t)random_below(&model.random, 60);
    rig.pipe.pipeline.limits.event_bytes = random_chance(&model.random, 70) ? 8 << 20 : 0;
    rig.pipe.pipeline.poll.interval_max_ms = 1;
    rig.pipe.pipeline.poll.sweep_interval_ms = 1 + (int64_t)random_below(&model.random, 30);
    stub_set_pieces(random_below(&model.random, 4));
    rig_begin();
    RIG_WAIT(rig.pipe.active == 1);
}

static void end_model(void)
{
    for (int t = 0; t < TRANSACTIONS; t++) {
        if (model.transactions[t].open) {
            end_transaction(t, true);
        }
    }
    topic_returns();
    assert_nothing_is_late();
    RIG_WAIT((rig_ack_all(), rig.pipe.source->ops->unmarked(rig.pipe.source) == 0));
    cr_assert_eq(rig.pipe.lost, 0, "seed %lu: %s", (unsigned long)model.seed,
                 error_message(&rig.pipe.error));
    rig_end();
}

/* With few sweeps, what they would find later must be found by gaps and fence. */
Test(poll_model, random_walks_keep_every_promise_with_few_sweeps)
{
    uint64_t first = 2001;
    uint64_t count = 40;
    random_seeds(&first, &count);
    size_t sweeps = 0;
    size_t fetches = 0;
    size_t small_reads = 0;
    for (uint64_t seed = first; seed < first + count; seed++) {
        begin_model(seed);
        model.dear = true;
        rig.pipe.pipeline.poll.sweep_interval_ms = 3600000;
        if (seed % 2 == 0) { /* so that a transaction is more than a fetch */
            rig.pipe.pipeline.limits.batch_events = 3 + (int64_t)(seed % 3);
        }
        for (int i = 0; i < 2000; i++) {
            step();
            if (i % 500 == 499) {
                assert_nothing_is_late();
            }
        }
        sweeps += rig.sweeps;
        fetches += rig.fetches;
        small_reads += rig.small_reads;
        end_model();
    }
    if (count > 1) {
        cr_assert_gt(fetches - sweeps, count * 5, "%zu of %zu are sweeps", sweeps, fetches);
        cr_assert_gt(small_reads, count, "%zu", small_reads);
    }
}

Test(poll_model, random_walks_keep_every_promise)
{
    uint64_t first = 1;
    uint64_t count = random_share(150);
    random_seeds(&first, &count);
    size_t unmarked = 0;
    size_t went_back = 0;
    size_t inserted_late = 0;
    size_t truncated = 0;
    size_t returned = 0;
    size_t small_reads = 0;
    for (uint64_t seed = first; seed < first + count; seed++) {
        begin_model(seed);
        for (int i = 0; i < 600; i++) {
            step();
            if (i % 150 == 149) {
                assert_nothing_is_late();
            }
        }
        unmarked += model.unmarked;
        went_back += model.went_back;
        inserted_late += model.inserted_late;
        truncated += model.truncated;
        returned += model.returned;
        small_reads += rig.small_reads;
        end_model();
    }
    if (count > 1) {
        cr_assert(unmarked > count && went_back > count / 20 && inserted_late > count &&
                      truncated > count / 20 && returned > count,
                  "%zu %zu %zu %zu %zu", unmarked, went_back, inserted_late, truncated, returned);
        cr_assert_gt(small_reads, count, "%zu", small_reads);
    }
}

/* One writer stays open, so no gap is given up: there are more of them than are kept apart. */
Test(poll_model, more_gaps_than_are_kept_apart)
{
    uint64_t first = 1001;
    uint64_t count = 6;
    random_seeds(&first, &count);
    size_t wide = 0;
    for (uint64_t seed = first; seed < first + count; seed++) {
        begin_model(seed);
        model.savepoints = 90;
        rig.pipe.pipeline.limits.batch_events = 100;
        rig.pipe.pipeline.poll.sweep_interval_ms = 3600000;
        model.dear = true;
        stub_set_pieces(0);
        begin_transaction(0);
        while (numbers_left()) {
            set_pace();
            for (int t = 1; t < TRANSACTIONS; t++) {
                begin_transaction(t);
                for (size_t n = random_below(&model.random, EVENTS); n > 0; n--) {
                    insert_one(t);
                }
            }
            insert_one(0);
            for (int t = TRANSACTIONS - 1; t > 0; t--) {
                end_transaction(t, random_chance(&model.random, 90));
                rig.hang_fetch = random_chance(&model.random, 20);
                for (size_t i = random_below(&model.random, 8); i > 0; i--) {
                    event_base_loop(rig.pipe.base, EVLOOP_NONBLOCK);
                }
                if (rig.pipe.batch_count > 3 || random_chance(&model.random, 30)) {
                    rig.pipe.batch_count > 0 ? rig_ack(-1) : (void)0;
                }
                rig.hang_fetch = false;
                stub_continue();
            }
        }
        assert_nothing_is_late();
        wide += rig.wide;
        end_model();
    }
    cr_assert_gt(wide, 0);
}
