/* Rows from before the slot: reading the table, and what an interruption leaves. See wal_rig.h. */
#include "wal_rig.h"

Test(wal, a_first_start_makes_publication_then_slot_and_publishes_what_its_snapshot_shows)
{
    rig.has_publication = false;
    rig_commit(1, 3);
    rig_begin();
    RIG_WAIT(rig.pipe.batch_count == 1);
    rig_assert_trace("publication slot position(filling) snapshot(slot) copy");
    cr_assert_eq(rig.pipe.active, 1);
    rig_commit(4, 5); /* behind the slot */
    rig_ack_all();
    RIG_WAIT(rig.pipe.batch_count == 1);
    rig_assert_trace(
        "publication slot position(filling) snapshot(slot) copy position(complete) start");
    rig_ack_all();
    RIG_WAIT(rig.position.lsn == 0x10108 && rig.confirmed == rig.position.lsn);
    rig_assert_published_once(1, 5);
    cr_assert_eq(rig.pipe.active, 1);
}

Test(wal, filling_up_that_was_interrupted_leaves_what_the_log_brings_to_it)
{
    rig_given_position(rig.end_lsn);
    rig.position.backfill = true;
    rig_commit(1, 3); /* in the table, and in the stream */
    rig_begin();
    RIG_WAIT(rig.pipe.batch_count == 1);
    rig_assert_trace("snapshot(now) peek copy position(complete) start");
    rig_commit(4, 4);
    RIG_WAIT(rig_delivered() == 4);
    rig_ack_all();
    RIG_WAIT(rig.confirmed == 0x10108);
    rig_assert_published_once(1, 4);
    cr_assert_not(rig.position.backfill);
}

Test(wal, filling_up_that_was_interrupted_leaves_newer_rows_to_the_stream)
{
    rig_given_position(rig.end_lsn);
    rig.position.backfill = true;
    rig.position.end = 2;
    rig.rows[1].visible = rig.rows[2].visible = true;
    rig_commit(3, 4); /* in the table, and in the stream, perhaps behind messages */
    rig_begin();
    RIG_WAIT(rig.pipe.batch_count == 1);
    cr_assert_eq(rig.pipe.batches[0]->count, 2);
    rig_ack_all();
    RIG_WAIT(rig.pipe.batch_count == 1);
    cr_assert_neq(rig.walsender, 0);
    rig_ack_all();
    rig_assert_published_once(1, 2);
    RIG_WAIT(rig.rows[4].marked);
    rig_assert_published_once(3, 4);
}

Test(wal, rows_that_are_kept_are_not_read_again_after_an_interruption)
{
    rig.pipe.pipeline.outbox.on_publish = ON_PUBLISH_KEEP;
    rig.pipe.pipeline.limits.batch_events = 2;
    for (size_t i = 1; i <= 7; i++) {
        rig.rows[i].visible = true;
    }
    rig_begin();
    RIG_WAIT(rig_delivered() == 7);
    rig_ack(-1);
    rig_ack(-1);
    RIG_WAIT(rig.position.filled == 4);
    cr_assert(rig.position.backfill);
    cr_assert_eq(rig.position.end, 7);
    rig_end();
    rig.rows[8].visible = true;
    rig_begin();
    RIG_WAIT(rig_delivered() == 10);
    for (size_t i = 1; i <= 8; i++) {
        cr_assert_eq(rig.rows[i].delivered, i < 5 ? 1 : i < 8 ? 2 : 0, "row %zu", i);
    }
    rig_ack_all();
    RIG_WAIT(!rig.position.backfill);
    cr_assert_eq(rig.position.filled, 0);
    RIG_WAIT(rig.walsender != 0);
}

Test(wal, new_slot_makes_the_slot_again_and_publishes_what_is_unpublished)
{
    rig_commit(1, 3);
    rig.rows[2] = (RigRow){.visible = true, .marked = true, .acknowledged = true, .delivered = 1};
    rig_given_position(0x10000);
    rig.wal_status = "lost";
    rig.pipe.config.new_slot = true;
    rig_begin();
    RIG_WAIT(rig.pipe.batch_count == 1);
    rig_assert_trace("drop slot position(filling) snapshot(slot) copy");
    rig_ack_all();
    RIG_WAIT(rig.walsender != 0);
    rig_assert_published_once(1, 3);
    cr_assert_eq(rig.pipe.lost, 0);
}

Test(wal, a_stop_after_the_table_is_read_is_not_followed_by_reading_it_again)
{
    rig_commit(1, 3);
    rig_begin();
    RIG_WAIT(rig.pipe.batch_count == 1);
    rig_ack_all();
    rig.pipe.source->ops->drain(rig.pipe.source);
    RIG_WAIT(rig.pipe.drained == 1);
    cr_assert(!rig.position.backfill);
    rig_assert_published_once(1, 3);
    cr_assert_eq(rig.starts, 0, "nothing is read after the stop");
}

/* As at a stop with the broker away, or at on_poison = "stop". */
static void assert_stop_keeps_the_table_unread(int64_t except)
{
    rig_commit(1, 3);
    rig_begin();
    RIG_WAIT(rig.pipe.batch_count == 1);
    rig_ack(except);
    rig.pipe.source->ops->drain(rig.pipe.source);
    RIG_WAIT(rig.pipe.drained == 1);
    cr_assert(rig.position.backfill, "row %d is not published", (int)except);
    for (int64_t seq = 1; seq <= 3; seq++) {
        cr_assert_eq(rig.rows[seq].marked, seq != except, "row %d", (int)seq);
    }
}

Test(wal, a_stop_with_the_first_row_of_the_table_unpublished_reads_it_again)
{
    assert_stop_keeps_the_table_unread(1);
}

Test(wal, a_stop_with_the_last_row_of_the_table_unpublished_reads_it_again)
{
    assert_stop_keeps_the_table_unread(3);
}

Test(wal, a_stop_with_no_row_of_the_table_published_reads_it_again)
{
    rig_commit(1, 1);
    rig_begin();
    RIG_WAIT(rig.pipe.batch_count == 1);
    rig_ack(1);
    rig_turn();
    cr_assert(rig.position.backfill);
    rig.pipe.source->ops->drain(rig.pipe.source);
    RIG_WAIT(rig.pipe.drained == 1);
    cr_assert(rig.position.backfill);
    cr_assert(!rig.rows[1].marked);
}

Test(wal, a_slot_that_is_taken_while_the_table_is_read_makes_us_connect_again)
{
    rig.has_publication = false;
    rig_commit(1, 3);
    rig.slot_busy = "55006";
    rig_begin();
    RIG_WAIT(rig.pipe.active == 1);
    RIG_WAIT(rig_delivered() == 3);
    rig_ack_all();
    RIG_WAIT(rig.pipe.lost == 1);
    cr_assert_eq(rig.pipe.standby, 0, "the pipeline publishes: nobody resumes a standby of it");
}
