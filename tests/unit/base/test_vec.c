#include <criterion/criterion.h>
#include <stdint.h>

#include "base/error.h"
#include "base/vec.h"

typedef struct Numbers {
    VEC(int) all;
} Numbers;

static Numbers numbers;

static void end(void)
{
    vec_free(&numbers.all);
}

TestSuite(vec, .fini = end);

static void add(int first, int last)
{
    for (int i = first; i <= last; i++) {
        *vec_add(&numbers.all) = i;
    }
}

Test(vec, keeps_what_was_added_as_it_grows)
{
    add(0, 9999);
    cr_assert_eq(numbers.all.count, 10000);
    cr_assert_geq(numbers.all.capacity, 10000);
    for (int i = 0; i < 10000; i++) {
        cr_assert_eq(numbers.all.items[i], i);
    }
}

Test(vec, inserts_before_the_item_at_a_place)
{
    add(1, 2);
    *vec_insert(&numbers.all, 0) = 10;
    *vec_insert(&numbers.all, numbers.all.count) = 20; /* at the end */
    *vec_insert(&numbers.all, 2) = 15;
    cr_assert_arr_eq(numbers.all.items, ((int[]){10, 1, 15, 2, 20}), 5 * sizeof(int));
    cr_assert_eq(numbers.all.count, 5);
}

Test(vec, removes_some_or_none_or_all)
{
    vec_remove(&numbers.all, 0, 0);
    add(1, 5);
    vec_remove(&numbers.all, 1, 2);
    cr_assert_arr_eq(numbers.all.items, ((int[]){1, 4, 5}), 3 * sizeof(int));
    vec_remove(&numbers.all, 0, numbers.all.count); /* read once */
    cr_assert_eq(numbers.all.count, 0);
}

Test(vec, is_empty_and_holds_no_memory_once_it_is_freed)
{
    add(1, 100);
    vec_free(&numbers.all);
    cr_assert_null(numbers.all.items);
    cr_assert_eq(numbers.all.count, 0);
    cr_assert_eq(numbers.all.capacity, 0);
    add(7, 7);
    cr_assert_eq(numbers.all.items[0], 7);
}

Test(vec, that_would_need_more_bytes_than_there_are_ends_the_process, .exit_code = EXIT_INTERNAL)
{
    size_t capacity = SIZE_MAX / 8;
    (void)x_grow(NULL, &capacity, 8);
}

Test(vec, whose_capacity_does_not_fit_ends_the_process, .exit_code = EXIT_INTERNAL)
{
    size_t capacity = SIZE_MAX / 2 + 1;
    (void)x_grow(NULL, &capacity, 1);
}
