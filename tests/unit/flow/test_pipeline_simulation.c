/* A seeded random walk of everything that can happen to a pipeline, against a model of an outbox
 * table, a broker's log and a dead-letter table. One step is one thing that the outside does; after
 * it the loop turns until nothing is left to do.
 *
 *   nothing lost     in the end each row is in the log, set aside or (unrouted) dropped, and marked
 *   nothing invented a row is given back as settled only if the model knows why
 *   order            of each key, in the log without repeats, is the order of seq
 *   repeats          only after a producer or a process was lost, or another history or publisher
 *   zombies          nothing leaves when the lease is over
 *   encoder          it may say "not yet" of any event, at any time: those behind it wait
 *   topics           those of a missing topic wait, whether in their rows or in memory
 *   held rows        those behind a row that cannot be published wait until it is mended
 *   no right         nothing is sent or read while the source is not the publisher, or is paused,
 *                    or a precondition is broken, or a trigger refuses the marks
 */
#include <criterion/criterion.h>
#include <string.h>

#include "base/log.h"
#include "simulation.h"
#include "stub/given_schema.h"

enum {
    STEPS = 4000,
    SETTLING_STEPS = 100000, /* bound of the end, when nothing fails any more */
};

/* The end. */

static bool all_marked(void)
{
    for (size_t i = 0; i < ROWS; i++) {
        if (sim.rows[i].place != ROW_MARKED) {
            return false;
        }
    }
    return true;
}

static void check_end(void)
{
    size_t seen[ROWS] = {0};
    int64_t last[KEYS];
    memset(last, -1, sizeof(last));
    for (size_t i = 0; i < sim.log_count; i++) {
        int64_t seq = sim.log[i];
        const Row *row = &sim.rows[seq];
        SIM_ASSERT(row->kind == ROW_GOOD, "row %lld was written", (long long)seq);
        if (seen[seq]++ == 0) {
            SIM_ASSERT(seq > last[row->key], "key %zu: %lld after %lld", row->key, (long long)seq,
                       (long long)last[row->key]);
            last[row->key] = seq;
        }
    }
    size_t repeats = 0;
    for (size_t i = 0; i < ROWS; i++) {
        const Row *row = &sim.rows[i];
        bool dropped = row->kind == ROW_UNROUTED &&
                       sim.config.route.on_unrouted == ON_UNROUTED_DROP && !row->aside;
        SIM_ASSERT(row->kind != ROW_GOOD || seen[i] > 0, "row %zu is lost", i);
        SIM_ASSERT(row->kind == ROW_GOOD || row->aside || dropped, "row %zu is lost", i);
        repeats += seen[i] > 1 ? seen[i] - 1 : 0;
    }
    SIM_ASSERT(repeats <= sim.repeats_excused, "%zu repeats, %zu excused", repeats,
               sim.repeats_excused);
}

static void simulate(uint64_t seed, bool encoder_waits)
{
    memset(&sim, 0, sizeof(sim));
    static RouteConfig route = {.event_type = GIVEN("order"), .topic = GIVEN("${aggregate_type}")};
    sim.seed = seed;
    sim.random = random_new(seed);
    sim.config = given_pipeline();
    sim.config.route.rules = &route;
    sim.config.route.rule_count = 1;
    sim.config.route.topic = GIVEN("");
    sim.config.on_poison = chance(50) ? ON_POISON_STOP : ON_POISON_DEAD_LETTER;
    sim.config.route.on_unrouted = chance(50) ? ON_UNROUTED_DROP : ON_UNROUTED_DEAD_LETTER;
    sim.may_park = chance(70);
    if (sim.may_park && chance(30)) { /* what is in memory would stay unrouted */
        sim.config.route.on_unrouted = ON_UNROUTED_STOP;
    }
    sim.config.limits.in_flight_events = 1 + (int64_t)below(100);
    sim.base = event_base_new();
    sim.metrics = metrics_new();
    stats_init(&sim.stats, sim.metrics, "orders");
    sim.encoder_waits = encoder_waits;
    bool poison = chance(70);
    for (size_t i = 0; i < ROWS; i++) {
        sim.rows[i] = (Row){.key = below(KEYS), .place = ROW_HIDDEN};
        if (poison && chance(8)) {
            sim.rows[i].kind = (RowKind)(1 + below(ROW_UNROUTED));
        }
    }
    process_begin();
    for (int i = 0; i < STEPS; i++) {
        simulation_step();
    }
    sim.calm = true;
    int steps = 0;
    while (!all_marked()) {
        simulation_step();
        SIM_ASSERT(++steps < SETTLING_STEPS, "does not come to an end in state %s",
                   machine_state_name(sim.pipeline->machine->state));
    }
    check_end();
    process_end();
    event_base_free(sim.base);
    stats_release(&sim.stats);
    metrics_free(&sim.metrics);
}

/* How often the encoder waited. */
static size_t simulate_seeds(uint64_t first, uint64_t count, bool encoder_waits)
{
    log_configure(LOG_FORMAT_LOGFMT, LOG_ERROR);
    random_seeds(&first, &count);
    size_t waited = 0;
    size_t boundaries = 0;
    for (uint64_t seed = first; seed < first + count; seed++) {
        simulate(seed, encoder_waits);
        waited += sim.encoder_waited;
        boundaries += sim.boundaries;
    }
    cr_assert_gt(boundaries, 0, "no reload took effect");
    return waited;
}

Test(pipeline_simulation, loses_nothing_and_keeps_the_order_of_keys)
{
    cr_assert_eq(simulate_seeds(1, 40, false), 0);
}

Test(pipeline_simulation, loses_nothing_with_other_seeds)
{
    cr_assert_eq(simulate_seeds(1001, 40, false), 0);
}

Test(pipeline_simulation, loses_nothing_with_an_encoder_that_waits_at_random)
{
    cr_assert_gt(simulate_seeds(2001, 40, true), 0);
}
