#include <criterion/criterion.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/arena.h"

Test(arena, pieces_are_aligned_and_do_not_overlap)
{
    Arena arena = {0};
    unsigned char *pieces[500];
    for (size_t i = 0; i < 500; i++) {
        pieces[i] = arena_alloc(&arena, i + 1);
        cr_assert_eq((uintptr_t)pieces[i] % 16, 0);
        memset(pieces[i], (int)(i & 0xFF), i + 1);
    }
    for (size_t i = 0; i < 500; i++) {
        for (size_t j = 0; j <= i; j++) {
            cr_assert_eq(pieces[i][j], (unsigned char)(i & 0xFF));
        }
    }
    arena_release(&arena);
}

Test(arena, a_piece_larger_than_a_chunk_is_whole)
{
    Arena arena = {0};
    char *large = arena_alloc(&arena, 3 * 1024 * 1024);
    memset(large, 'x', 3 * 1024 * 1024);
    cr_assert_geq(arena.bytes, 3 * 1024 * 1024);
    char *small = arena_alloc(&arena, 8);
    memset(small, 'y', 8);
    cr_assert_eq(large[3 * 1024 * 1024 - 1], 'x');
    arena_release(&arena);
}

Test(arena, a_small_batch_asks_for_little)
{
    Arena arena = {0};
    arena_alloc(&arena, 100);
    cr_assert_leq(arena.bytes, 8 * 1024);
    arena_release(&arena);
}

Test(arena, release_empties_it_and_it_can_be_used_again)
{
    Arena arena = {0};
    arena_alloc(&arena, 100000);
    arena_release(&arena);
    cr_assert_eq(arena.bytes, 0);
    cr_assert_null(arena.chunks);
    char *again = arena_alloc(&arena, 10);
    memset(again, 0, 10);
    arena_release(&arena);
}

Test(arena, nothing_of_no_length_is_still_a_pointer)
{
    Arena arena = {0};
    cr_assert_not_null(arena_alloc(&arena, 0));
    arena_release(&arena);
}

Test(arena, copies_keep_null_empty_and_bytes_apart)
{
    Arena arena = {0};
    cr_assert(slice_is_null(arena_copy(&arena, SLICE_NULL)));
    Slice empty = arena_copy(&arena, SLICE_LITERAL(""));
    cr_assert_not(slice_is_null(empty));
    cr_assert_eq(empty.length, 0);
    Slice bytes = {.data = "a\0b", .length = 3};
    Slice copy = arena_copy(&arena, bytes);
    cr_assert_neq((const void *)copy.data, (const void *)bytes.data);
    cr_assert(slice_equal(copy, bytes));
    arena_release(&arena);
}

Test(arena, what_is_adopted_is_released_with_the_rest)
{
    Arena arena = {0};
    char *first = malloc(1000);
    cr_assert_not_null(first);
    arena_adopt(&arena, first, 1000);
    char *between = arena_alloc(&arena, 100);
    memset(between, 1, 100);
    arena_adopt(&arena, malloc(2000), 2000);
    char *after = arena_alloc(&arena, 100);
    memset(after, 2, 100);
    cr_assert_geq(arena.bytes, 3200);
    cr_assert_eq(between[99], 1, "the chunk in use stays in use");
    arena_release(&arena); /* the sanitizer tells of a leak */
}
