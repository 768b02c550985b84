#include <criterion/criterion.h>

#include "base/slice.h"

Test(slice, null_and_empty_differ)
{
    cr_assert_not(slice_equal(SLICE_NULL, SLICE_LITERAL("")));
    cr_assert(slice_equal(SLICE_NULL, slice_of(NULL)));
    cr_assert(slice_equal(SLICE_LITERAL(""), slice_of("")));
}

Test(slice, bytes_decide_equality_and_nul_is_a_byte)
{
    Slice a = {.data = "a\0b", .length = 3};
    Slice b = {.data = "a\0c", .length = 3};
    cr_assert_not(slice_equal(a, b));
    cr_assert_not(slice_equal(SLICE_LITERAL("order"), SLICE_LITERAL("orders")));
    cr_assert(slice_equal(SLICE_LITERAL("order"), slice_of("order")));
}
