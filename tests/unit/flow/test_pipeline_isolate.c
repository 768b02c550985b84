/* What the pipeline does with refused requests: taken apart by halves, nothing overtakes, culprits
 * alone are set aside or stop it. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/memory.h"
#include "rig.h"

static void prepare(void)
{
    rig_prepare();
    rig.config.on_poison = ON_POISON_DEAD_LETTER;
    rig.config.claim.backoff_min_ms = rig.config.claim.backoff_max_ms = 60000; /* not waited for */
    rig.sink.purge_at_once = true;
}

TestSuite(pipeline_isolate, .init = prepare, .fini = rig_end);

Test(pipeline_isolate, a_refused_request_is_taken_apart_by_halves)
{
    rig_run();
    rig_batch("1a 2a 3a 4a 5a 6a 7a 8a");
    rig_assert_sent("1 2 3 4 5 6 7 8");
    rig_refuse("1 2 3 4 5 6 7 8"); /* 6 is bad */
    rig_assert_sent("1 2 3 4");
    rig_accept("1 2 3 4");
    rig_assert_sent("5 6"); /* the culprit is in the other half: that is halved at once */
    rig_refuse("5 6");
    rig_assert_sent("5");
    rig_accept("5");
    rig_assert_sent("6"); /* alone */
    rig_refuse("6");
    cr_assert_eq(rig.source.aside_count, 1);
    cr_assert_eq(rig.source.aside[0]->seq, 6);
    cr_assert_eq(rig.source.aside_reason.code, CODE_RECORD_REFUSED);
    rig_assert_sent("7 8");
    rig_settle_all();
    rig_aside_done();
    rig_assert_acked("1 2 3 4 5 6 7 8");
    cr_assert_eq(*rig.stats.refused_requests, 3);
    cr_assert_eq(*rig.stats.rewinds, 1, "the steps are no troubles of their own");
    cr_assert_eq(*rig.stats.overtaken, 0);
}

Test(pipeline_isolate, a_group_settles_whole_before_the_next_one_leaves)
{
    rig_run();
    rig_batch("1a 2a 3a 4a 5a 6a 7a 8a");
    rig_assert_sent("1 2 3 4 5 6 7 8");
    rig_refuse("1 2 3 4 5 6 7 8");
    rig_assert_sent("1 2 3 4");
    rig_accept("1 2 3");
    rig_assert_sent("");
    rig_accept("4");
    rig_assert_sent("5 6");
}

Test(pipeline_isolate, nothing_behind_a_refused_request_is_sent_before_it)
{
    rig_run();
    rig_batch("1a 2b 3a 4b");
    rig_batch("5a 6b");
    rig_refuse("1 3"); /* a's partition; b's have not left yet */
    rig_assert_sent("1 2 3 4 5 6 1 2");
    rig_batch("7a");
    rig_assert_sent(""); /* one group at a time */
    rig_accept("1");
    rig_assert_sent("");
    rig_accept("2");
    rig_assert_sent("3"); /* it must be the bad one: quite alone */
    rig_refuse("3");
    rig_assert_sent("4 5 6 7");
    rig_settle_all();
    rig_aside_done();
    rig_assert_acked("1 2 3 4 5 6 7");
}

Test(pipeline_isolate, together_again_when_the_culprit_is_found)
{
    rig_run();
    rig_batch("1a");
    rig_refuse("1");
    rig_refuse("1");
    rig_aside_done();
    rig_assert_sent("1 1");
    for (int64_t i = 2; i < 6; i++) { /* with care, for a while */
        AUTO_TEXT rows = x_format("%lldx %lldx", (long long)i * 10, (long long)i * 10 + 1);
        AUTO_TEXT sent = x_format("%lld %lld", (long long)i * 10, (long long)i * 10 + 1);
        rig_batch(rows);
        rig_batch("1x");
        rig_assert_sent(sent);
        rig_settle_all();
        rig_assert_sent("1");
    }
    rig_batch("2a 3a");
    rig_batch("4a");
    rig_assert_sent("2 3 4");
}

Test(pipeline_isolate, two_partitions_are_taken_apart_side_by_side)
{
    rig_run();
    rig_batch("1a 2b 3a 4b 5a 6b 7a 8b");
    rig_refuse("1 3 5 7");
    rig_assert_sent("1 2 3 4 5 6 7 8 1 2 3 4");
    rig_refuse("2 4"); /* 1 and 3 of the same group come back */
    rig_assert_sent("1 2 3");
    rig_accept("1 2 3");
    rig_assert_sent("4"); /* it must be the bad one: alone */
    rig_refuse("4");
    rig_assert_sent("5 6"); /* half of 5 and 7, one of which is bad; nothing is held against 6 */
    rig_accept("6");
    rig_refuse("5");
    rig_assert_sent("7 8");
    rig_accept("7 8");
    cr_assert_eq(rig.source.aside_count, 2);
    rig_aside_done();
    rig_aside_done();
    rig_assert_acked("1 2 3 4 5 6 7 8");
}

Test(pipeline_isolate, a_culprit_that_the_sink_finds_ends_the_search)
{
    rig_run();
    rig_batch("1a 2a 3a 4a");
    rig.sink.poison_seq = 2; /* its limits were looked up meanwhile */
    rig_refuse("1 2 3 4");
    cr_assert_eq(rig.source.aside_count, 1);
    rig_assert_sent("1 2 3 4 1 3 4");
    rig_settle_all();
    rig_aside_done();
    rig_assert_acked("1 2 3 4");
}

Test(pipeline_isolate, a_refused_request_holds_only_what_is_behind_the_bad_record)
{
    rig.config.on_poison = ON_POISON_STOP;
    rig.source.may_park = true;
    rig_run();
    rig_batch("1a 2b 3a 4a 5a+");
    rig_refuse("1 2 3 4");
    rig_accept("1 2");
    rig_refuse("3");
    rig_accept("5");
    rig_assert_state(PIPELINE_RUNNING);
    rig_assert_error(CODE_NONE);
    rig_assert_acked("1 2 5");
    rig_assert_parked("3 4");
    cr_assert_str_eq(rig_waiting().topic, "order.events");
    cr_assert_not_null(strstr(error_message(rig_waiting().reason), "seq 3"), "%s",
                       error_message(rig_waiting().reason));
}

Test(pipeline_isolate, what_was_overtaken_is_counted_once)
{
    rig.sink.purge_at_once = false;
    rig_run();
    rig_batch("1a 2a 3b 4a 5b 6c");
    AUTO_ERROR purged = rig_error(ERROR_RETRY, CODE_SINK_PURGED);
    rig_accept("4"); /* was on the wire already, and the broker took it */
    rig_accept("6"); /* of another partition */
    rig_refuse("1 2");
    rig_accept("5");
    rig_settle(3, &purged);
    cr_assert_eq(*rig.stats.overtaken, 3, "1 and 2 by 4, 3 by 5");
    rig_assert_sent("1 2 3 4 5 6 1");
    rig_accept("1");
    rig_assert_sent("2");
    rig_refuse("2");
    rig_assert_sent("3");
    rig_settle_all();
    cr_assert_eq(*rig.stats.overtaken, 3);
}

Test(pipeline_isolate, what_a_late_purge_took_is_sent_again)
{
    rig.sink.purge_at_once = false;
    rig_run();
    rig_batch("1a 2a");
    rig_refuse("1 2");
    rig_assert_sent("1 2 1");
    AUTO_ERROR purged = rig_error(ERROR_RETRY, CODE_SINK_PURGED);
    rig_settle(1, &purged);
    rig_assert_sent("1");
    rig_accept("1");
    rig_assert_sent("2");
}

Test(pipeline_isolate, a_lost_source_ends_the_search)
{
    rig_run();
    rig_batch("1a 2a 3a");
    rig_refuse("1 2 3");
    rig_assert_sent("1 2 3 1 2");
    rig_source_lost(ERROR_RETRY);
    rig_settle_all();
    rig_assert_returned("3");
    rig_take_over();
    rig_batch("3a 4a");
    rig_assert_sent("3 4");
}

Test(pipeline_isolate, a_stop_while_searching_leaves_the_rest_unpublished)
{
    rig_run();
    rig_batch("1a 2a 3a");
    rig_refuse("1 2 3");
    rig_stop();
    rig_refuse("1 2");
    rig_assert_state(PIPELINE_DRAINING);
    rig_assert_returned("1 2 3");
    rig_drained();
    rig_assert_state(PIPELINE_STOPPED);
}
