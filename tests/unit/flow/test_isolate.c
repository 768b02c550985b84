/* A broker that refuses whole requests, one for each partition of a group, and what finding the
 * culprits costs. */
#include <criterion/criterion.h>

#include "flow/isolate.h"
#include "stub/random.h"

enum { EVENTS_MAX = 4096, PARTITIONS = 4 };

static struct {
    Isolate isolate;
    Event events[EVENTS_MAX];
    bool bad[EVENTS_MAX];
    size_t partition[EVENTS_MAX];
    bool done[EVENTS_MAX];
    size_t count;
    size_t requests;
    uint32_t number;
    int64_t last[PARTITIONS]; /* accepted */
    size_t culprits;
} world;

/* One request with the events of one partition; the broker takes all or none. */
static void request(Event **group, size_t count, size_t partition)
{
    Event *sent[EVENTS_MAX];
    size_t size = 0;
    bool refused = false;
    for (size_t i = 0; i < count; i++) {
        if (world.partition[group[i]->seq] == partition) {
            sent[size++] = group[i];
            refused |= world.bad[group[i]->seq];
        }
    }
    world.requests += size > 0;
    world.number += refused;
    for (size_t i = 0; i < size; i++) {
        Event *event = sent[i];
        if (!refused) {
            cr_assert_gt(event->seq, world.last[partition], "order");
            world.last[partition] = event->seq;
            world.done[event->seq] = true;
            isolate_settled(&world.isolate, event);
            continue;
        }
        bool proven = isolate_proves(&world.isolate, (uint32_t)size);
        isolate_refused(&world.isolate, event, world.number);
        if (proven) {
            cr_assert(world.bad[event->seq], "%lld is innocent", (long long)event->seq);
            isolate_found(&world.isolate, event);
            world.done[event->seq] = true;
            world.culprits++;
        }
    }
}

static void send_group(size_t max)
{
    Event *group[EVENTS_MAX];
    size_t count = 0;
    if (isolate_active(&world.isolate)) {
        isolate_open_group(&world.isolate);
    } else {
        isolate_mix(&world.isolate);
    }
    for (size_t i = 0; i < world.count && count < max; i++) {
        if (world.done[i]) {
            continue;
        }
        if (isolate_active(&world.isolate) && !isolate_take(&world.isolate, &world.events[i])) {
            break;
        }
        group[count++] = &world.events[i];
    }
    for (size_t partition = 0; partition < PARTITIONS; partition++) {
        request(group, count, partition);
    }
}

static void given_world(size_t count, size_t partitions, Random *random)
{
    world.count = count;
    for (size_t i = 0; i < count; i++) {
        world.events[i] = (Event){.seq = (int64_t)i};
        world.partition[i] = partitions == 1 ? 0 : random_below(random, partitions);
    }
    for (size_t i = 0; i < PARTITIONS; i++) {
        world.last[i] = -1;
    }
}

static void run_world(void)
{
    for (size_t groups = 0; groups < 100 * (world.count + 1); groups++) {
        send_group(1000);
        size_t open = 0;
        for (size_t i = 0; i < world.count; i++) {
            open += !world.done[i];
        }
        if (open == 0) {
            cr_assert_eq(world.isolate.sets.count, 0);
            isolate_release(&world.isolate);
            return;
        }
    }
    cr_assert_fail("does not come to an end");
}

static size_t log2_up(size_t value)
{
    size_t bits = 0;
    while ((UINT64_C(1) << bits) < value) {
        bits++;
    }
    return bits;
}

Test(isolate, one_of_n_is_found_wherever_it_is_within_2_log2_n_and_2_requests)
{
    for (size_t n = 1; n <= 1000; n = n < 40 ? n + 1 : n * 3) {
        for (size_t at = 0; at < n; at += n < 40 ? 1 : 37) {
            memset(&world, 0, sizeof(world));
            given_world(n, 1, NULL);
            world.bad[at] = true;
            run_world();
            cr_assert_eq(world.culprits, 1);
            cr_assert_leq(world.requests, 2 * log2_up(n) + 2, "%zu requests for %zu of %zu",
                          world.requests, at, n);
        }
    }
}

Test(isolate, all_culprits_of_all_partitions_are_found_and_no_order_turns)
{
    uint64_t first = 1;
    uint64_t count = 200;
    random_seeds(&first, &count);
    for (uint64_t seed = first; seed < first + count; seed++) {
        memset(&world, 0, sizeof(world));
        Random random = random_new(seed);
        given_world(1 + random_below(&random, 800), 1 + random_below(&random, PARTITIONS), &random);
        size_t bad = 0;
        size_t percent = random_below(&random, 3) == 0 ? 100 : random_below(&random, 12);
        for (size_t i = 0; i < world.count; i++) {
            world.bad[i] = random_chance(&random, percent);
            bad += world.bad[i];
        }
        run_world();
        cr_assert_eq(world.culprits, bad, "seed %llu", (unsigned long long)seed);
    }
}

Test(isolate, a_refusal_that_no_record_explains_convicts_nobody)
{
    /* A batch that was too large as a whole, because the limit was lowered: halves fit. */
    Isolate isolate = {0};
    Event events[4] = {{.seq = 0}, {.seq = 1}, {.seq = 2}, {.seq = 3}};
    for (size_t i = 0; i < 4; i++) {
        cr_assert_not(isolate_proves(&isolate, 4));
        isolate_refused(&isolate, &events[i], 7);
    }
    size_t sent = 0;
    for (size_t groups = 0; isolate.sets.count > 0; groups++) {
        cr_assert_lt(groups, 4);
        isolate_open_group(&isolate);
        size_t from = sent;
        while (sent < 4 && isolate_take(&isolate, &events[sent])) {
            sent++;
        }
        cr_assert_gt(sent, from);
        for (size_t i = from; i < sent; i++) {
            isolate_settled(&isolate, &events[i]);
        }
    }
    cr_assert_eq(sent, 4);
    isolate_release(&isolate);
}

Test(isolate, a_single_that_was_refused_among_others_in_flight_is_not_proven)
{
    Isolate isolate = {0};
    Event event = {.seq = 1};
    cr_assert_not(isolate_proves(&isolate, 1));
    isolate_refused(&isolate, &event, 1);
    isolate_open_group(&isolate);
    cr_assert(isolate_take(&isolate, &event));
    cr_assert(isolate_proves(&isolate, 1));
    isolate_mix(&isolate);
    cr_assert_not(isolate_proves(&isolate, 1));
    isolate_release(&isolate);
}
