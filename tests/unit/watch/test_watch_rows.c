/* The look at rows: the oldest, and the net. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "flow/event.h"
#include "stub/given.h"
#include "watch_rig.h"

/* The oldest row. */

Test(watch, to_a_standby_a_row_that_passes_by_is_as_old_as_it_was_and_one_that_stays_grows_older)
{
    at.config.monitor.interval_ms = 3600000;
    at.role = (WatchRole){.stands_by = true};
    at.oldest_seq = "17";
    rig_start();
    rig_wait_looks(1);
    WatchOldest first, later;
    cr_assert(rig_oldest(&first));
    cr_assert_float_eq(first.lag_seconds, 2.5, 1e-3);
    int64_t until_us = clock_monotonic_us() + 20000;
    WAIT(clock_monotonic_us() > until_us);
    cr_assert(rig_oldest(&later));
    cr_assert_eq(first.lag_seconds, later.lag_seconds, "it may be published by now");
    WAIT((watch_hurry(at.watch), rig_oldest(&first) && first.lag_seconds > 2.52));
    WAIT(rig_oldest(&later) && later.lag_seconds > first.lag_seconds);
    at.oldest_seq = NULL;
    WAIT((watch_hurry(at.watch), !rig_has_oldest()));
}

Test(watch, the_owner_counts_a_row_only_if_it_published_nothing_since_or_two_looks_saw_it)
{
    at.config.monitor.interval_ms = 3600000;
    at.role = (WatchRole){.judges = true};
    at.sight = SIGHT_KNOWN;
    at.oldest_seq = "17";
    rig_start();
    rig_wait_looks(1);
    WatchOldest row;
    int64_t published_us = clock_monotonic_us();
    cr_assert(watch_oldest(at.watch, 0, true, 0, &row));
    cr_assert_not(watch_oldest(at.watch, 0, true, published_us, &row), "it may be that one");
    WAIT((watch_hurry(at.watch), watch_oldest(at.watch, 0, true, INT64_MAX, &row)));
}

Test(watch, what_is_settled_is_not_waited_for_any_more)
{
    at.role = (WatchRole){.judges = true};
    at.oldest_seq = "17";
    rig_start();
    rig_wait_looks(3);
    cr_assert(rig_has_oldest());
    cr_assert_eq(at.follow_low, 17);
    cr_assert_eq(at.follow_high, 17);
    watch_settled(at.watch, 0, 17, SLICE_LITERAL("another"));
    cr_assert(rig_has_oldest(), "the number was given out again");
    watch_settled(at.watch, 0, 17, SLICE_LITERAL("id-17"));
    cr_assert_not(rig_has_oldest());
    rig_wait_looks(2);
    cr_assert_not(rig_has_oldest(), "not although its mark is late");
}

Test(watch, a_row_whose_mark_is_under_way_is_not_old)
{
    at.config.monitor.interval_ms = 3600000;
    at.role = (WatchRole){.judges = true};
    at.sight = SIGHT_PUBLISHED;
    at.oldest_seq = "17";
    rig_start();
    rig_wait_looks(1);
    cr_assert_not(rig_has_oldest());
    cr_assert_eq(at.sights, 1);
}

Test(watch, while_something_waits_rows_are_looked_at_more_often_than_the_rest)
{
    at.config.monitor.interval_ms = 3600000;
    at.pipelines[0].outbox.unseen_after_ms = 300;
    at.role = (WatchRole){.judges = true};
    at.oldest_seq = "17";
    rig_start();
    rig_wait_looks(1);
    size_t looks = at.oldests;
    WAIT(at.oldests >= looks + 2);
    cr_assert_eq(at.servers, 1);
    cr_assert_eq(at.looks_told, at.oldests - 1, "the rows of the other are not");
}

Test(watch, draining_it_looks_at_rows_alone_and_does_not_connect_again)
{
    at.role = (WatchRole){.waits = true};
    at.oldest_seq = "17";
    rig_start();
    rig_wait_looks(1);
    size_t servers = at.servers;
    size_t looks = at.oldests;
    watch_drain(at.watch);
    WAIT(at.oldests > looks);
    cr_assert(rig_has_oldest());
    cr_assert_leq(at.servers, servers + 1);
    stub_break_idle(1);
    WAIT(!watch_server(at.watch)->up);
    int64_t until_us = clock_monotonic_us() + 300000;
    WAIT(clock_monotonic_us() > until_us);
    cr_assert_eq(stub_open_connections(), 0);
}

/* The net. */

static void start_net(Capture capture)
{
    at.pipelines[1].outbox.on_publish = ON_PUBLISH_KEEP;
    at.pipelines[0].capture = capture;
    at.pipelines[0].wal.slot = GIVEN("outboxd_orders");
    at.pipelines[0].outbox.unseen_after_ms = 40;
    at.pipelines[0].poll.sweep_interval_ms = 10;
    at.role = (WatchRole){.judges = true};
    at.sight = SIGHT_UNKNOWN;
    at.oldest_seq = "17";
    rig_start();
}

Test(watch, a_row_that_stays_unknown_is_said_with_the_way_back_and_that_it_is_over)
{
    start_net(CAPTURE_WAL);
    WAIT(at.complaints > 0);
    cr_assert_eq(at.unseen.code, CODE_EVENT_UNSEEN);
    cr_assert_not_null(strstr(error_message(&at.unseen), "seq 17, id id-17, type 'order.placed'"),
                       "%s", error_message(&at.unseen));
    cr_assert_not_null(strstr(error_own_hint(&at.unseen), "outboxd run --new-slot"));
    cr_assert_eq(at.asked_again, 0, "nothing is published outside of the stream");
    cr_assert_not_null(strstr(text_string(&at.oldest_sql), "IN (17)"), "by number, too: %s",
                       text_string(&at.oldest_sql));
    rig_assert_exposed("outboxd_unseen_events{pipeline=\"orders\"} 1\n", true);
    rig_assert_exposed("outboxd_unseen_events_found_total{pipeline=\"orders\"} 1\n", true);
    cr_assert_eq(at.look.unknown, 1);
    cr_assert_eq(at.look.first_unknown, 17);
    cr_assert_eq(at.look.insert_lsn, 4096);
    cr_assert(at.look.complete);
    rig_wait_looks(3);
    cr_assert_eq(at.complaints, 1);
    at.oldest_seq = NULL;
    WAIT(at.over == 1);
    rig_assert_exposed("outboxd_unseen_events{pipeline=\"orders\"} 0\n", true);
    rig_assert_exposed("outboxd_unseen_events_found_total{pipeline=\"orders\"} 1\n", true);
}

Test(watch, a_poll_is_asked_to_look_again_before_anything_is_said)
{
    start_net(CAPTURE_POLL);
    WAIT(at.complaints == 1);
    cr_assert_gt(at.asked_again, 0);
    cr_assert_eq(at.complaints_asked, 0);
    cr_assert_not_null(strstr(error_own_hint(&at.unseen), "row-level security"));
    at.sight = SIGHT_KNOWN;
    WAIT(at.over == 1);
}

Test(watch, what_is_known_behind_or_being_marked_is_not_unseen)
{
    start_net(CAPTURE_WAL);
    SourceSight sights[] = {SIGHT_KNOWN, SIGHT_BEHIND, SIGHT_PUBLISHED};
    for (size_t i = 0; i < sizeof(sights) / sizeof(sights[0]); i++) {
        at.sight = sights[i];
        size_t asked = at.sights;
        WAIT(at.sights >= asked + 4);
        cr_assert_eq(at.complaints, 0);
    }
}

Test(watch, while_nothing_is_published_nobody_is_asked)
{
    start_net(CAPTURE_WAL);
    at.role = (WatchRole){.waits = true}; /* paused, say */
    rig_wait_looks(4);
    cr_assert_eq(at.sights, 0);
    at.role = (WatchRole){.judges = true};
    WAIT(at.complaints == 1);
    at.role = (WatchRole){.waits = true};
    rig_wait_looks(3);
    cr_assert_eq(at.over, 0, "a pause mends nothing");
    at.role = (WatchRole){.stands_by = true};
    WAIT(at.over == 1);
}
