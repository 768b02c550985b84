/* nearest: which known name a misspelt one meant. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

typedef struct Nearest {
    const char *name; /* borrowed */
    size_t distance;  /* of the best offer so far, or the least distance that is too far */
} Nearest;

/** Letters to insert, remove, replace or swap with a neighbour to make a into b
 * (Damerau-Levenshtein, optimal string alignment; ASCII letters compare without case). Names longer
 * than 127 are far from everything. */
size_t nearest_distance(const char *a, const char *b);

/** Starts a search; only names within about a third of the length of name count as near. */
Nearest nearest_begin(const char *name);

/** True when candidate is nearer than every one offered before. */
bool nearest_offer(Nearest *nearest, const char *candidate);
