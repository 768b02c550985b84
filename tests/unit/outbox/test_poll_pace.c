/* How much is read, and how soon. */
#include <criterion/criterion.h>

#include "outbox/poll_pace.h"
#include "stub/given.h"

static PipelineConfig config;
static Pace pace;

static void begin(void)
{
    config = given_pipeline();
    config.limits.batch_events = 5000;
    config.limits.batch_bytes = 1000000;
    config.limits.in_flight_events = 4000;
    config.poll.interval_min_ms = 10;
    config.poll.interval_max_ms = 100;
    pace = (Pace){.config = &config};
    pace_reset(&pace);
    pace_hurry(&pace);
}

TestSuite(poll_pace, .init = begin);

static size_t next_limit(void)
{
    size_t events = SIZE_MAX;
    size_t bytes = SIZE_MAX;
    cr_assert(pace_fits(&pace, true, &events, &bytes));
    return events;
}

Test(poll_pace, reads_more_at_once_while_rows_prove_small)
{
    cr_assert_eq(next_limit(), 256);
    pace_adapt(&pace, &(Fetch){.limit = 256, .cut = true, .events = 256, .bytes = 256}, false);
    cr_assert_eq(next_limit(), 1024);
    pace_adapt(&pace, &(Fetch){.limit = 4096, .cut = true, .events = 4096, .bytes = 4096}, false);
    cr_assert_eq(next_limit(), 5000, "batch_events");
}

Test(poll_pace, reads_no_more_than_fit_the_budget_of_a_batch)
{
    pace_adapt(&pace, &(Fetch){.limit = 256, .cut = true, .events = 100, .bytes = 1000000}, false);
    cr_assert_eq(next_limit(), 1000000 / 10001 + 1);
}

Test(poll_pace, waits_longer_and_longer_while_nothing_comes)
{
    int64_t expected[] = {20, 40, 80, 100, 100};
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        pace_adapt(&pace, &(Fetch){.limit = 256}, false);
        cr_assert_eq(pace_interval_ms(&pace), expected[i]);
        cr_assert_not(pace_wants(&pace));
        cr_assert(pace_is_caught_up(&pace));
    }
    pace_adapt(&pace, &(Fetch){.limit = 256, .events = 1, .bytes = 10}, false);
    cr_assert_eq(pace_interval_ms(&pace), 10);
}

Test(poll_pace, reads_at_once_while_there_is_more_or_somebody_insists)
{
    pace_adapt(&pace, &(Fetch){.limit = 256, .cut = true, .events = 256, .bytes = 256}, false);
    cr_assert(pace_wants(&pace));
    cr_assert_not(pace_is_caught_up(&pace));
    pace_adapt(&pace, &(Fetch){.limit = 256}, true);
    cr_assert(pace_wants(&pace));
}

Test(poll_pace, does_not_read_into_a_small_remainder_of_room_unless_no_more_will_come)
{
    size_t events = 100;
    size_t bytes = SIZE_MAX;
    cr_assert_not(pace_fits(&pace, false, &events, &bytes));
    events = 100;
    cr_assert(pace_fits(&pace, true, &events, &bytes));
    cr_assert_eq(events, 100);
}

Test(poll_pace, has_covered_what_a_later_fetch_could_have_shown)
{
    pace_note_covered(&pace, &(Fetch){.sent_us = 50, .cut = true, .last_seq = 9});
    cr_assert(pace_has_covered(&pace, 40, 9));
    cr_assert_not(pace_has_covered(&pace, 40, 10), "that lies behind");
    cr_assert_not(pace_has_covered(&pace, 50, 9), "the look was not older");
    pace_note_covered(&pace, &(Fetch){.sent_us = 60});
    cr_assert(pace_has_covered(&pace, 50, 1000));
    pace_reset(&pace);
    cr_assert_not(pace_has_covered(&pace, 1, 9));
}
