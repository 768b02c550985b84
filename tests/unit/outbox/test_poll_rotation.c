/* ALTER TABLE event RENAME TO event_2025; CREATE TABLE event (...): the source as the pipeline sees
 * it. */
#include <string.h>

#include "base/clock.h"
#include "poll_rig.h"

TestSuite(poll_rotation, .init = rig_prepare, .fini = rig_end);

#define OLD_NAME "outbox.event_2025"

/* The table that is read has another name, and 4243 has its name. */
static void rotate(void)
{
    rig.configured_oid = "4243";
    rig.present_name = OLD_NAME;
}

static void begin_midway(void)
{
    rig_insert(1, 3);
    rig.pipe.pipeline.poll.interval_max_ms = 5;
    rig_begin();
    RIG_WAIT(rig_delivered() == 3);
}

Test(poll_rotation, the_old_table_is_finished_before_the_new_one_is_read)
{
    begin_midway();
    rotate();
    rig_insert(4, 5); /* before the rename, not read yet */
    RIG_WAIT(rig_delivered() == 5);
    cr_assert_not_null(strstr(rig.fetch_sql, OLD_NAME));
    RIG_WAIT(strcmp(rig.lock_tried, "4243") == 0);
    rig_turn();
    cr_assert_eq(rig.pipe.lost, 0, "what is out is waited for");
    cr_assert_eq(rig.rows_deleted, 0);
    rig_ack_all();
    RIG_WAIT(rig_marked() == 5);
    RIG_WAIT(rig.pipe.lost == 1);
    cr_assert_eq(rig.pipe.error.code, CODE_TABLE_FINISHED);
    cr_assert_eq(rig.pipe.error.class, ERROR_RETRY);
    cr_assert_eq(rig.rows_deleted, 1);
    cr_assert_eq(rig_delivered(), 5, "nothing twice, nothing of the new table");
    /* From the beginning, as another table. */
    rig.table_oid = "4243";
    rig.configured_oid = NULL;
    rig.history.generation[0] = '\0';
    size_t claims = rig.claims;
    rig.pipe.source->ops->start(rig.pipe.source, 0);
    rig_insert(6, 6);
    RIG_WAIT(rig_delivered() == 6);
    cr_assert_eq(rig.claims, claims + 1);
    cr_assert_null(strstr(rig.fetch_sql, OLD_NAME));
}

Test(poll_rotation, the_new_table_waits_for_its_lock)
{
    begin_midway();
    rig.lock_taken = true;
    rotate();
    rig_ack_all();
    RIG_WAIT(rig_marked() == 3);
    RIG_WAIT(strcmp(rig.lock_tried, "4243") == 0);
    rig_turn();
    cr_assert_eq(rig.pipe.lost, 0);
    cr_assert(rig.pipe.source->ops->may_publish(rig.pipe.source));
    rig.lock_taken = false;
    RIG_WAIT(rig.pipe.lost == 1);
    cr_assert_eq(rig.pipe.error.code, CODE_TABLE_FINISHED);
}

Test(poll_rotation, a_rename_alone_is_followed)
{
    begin_midway();
    rig.configured_oid = "0"; /* no table has the name */
    rig.present_name = OLD_NAME;
    rig_insert(4, 4);
    RIG_WAIT(rig_delivered() == 4);
    rig_ack_all();
    RIG_WAIT(rig_marked() == 4);
    rig.configured_oid = NULL; /* renamed back */
    rig_insert(5, 5);
    RIG_WAIT(rig_delivered() == 5);
    cr_assert_eq(rig.pipe.lost, 0);
}

Test(poll_rotation, a_third_table_that_takes_the_name_at_the_end_is_seen)
{
    begin_midway();
    rotate();
    rig_ack_all();
    rig.renamed_at_the_end = "4250";
    RIG_WAIT(strcmp(rig.lock_tried, "4250") == 0);
    RIG_WAIT(rig.pipe.lost == 1);
    cr_assert_eq(rig.pipe.error.code, CODE_TABLE_FINISHED);
    cr_assert_eq(rig.rows_deleted, 1, "only once what follows is known");
}

Test(poll_rotation, a_table_that_had_the_name_until_it_was_taken_back_goes_first)
{
    begin_midway();
    rotate();
    RIG_WAIT(strcmp(rig.lock_tried, "4243") == 0);
    rig.configured_oid = NULL;
    rig_insert(4, 4);
    RIG_WAIT((rig_ack_all(), rig.pipe.lost == 1));
    cr_assert_eq(rig.pipe.error.code, CODE_TABLE_RETURNED);
    cr_assert_eq(rig_marked(), rig_delivered(), "what was out is marked, so nothing comes twice");
    cr_assert_eq(rig.rows_deleted, 0);
}

Test(poll_rotation, a_table_that_was_dropped_cannot_be_finished)
{
    begin_midway();
    rig.configured_oid = "4243";
    RIG_WAIT(rig.pipe.lost == 1);
    cr_assert_eq(rig.pipe.error.code, CODE_TABLE_REPLACED);
}

Test(poll_rotation, after_a_restart_the_old_table_goes_first)
{
    rig_insert(1, 3);
    rig.table_oid = "4243";
    rig.configured_oid = "4243";
    rig.old_oid = "4242";
    rig.fetched_oid = "4242";
    rig.present_name = OLD_NAME;
    rig_begin();
    RIG_WAIT(rig_delivered() == 3);
    cr_assert_str_eq(rig.lock_tried, "4242", "both locks");
    cr_assert_not_null(strstr(rig.fetch_sql, OLD_NAME));
    rig_ack_all();
    RIG_WAIT(rig_marked() == 3);
    RIG_WAIT(rig.pipe.lost == 1);
    cr_assert_eq(rig.pipe.error.code, CODE_TABLE_FINISHED);
    cr_assert_eq(rig.rows_deleted, 1);
}

Test(poll_rotation, whoever_finds_the_old_table_taken_stands_by)
{
    rig_insert(1, 3);
    rig.table_oid = "4243";
    rig.old_oid = "4242";
    rig.present_name = OLD_NAME;
    rig.old_taken = true;
    rig_begin();
    RIG_WAIT(rig.pipe.standby >= 1);
    cr_assert_eq(rig.unlocks, 1, "the lock of the new one is given up");
    cr_assert_eq(rig.claims, 0);
    cr_assert_eq(rig_delivered(), 0);
}

Test(poll_rotation, a_standby_whose_table_was_renamed_looks_again)
{
    rig.lock_taken = true;
    rig.pipe.pipeline.claim.standby_interval_ms = 1;
    rig_begin();
    RIG_WAIT(rig.pipe.standby >= 1);
    rig.configured_oid = "4243";
    rig.lock_taken = false; /* the owner has finished it */
    RIG_WAIT(rig.pipe.lost == 1);
    cr_assert_eq(rig.pipe.error.code, CODE_TABLE_REPLACED);
    cr_assert_eq(rig.claims, 0);
}

Test(poll_rotation, it_is_noticed_without_room_to_read)
{
    rig.pipe.pipeline.claim.lease_ms = 60;
    rig.pipe.room_events = 3;
    begin_midway();
    rig.pipe.room_events = 0;
    rotate();
    RIG_WAIT(strcmp(rig.lock_tried, "4243") == 0);
    cr_assert_eq(rig.pipe.lost, 0);
}

static void begin_behind(void)
{
    rig_insert(1, 3);
    rig.table_oid = "4243";
    rig.configured_oid = "4243";
    rig.old_oid = "4242";
    rig.fetched_oid = "4242";
    rig.present_name = OLD_NAME;
    rig_begin();
}

Test(poll_rotation, a_table_between_is_handed_on_when_the_old_one_is_finished)
{
    rig.middle_oid = "4250";
    begin_behind();
    RIG_WAIT(rig_delivered() == 3);
    rig_ack_all();
    RIG_WAIT(rig.pipe.lost == 1);
    cr_assert_eq(rig.pipe.error.code, CODE_TABLE_FINISHED);
    cr_assert_eq(rig.rows_deleted, 1);
    cr_assert_eq(rig.rows_handed_on, 1);
}

Test(poll_rotation, what_may_have_been_between_and_has_unpublished_rows_stops_it)
{
    rig.unlinked = true;
    rig.stray_rows = "7";
    begin_behind();
    RIG_WAIT(rig.pipe.lost == 1);
    cr_assert_eq(rig.pipe.error.code, CODE_OLD_TABLE_UNKNOWN);
    cr_assert_not_null(strstr(error_message(&rig.pipe.error), "outbox.event_a (7 rows)"), "%s",
                       error_message(&rig.pipe.error));
    cr_assert_not_null(strstr(error_own_hint(&rig.pipe.error), "INSERT INTO outbox.publisher"));
    cr_assert_eq(rig_delivered(), 0);
}

Test(poll_rotation, what_looks_like_it_and_has_nothing_unpublished_is_left_alone)
{
    rig.unlinked = true;
    rig.stray_rows = "0";
    begin_behind();
    RIG_WAIT(rig_delivered() == 3);
    cr_assert_eq(rig.pipe.lost, 0);
}

Test(poll_rotation, a_chain_that_is_known_asks_nothing_of_others)
{
    rig.stray_rows = "7";
    begin_behind();
    RIG_WAIT(rig_delivered() == 3);
    cr_assert_eq(rig.pipe.lost, 0);
}

Test(poll_rotation, without_rights_on_the_old_table_nothing_is_read)
{
    rig.grants = "GRANT SELECT ON outbox.event_2025 TO outbox_relay;";
    begin_behind();
    RIG_WAIT(rig.pipe.lost == 1);
    cr_assert_eq(rig.pipe.error.code, CODE_OLD_TABLE_DENIED);
    cr_assert_not_null(strstr(error_own_hint(&rig.pipe.error), rig.grants));
    cr_assert_eq(rig.pipe.error.class, ERROR_FATAL, "it has not begun");
    cr_assert_eq(rig_delivered(), 0);
}
