/* The fence beside the gaps, without a source. */
#include <criterion/criterion.h>

#include "outbox/poll_fence.h"

static Gaps gaps;
static Fence fence;

static void begin(void)
{
    gaps_reset(&gaps);
    gaps_see(&gaps, 1);
    gaps_see(&gaps, 5); /* 2 to 4 are missing */
}

static void end(void)
{
    gaps_release(&gaps);
    fence_release(&fence);
}

TestSuite(poll_fence, .init = begin, .fini = end);

/* A fetch that asked who writes, and was complete. */
static void fetched(const char *writers, Fetch fetch)
{
    fence_note(&fence, writers);
    fence_advance(&fence, &gaps, &fetch);
}

#define COMPLETE ((Fetch){.top = 5, .last_seq = 5})

Test(poll_fence, is_due_only_while_there_are_gaps_and_not_too_often)
{
    AUTO_BUFFER sql = TEXT_EMPTY;
    cr_assert(fence_is_due(&fence, &gaps, 1000));
    fence_add_query(&fence, 4242, 1000, &sql);
    cr_assert_not(fence_is_due(&fence, &gaps, 1001));
    cr_assert(fence_is_due(&fence, &gaps, 1000000));
    gaps_drop(&gaps, 5);
    cr_assert_not(fence_is_due(&fence, &gaps, 1000000));
}

Test(poll_fence, gives_gaps_up_when_the_writers_of_an_earlier_fetch_are_gone)
{
    fetched("3/7 4/1", COMPLETE);
    cr_assert(gaps_cover(&gaps, 3), "these may fill it");
    fetched("4/1 9/9", COMPLETE);
    cr_assert(gaps_cover(&gaps, 3), "4/1 still may");
    fetched("9/9 14/1 4/11", COMPLETE);
    cr_assert_not(gaps_cover(&gaps, 3));
}

Test(poll_fence, needs_a_fetch_after_the_one_that_saw_no_writer)
{
    fetched("", COMPLETE);
    cr_assert(gaps_cover(&gaps, 3));
    fetched("", COMPLETE);
    cr_assert_not(gaps_cover(&gaps, 3));
}

Test(poll_fence, does_not_trust_a_fetch_that_ended_before_its_top)
{
    fetched("", COMPLETE);
    fetched("", (Fetch){.top = 5, .last_seq = 4, .cut = true});
    cr_assert(gaps_cover(&gaps, 3));
    fetched("", (Fetch){.top = 5, .last_seq = 6, .cut = true});
    cr_assert_not(gaps_cover(&gaps, 3));
}

Test(poll_fence, concludes_nothing_from_a_fetch_that_did_not_ask)
{
    fetched("", COMPLETE);
    fence_advance(&fence, &gaps, &COMPLETE);
    cr_assert(gaps_cover(&gaps, 3));
    fence_note(&fence, "");
    fence_forget_latest(&fence);
    fence_advance(&fence, &gaps, &COMPLETE);
    cr_assert(gaps_cover(&gaps, 3));
}
