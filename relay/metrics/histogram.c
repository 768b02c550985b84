/* A bucket counts durations up to and including its bound, as Prometheus' "le" has it. */
#include "metrics/histogram.h"

static const struct {
    int64_t us;
    const char *text; /* seconds */
} BOUNDS[HISTOGRAM_BOUNDS] = {
    {500, "0.0005"},  {1000, "0.001"},  {2000, "0.002"}, {5000, "0.005"},  {10000, "0.01"},
    {20000, "0.02"},  {50000, "0.05"},  {100000, "0.1"}, {200000, "0.2"},  {500000, "0.5"},
    {1000000, "1"},   {2000000, "2"},   {5000000, "5"},  {10000000, "10"}, {20000000, "20"},
    {30000000, "30"}, {60000000, "60"},
};

const char *histogram_bound_text(int bucket)
{
    return BOUNDS[bucket].text;
}

static int histogram_bucket(int64_t us)
{
    int low = 0;
    int high = HISTOGRAM_BOUNDS;
    while (low < high) {
        int middle = (low + high) / 2;
        if (us <= BOUNDS[middle].us) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

void histogram_observe_us(Histogram *histogram, int64_t us)
{
    if (us < 0) {
        us = 0;
    }
    histogram->counts[histogram_bucket(us)]++;
    histogram->total++;
    histogram->sum_us += (uint64_t)us;
    if (us > histogram->max_us) {
        histogram->max_us = us;
    }
}

int64_t histogram_quantile_us(const Histogram *histogram, double quantile)
{
    if (histogram->total == 0) {
        return 0;
    }
    double wanted = quantile * (double)histogram->total;
    uint64_t below = 0;
    int bucket = 0;
    while (bucket < HISTOGRAM_BOUNDS && (double)(below + histogram->counts[bucket]) < wanted) {
        below += histogram->counts[bucket];
        bucket++;
    }
    if (bucket == HISTOGRAM_BOUNDS || histogram->counts[bucket] == 0) {
        return bucket == 0 ? 0 : histogram->max_us;
    }
    int64_t low = bucket > 0 ? BOUNDS[bucket - 1].us : 0;
    int64_t high = BOUNDS[bucket].us;
    double inside = (wanted - (double)below) / (double)histogram->counts[bucket];
    int64_t estimate = low + (int64_t)((double)(high - low) * inside);
    return estimate < histogram->max_us ? estimate : histogram->max_us;
}
