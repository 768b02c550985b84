/* A log that is read over and over, from wherever the acknowledged position is. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <string.h>

#include "assemble_rig.h"
#include "stub/random.h"

enum { LOG_TRANSACTIONS = 12, LOG_EVENTS = 15, ROUNDS = 8, IN_FLIGHT = 200 };

typedef struct LogEvent {
    bool message;
    size_t acknowledged; /* by a position, or out of order */
    bool noise_before;   /* a row of another table */
} LogEvent;

static struct {
    uint64_t seed;
    Random random;
    LogEvent events[LOG_TRANSACTIONS][LOG_EVENTS];
    size_t counts[LOG_TRANSACTIONS];
    Batch *batches[IN_FLIGHT];
    size_t batch_count;
    KnownEvents again;
    uint64_t lsn; /* acknowledged */
    uint64_t tx_lsn;
    uint64_t tx_ordinal;
} model;

static uint64_t log_lsn(size_t transaction)
{
    return 0x10000 * (transaction + 1);
}

static int64_t log_seq(size_t transaction, size_t event)
{
    return (int64_t)(transaction * LOG_EVENTS + event);
}

static void log_make(uint64_t seed)
{
    memset(&model, 0, sizeof(model));
    model.seed = seed;
    model.random = random_new(seed);
    for (size_t i = 0; i < LOG_TRANSACTIONS; i++) {
        model.counts[i] =
            random_below(&model.random, random_chance(&model.random, 30) ? LOG_EVENTS + 1 : 3);
        for (size_t j = 0; j < model.counts[i]; j++) {
            LogEvent *event = &model.events[i][j];
            event->message = random_chance(&model.random, 30);
            event->noise_before = random_chance(&model.random, 20);
        }
    }
}

static void model_finish_batch(void)
{
    Batch *finished = assembler_finish(&feed.assembler);
    if (finished != NULL) {
        cr_assert_lt(model.batch_count, IN_FLIGHT);
        model.batches[model.batch_count++] = finished;
    }
}

/* Reads the log up to a random place. */
static void model_read(void)
{
    size_t left = random_below(&model.random, LOG_TRANSACTIONS * LOG_EVENTS / 2);
    size_t cut = 1 + random_below(&model.random, 30);
    for (size_t i = 0; i < LOG_TRANSACTIONS && left > 0; i++) {
        if (log_lsn(i) < model.lsn) { /* as the server: SnapBuildXactNeedsSkip() */
            continue;
        }
        feed_begin(log_lsn(i));
        size_t j = 0;
        for (; j < model.counts[i] && left > 0; j++, left--) {
            if (model.events[i][j].noise_before) {
                feed_build_event(OTHER_TABLE, 1);
                feed_bytes();
            }
            if (model.events[i][j].message) {
                feed_message(MESSAGE_PREFIX, true, "m");
            } else {
                feed_row(log_seq(i, j));
            }
            if (random_chance(&model.random, cut)) {
                model_finish_batch();
            }
        }
        if (j == model.counts[i]) {
            feed_commit(log_lsn(i));
        } else {
            break;
        }
    }
    model_finish_batch();
}

static LogEvent *model_event(const Event *event)
{
    return &model.events[event->commit_lsn / 0x10000 - 1][event->ordinal - 1];
}

/* Acknowledges some batches whole, and some events of the others. */
static void model_acknowledge(void)
{
    size_t whole = random_below(&model.random, model.batch_count + 1);
    for (size_t i = 0; i < model.batch_count; i++) {
        Batch *b = model.batches[i];
        for (size_t j = 0; j < b->count; j++) {
            Event *event = b->events[j];
            LogEvent *logged = model_event(event);
            cr_assert_eq(event_is_settled(event), logged->acknowledged > 0,
                         "seed %" PRIu64 ": %" PRIx64 ":%" PRIu64, model.seed, event->commit_lsn,
                         event->ordinal);
            cr_assert_eq(event->seq == EVENT_NO_SEQ, logged->message);
            logged->acknowledged += i < whole || random_chance(&model.random, 20);
            if (i >= whole && logged->acknowledged > 0) {
                known_events_add(&model.again, event->commit_lsn, event->ordinal);
            }
        }
        if (i < whole) {
            cr_assert_geq(b->position, model.lsn, "seed %" PRIu64 ": backwards", model.seed);
            model.lsn = b->position;
            model.tx_lsn = b->tx_lsn;
            model.tx_ordinal = b->tx_ordinal;
        }
        batch_free(&model.batches[i]);
    }
    model.batch_count = 0;
}

/* Everything before the position is acknowledged: nothing would come again. */
static void model_check_position(void)
{
    for (size_t i = 0; i < LOG_TRANSACTIONS; i++) {
        for (size_t j = 0; j < model.counts[i]; j++) {
            bool done = log_lsn(i) < model.lsn || log_lsn(i) < model.tx_lsn ||
                        (log_lsn(i) == model.tx_lsn && j + 1 <= model.tx_ordinal);
            cr_assert(!done || model.events[i][j].acknowledged > 0,
                      "seed %" PRIu64 ": %zu:%zu is before the position, and was lost", model.seed,
                      i, j);
        }
    }
}

Test(assemble, every_event_comes_once_over_many_restarts)
{
    uint64_t first = 1;
    uint64_t count = 300;
    random_seeds(&first, &count);
    size_t whole_logs = 0;
    for (uint64_t seed = first; seed < first + count; seed++) {
        log_make(seed);
        for (int round = 0; round < ROUNDS; round++) {
            known_events_restart(&feed.known, &model.again);
            feed.assembler.done_lsn = model.tx_lsn;
            feed.assembler.done_ordinal = model.tx_ordinal;
            assembler_restart(&feed.assembler, model.lsn, 1);
            feed_relations();
            model_read();
            model_acknowledge();
            model_check_position();
        }
        whole_logs += model.lsn > log_lsn(LOG_TRANSACTIONS - 1);
        known_events_release(&feed.known);
        known_events_release(&model.again);
    }
    cr_assert(whole_logs > 0 || count == 1, "no log was ever read to its end");
}
