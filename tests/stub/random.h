/* random: reproducible random numbers for tests (xorshift64*), the seed printed by whoever fails.
 * OUTBOXD_SEED repeats one run. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

typedef struct Random {
    uint64_t state;
} Random;

static inline Random random_new(uint64_t seed)
{
    return (Random){.state = seed * UINT64_C(0x9E3779B97F4A7C15) + 1};
}

static inline uint64_t random_next(Random *random)
{
    random->state ^= random->state >> 12;
    random->state ^= random->state << 25;
    random->state ^= random->state >> 27;
    return random->state * UINT64_C(0x2545F4914F6CDD1D);
}

/** 0 to below - 1. */
static inline size_t random_below(Random *random, size_t below)
{
    return (size_t)((random_next(random) >> 11) % below);
}

static inline bool random_chance(Random *random, size_t percent)
{
    return random_below(random, 100) < percent;
}

/** How many of `count` dear walks are made: a third, and all of them in soak (OUTBOXD_SOAK=1). */
static inline uint64_t random_share(uint64_t count)
{
    return getenv("OUTBOXD_SOAK") != NULL ? count : (count + 2) / 3;
}

/** The seeds of a test: `first` to `first + count - 1`, or only OUTBOXD_SEED. */
static inline void random_seeds(uint64_t *first, uint64_t *count)
{
    const char *seed = getenv("OUTBOXD_SEED");
    if (seed != NULL) {
        *first = strtoull(seed, NULL, 10);
        *count = 1;
    }
}
