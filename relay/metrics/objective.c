/* Late seconds are counted in three rings: buckets of 10 s for windows up to an hour, of 5 min up
 * to three days, of an hour for the 30 days of the budget. A bucket's number is time divided by its
 * width; going on empties the buckets in between. */
#include "metrics/objective.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/document.h"
#include "base/memory.h"

enum {
    MINUTE_S = 60,
    HOUR_S = 3600,
    DAY_S = 86400,
    FINE_WIDTH_S = 10,
    FINE_COUNT = HOUR_S / FINE_WIDTH_S,
    COARSE_WIDTH_S = 5 * MINUTE_S,
    COARSE_COUNT = 3 * DAY_S / COARSE_WIDTH_S,
    BUDGET_WIDTH_S = HOUR_S,
    BUDGET_COUNT = OBJECTIVE_BUDGET_DAYS * DAY_S / BUDGET_WIDTH_S,
};

typedef struct Ring {
    int64_t width_s;
    int64_t count;
    int64_t newest; /* number of the newest bucket; -1: nothing yet */
    uint16_t *late; /* seconds of each bucket, at most OBJECTIVE_GAP_SECONDS_MAX + width */
} Ring;

typedef enum RingKind { RING_FINE, RING_COARSE, RING_BUDGET, RING_COUNT } RingKind;

static const struct {
    const char *name;
    int64_t seconds;
    RingKind ring;
} WINDOWS[OBJECTIVE_WINDOW_COUNT] = {
    {"5m", INT64_C(5) * MINUTE_S, RING_FINE},
    {"30m", INT64_C(30) * MINUTE_S, RING_FINE},
    {"1h", HOUR_S, RING_FINE},
    {"6h", INT64_C(6) * HOUR_S, RING_COARSE},
    {"3d", INT64_C(3) * DAY_S, RING_COARSE},
};

struct Objective {
    double lag_seconds; /* that is still good */
    double target;
    int64_t last_s; /* the newest second that was looked at; -1: none */
    uint64_t *late_seconds;
    uint64_t *observed_seconds;
    double *burn_rate[OBJECTIVE_WINDOW_COUNT];
    double *budget_remaining;
    Ring rings[RING_COUNT];
};

static void ring_advance(Ring *ring, int64_t now_s)
{
    int64_t bucket = now_s / ring->width_s;
    int64_t steps = ring->newest < 0 ? 0 : bucket - ring->newest; /* all are empty at first */
    for (int64_t i = 0; i < steps && i < ring->count; i++) {
        ring->late[(bucket - i) % ring->count] = 0;
    }
    if (bucket > ring->newest) {
        ring->newest = bucket;
    }
}

static void ring_add(Ring *ring, int64_t now_s, uint64_t late)
{
    ring_advance(ring, now_s);
    uint16_t *bucket = &ring->late[ring->newest % ring->count];
    *bucket = (uint16_t)(*bucket + late);
}

static uint64_t ring_sum(Ring *ring, int64_t now_s, int64_t seconds)
{
    ring_advance(ring, now_s);
    uint64_t sum = 0;
    for (int64_t i = 0; i < seconds / ring->width_s && i <= ring->newest; i++) {
        sum += ring->late[(ring->newest - i) % ring->count];
    }
    return sum;
}

void objective_aim(Objective *objective, Metrics *metrics, int64_t lag_ms, double target)
{
    objective->lag_seconds = (double)lag_ms / 1e3;
    objective->target = target;
    *metrics_gauge(metrics, "outboxd_lag_objective_seconds",
                   "The highest acceptable lag (monitor.lag_objective).", NULL) =
        objective->lag_seconds;
    *metrics_gauge(metrics, "outboxd_lag_target_ratio",
                   "Share of seconds in which the lag should be within the objective.", NULL) =
        target;
}

Objective *objective_new(Metrics *metrics, const char *pipeline, int64_t lag_ms, double target)
{
    static const struct {
        int64_t width_s;
        int64_t count;
    } RINGS[RING_COUNT] = {
        {FINE_WIDTH_S, FINE_COUNT}, {COARSE_WIDTH_S, COARSE_COUNT}, {BUDGET_WIDTH_S, BUDGET_COUNT}};
    Objective *objective = x_calloc(1, sizeof(*objective));
    objective->last_s = -1;
    for (size_t i = 0; i < RING_COUNT; i++) {
        objective->rings[i] = (Ring){.width_s = RINGS[i].width_s,
                                     .count = RINGS[i].count,
                                     .newest = -1,
                                     .late = x_calloc((size_t)RINGS[i].count, sizeof(uint16_t))};
    }
    objective_aim(objective, metrics, lag_ms, target);
    objective->late_seconds = metrics_counter(metrics, "outboxd_lag_late_seconds_total",
                                              "Seconds in which the lag was above the objective.",
                                              "pipeline", pipeline, NULL);
    objective->observed_seconds =
        metrics_counter(metrics, "outboxd_lag_observed_seconds_total",
                        "Seconds in which the lag was known.", "pipeline", pipeline, NULL);
    for (size_t i = 0; i < OBJECTIVE_WINDOW_COUNT; i++) {
        objective->burn_rate[i] =
            metrics_gauge(metrics, "outboxd_lag_burn_rate",
                          "Share of late seconds in the window, divided by what the target allows.",
                          "pipeline", pipeline, "window", WINDOWS[i].name, NULL);
    }
    objective->budget_remaining = metrics_gauge(
        metrics, "outboxd_lag_budget_remaining_ratio",
        "The share that is left of the late seconds that the target allows in 30 days.", "pipeline",
        pipeline, NULL);
    *objective->budget_remaining = 1;
    return objective;
}

void objective_free(Objective **objective)
{
    if (*objective == NULL) {
        return;
    }
    for (size_t i = 0; i < RING_COUNT; i++) {
        free((*objective)->rings[i].late);
    }
    free(*objective);
    *objective = NULL;
}

/* How many of the seconds since the last look were late, given the lag now: the oldest event has
 * been late for as long as its age exceeds the objective. */
static int64_t objective_late(const Objective *objective, int64_t elapsed_s, double lag_seconds)
{
    double late_for_s = lag_seconds - objective->lag_seconds;
    int64_t late_s = elapsed_s;
    if (late_for_s < (double)elapsed_s) {
        late_s = (int64_t)late_for_s;
        late_s += (double)late_s < late_for_s ? 1 : 0;
    }
    return late_s > OBJECTIVE_GAP_SECONDS_MAX ? OBJECTIVE_GAP_SECONDS_MAX : late_s;
}

void objective_observe(Objective *objective, int64_t now_us, double lag_seconds)
{
    int64_t now_s = now_us / 1000000;
    int64_t elapsed_s = objective->last_s < 0 ? 1 : now_s - objective->last_s;
    if (elapsed_s <= 0) {
        return;
    }
    objective->last_s = now_s;
    if (isnan(lag_seconds)) {
        return;
    }
    if (lag_seconds <= objective->lag_seconds) {
        /* two: a timer that fires a little late skips a number now and then */
        *objective->observed_seconds += elapsed_s == 2 ? 2 : 1;
        return;
    }
    uint64_t late_s = (uint64_t)objective_late(objective, elapsed_s, lag_seconds);
    *objective->observed_seconds += late_s;
    *objective->late_seconds += late_s;
    for (size_t i = 0; i < RING_COUNT; i++) {
        ring_add(&objective->rings[i], now_s, late_s);
    }
}

double objective_burn_rate(Objective *objective, int64_t now_us, ObjectiveWindow window)
{
    int64_t seconds = WINDOWS[window].seconds;
    uint64_t late = ring_sum(&objective->rings[WINDOWS[window].ring], now_us / 1000000, seconds);
    return (double)late / (double)seconds / (1 - objective->target);
}

double objective_budget_remaining(Objective *objective, int64_t now_us)
{
    const int64_t seconds = (int64_t)OBJECTIVE_BUDGET_DAYS * DAY_S;
    uint64_t late = ring_sum(&objective->rings[RING_BUDGET], now_us / 1000000, seconds);
    return 1 - (double)late / (double)seconds / (1 - objective->target);
}

void objective_collect(Objective *objective, int64_t now_us)
{
    for (ObjectiveWindow i = 0; i < OBJECTIVE_WINDOW_COUNT; i++) {
        *objective->burn_rate[i] = objective_burn_rate(objective, now_us, i);
    }
    *objective->budget_remaining = objective_budget_remaining(objective, now_us);
}

void objective_status(Objective *objective, int64_t now_us, json_t *status)
{
    document_number(status, "seconds", "%.9g", objective->lag_seconds);
    document_number(status, "target", "%.9g", objective->target);
    document_count(status, "late_seconds", (int64_t)*objective->late_seconds);
    document_count(status, "observed_seconds", (int64_t)*objective->observed_seconds);
    document_number(status, "budget_remaining", "%.6g",
                    objective_budget_remaining(objective, now_us));
    json_t *rates = document_object(status, "burn_rate");
    for (ObjectiveWindow i = 0; i < OBJECTIVE_WINDOW_COUNT; i++) {
        document_number(rates, WINDOWS[i].name, "%.6g", objective_burn_rate(objective, now_us, i));
    }
}
