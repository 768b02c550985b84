/* Dead letters that are stored in another place than beside the rows. */
#include <criterion/criterion.h>

#include "rig.h"

static size_t freed;

static void letters_free(Letters *letters)
{
    cr_assert_eq(letters, &rig.source.letters);
    freed++;
}

static void prepare(void)
{
    rig_prepare();
    rig.config.on_poison = ON_POISON_DEAD_LETTER;
    rig.source.letters.of_source = false;
    rig.source.letters.free = letters_free;
    rig.source.source.letters = NULL;
    rig.letters = &rig.source.letters;
}

static void finish(void)
{
    rig_end();
    cr_assert_eq(freed, 1, "it is the pipeline's");
}

TestSuite(pipeline_letters, .init = prepare, .fini = finish);

static void settle(Event *event, const Error *err)
{
    rig.source.letters.events.settled(rig.source.letters.events.arg, event,
                                      rig.source.aside_reason.code, err);
    rig_turn();
}

Test(pipeline_letters, of_another_place_are_taken_and_told)
{
    rig_run();
    rig_batch("1a! 2a");
    cr_assert_eq(rig.source.aside_count, 1);
    cr_assert_eq(rig.source.aside_reason.code, CODE_HEADERS_INVALID);
    rig_assert_sent("2");
    rig_settle_all();
    rig_assert_acked("");
    rig_aside_done();
    rig_assert_acked("1 2");
    cr_assert_eq(stats_dead_lettered(&rig.stats), 1);
}

Test(pipeline_letters, of_another_place_outlive_a_lost_source)
{
    rig_run();
    rig_batch("1a! 2b");
    Event *event = rig.source.aside[0];
    rig_source_lost(ERROR_RETRY);
    rig_settle(2, NULL);
    rig_assert_state(PIPELINE_REWINDING);
    rig_assert_acked(""); /* its outcome will be known */
    settle(event, NULL);
    rig_assert_state(PIPELINE_STARTING);
    rig_assert_acked("1 2");
    cr_assert_eq(stats_dead_lettered(&rig.stats), 1);
}

Test(pipeline_letters, that_are_refused_while_the_source_is_lost_are_read_again)
{
    rig_run();
    rig_batch("1a! 2b");
    Event *event = rig.source.aside[0];
    rig_source_lost(ERROR_RETRY);
    rig_settle(2, NULL);
    AUTO_ERROR err = rig_error(ERROR_RETRY, CODE_KAFKA_TOPIC_UNKNOWN);
    settle(event, &err);
    rig_assert_returned("1");
    rig_assert_acked("2");
}

Test(pipeline_letters, that_another_place_refuses_hold_their_topic)
{
    rig.source.may_park = true;
    rig_run();
    rig_batch("1a! 2a 3b+");
    AUTO_ERROR err = rig_error(ERROR_RETRY, CODE_KAFKA_TOPIC_UNKNOWN);
    settle(rig.source.aside[0], &err);
    cr_assert_eq(rig_waiting().reason->code, CODE_DEAD_LETTER_REFUSED);
    rig_batch("4a");
    rig_assert_sent("2 3");
}
