/* vec: an array that grows.
 *
 *     VEC(GapRange) ranges;            // zeroed: empty
 *     *vec_add(&ranges) = (GapRange){.low = 1, .high = 9};
 *     for (size_t i = 0; i < ranges.count; i++) { use(&ranges.items[i]); }
 *     vec_free(&ranges);
 *
 * Items move when one is added. Sizes that do not fit end the process like memory that is not there
 * (memory.h). `vec` is evaluated more than once: no side effects. */
#pragma once

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

#define VEC(type)                                                                                  \
    struct {                                                                                       \
        type *items;                                                                               \
        size_t count;                                                                              \
        size_t capacity;                                                                           \
    }

/** The address of one more item, at the end; nothing is in it yet. */
#define vec_add(vec)                                                                               \
    ((vec)->items = (vec)->count < (vec)->capacity                                                 \
                        ? (vec)->items                                                             \
                        : x_grow((void *)(vec)->items, &(vec)->capacity, sizeof(*(vec)->items)),   \
     &(vec)->items[(vec)->count++])

/** Opens a place for one item before the one at `at`, and is its address. */
#define vec_insert(vec, at)                                                                        \
    ({                                                                                             \
        size_t vec_at = (at);                                                                      \
        (void)vec_add(vec);                                                                        \
        memmove((vec)->items + vec_at + 1, (vec)->items + vec_at,                                  \
                ((vec)->count - 1 - vec_at) * sizeof(*(vec)->items));                              \
        &(vec)->items[vec_at];                                                                     \
    })

/** Takes `number` items out, from the one at `at` on. A statement. */
#define vec_remove(vec, at, number)                                                                \
    do {                                                                                           \
        size_t vec_out = (number);                                                                 \
        if (vec_out > 0) {                                                                         \
            (vec)->count -= vec_out;                                                               \
            memmove((vec)->items + (at), (vec)->items + (at) + vec_out,                            \
                    ((vec)->count - (at)) * sizeof(*(vec)->items));                                \
        }                                                                                          \
    } while (0)

/** Empty, and without memory; what items point to is their owner's business. */
#define vec_free(vec)                                                                              \
    (free((void *)(vec)->items), (vec)->items = NULL, (vec)->count = (vec)->capacity = 0)
