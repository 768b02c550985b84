#include "unit/rows/marker_rig.h"

TestSuite(marker, .init = marker_rig_prepare, .fini = marker_rig_end);

Test(marker, rows_and_position_are_committed_by_one_statement)
{
    marker_rig_begin();
    marker_rig_add(ROWS_OF(3, 1, EVENT_NO_SEQ, 2), 9, 0);
    marker_add_position(
        rig.marker, &(MarkerPosition){.lsn = 0x2000000100, .tx_lsn = 0x2000000200, .tx_ordinal = 4},
        true);
    cr_assert(marker_pending(rig.marker));
    cr_assert_eq(marker_unmarked(rig.marker), 4);
    cr_assert(marker_has(rig.marker, 3, SLICE_NULL));
    marker_next(rig.marker);
    WAIT(rig.marked == 1);
    cr_assert_eq(rig.server.marks, 1);
    cr_assert_eq(rig.server.sent_rows, 3, "a message has no row");
    cr_assert_str_eq(rig.server.position, "20/100");
    cr_assert_str_eq(rig.server.tx_lsn, "20/200");
    cr_assert_str_eq(rig.server.tx_ordinal, "4");
    cr_assert_eq(marker_position(rig.marker).lsn, 0x2000000100);
    cr_assert_eq(marker_position(rig.marker).tx_ordinal, 4);
    cr_assert_eq(*rig.stats.rows->marked, 3);
    cr_assert_not(marker_pending(rig.marker));
    cr_assert_geq(rig.idle, 1);
    marker_rig_add_now(ROWS_OF(4), 9, 0x3000000000);
    WAIT(rig.marked == 2);
    cr_assert_str_eq(rig.server.tx_lsn, "", "NULL: the transaction is complete");
    cr_assert_str_eq(rig.server.tx_ordinal, "");
}

Test(marker, rows_wait_for_the_interval)
{
    marker_rig_begin();
    marker_rig_add(ROWS_OF(1), 9, 0x100);
    marker_next(rig.marker);
    marker_rig_turn();
    cr_assert_eq(rig.server.marks, 0);
    rig.pipeline.outbox.mark_interval_ms = 1;
    marker_next(rig.marker);
    WAIT(rig.marked == 1);
    cr_assert_str_eq(rig.server.position, "0/100");
}

Test(marker, many_rows_do_not_wait)
{
    rig.pipeline.limits.in_flight_events = 12;
    marker_rig_begin();
    marker_rig_add(ROWS_OF(1, 2), 9, 0x100);
    marker_next(rig.marker);
    marker_rig_turn();
    cr_assert_eq(rig.server.marks, 0);
    marker_rig_add(ROWS_OF(3), 9, 0x200);
    marker_next(rig.marker);
    WAIT(rig.marked == 1);
    cr_assert_eq(rig.server.sent_rows, 3);
    cr_assert_str_eq(rig.server.position, "0/200");
}

Test(marker, a_statement_without_a_position_sends_null)
{
    marker_rig_begin();
    marker_rig_add(ROWS_OF(1), 9, 0);
    marker_drain(rig.marker);
    WAIT(rig.marked == 1);
    cr_assert_str_eq(rig.server.sent_position, "NULL");
    cr_assert_str_eq(rig.server.position, "");
    cr_assert_eq(marker_position(rig.marker).lsn, 0);
}

Test(marker, rows_that_cannot_be_seen_yet_are_sent_again)
{
    marker_rig_begin();
    rig.server.visible[2] = false;
    rig.server.snapshot = "9:9:"; /* 9 is running */
    marker_rig_add_now(ROWS_OF(1, 2, 3), 9, 0x100);
    WAIT(rig.server.marks >= 3); /* again and again */
    cr_assert_eq(rig.server.sent_rows, 1);
    cr_assert_str_eq(rig.server.position, "");
    cr_assert_eq(marker_position(rig.marker).lsn, 0);
    cr_assert(marker_has(rig.marker, 2, SLICE_NULL));
    cr_assert_not(marker_has(rig.marker, 1, SLICE_NULL));
    rig.server.visible[2] = true;
    WAIT(!marker_pending(rig.marker));
    cr_assert_str_eq(rig.server.position, "0/100");
    cr_assert_eq(marker_position(rig.marker).lsn, 0x100);
    cr_assert_eq(*rig.stats.rows->marked, 3);
    cr_assert_eq(rig.server.marks_of[1], 1);
    cr_assert_eq(rig.server.marks_of[2], 1);
}

/* Transactions commit in another order than they took their numbers. */
Test(marker, missing_rows_in_any_order_are_kept)
{
    static const int64_t SEQS[] = {50, 7, 90, 3, 60, 1, 8, 70, -1};
    marker_rig_begin();
    for (size_t i = 0; SEQS[i] != -1; i++) {
        rig.server.visible[SEQS[i]] = false;
    }
    rig.server.snapshot = "9:9:";
    rig.server.visible[60] = true;
    marker_rig_add_now(SEQS, 9, 0x100);
    WAIT(rig.marked >= 1);
    for (size_t i = 0; SEQS[i] != -1; i++) {
        cr_assert_eq(marker_has(rig.marker, SEQS[i], SLICE_NULL), SEQS[i] != 60, "%d",
                     (int)SEQS[i]);
    }
    memset(rig.server.visible, true, sizeof(rig.server.visible));
    WAIT(!marker_pending(rig.marker));
    for (size_t i = 0; SEQS[i] != -1; i++) {
        cr_assert_eq(rig.server.marks_of[SEQS[i]], 1, "%d", (int)SEQS[i]);
    }
    cr_assert_str_eq(rig.server.position, "0/100");
}

Test(marker, rows_that_somebody_deleted_do_not_hold_the_position)
{
    marker_rig_begin();
    rig.server.visible[2] = false;
    rig.server.snapshot = "10:10:"; /* 9 is over */
    marker_rig_add_now(ROWS_OF(1, 2), 9, 0x100);
    WAIT(!marker_pending(rig.marker));
    cr_assert_eq(rig.server.marks, 2, "the second has the position alone");
    cr_assert_eq(rig.server.sent_rows, 0);
    cr_assert_str_eq(rig.server.position, "0/100");
    cr_assert_eq(*rig.stats.rows->marked, 1);
}

Test(marker, while_a_statement_runs_the_next_one_grows)
{
    marker_rig_begin();
    rig.server.hang = true;
    marker_rig_add_now(ROWS_OF(1), 9, 0x100);
    marker_rig_turn();
    marker_rig_add_now(ROWS_OF(2), 9, 0x200);
    marker_rig_add_now(ROWS_OF(3, 4), 9, 0x300);
    marker_rig_turn();
    cr_assert_eq(rig.server.marks, 1);
    cr_assert_eq(rig.marked, 0);
    rig.server.hang = false;
    stub_continue();
    WAIT(!marker_pending(rig.marker));
    cr_assert_eq(rig.server.marks, 2);
    cr_assert_eq(rig.server.sent_rows, 3);
    cr_assert_str_eq(rig.server.position, "0/300");
}

Test(marker, keep_commits_positions_alone)
{
    rig.pipeline.outbox.on_publish = ON_PUBLISH_KEEP;
    marker_rig_begin();
    memset(rig.server.visible, false, sizeof(rig.server.visible)); /* nobody looks */
    marker_rig_add_now(ROWS_OF(1, 2), 9, 0x100);
    WAIT(rig.marked == 1);
    cr_assert_eq(rig.server.sent_rows, 0);
    cr_assert_str_eq(rig.server.position, "0/100");
    cr_assert_not(marker_pending(rig.marker));
    cr_assert_eq(*rig.stats.rows->marked, 0);
}

Test(marker, what_a_lost_connection_left_open_is_marked_by_the_next)
{
    marker_rig_begin();
    rig.server.hang = true;
    marker_rig_add_now(ROWS_OF(1, 2), 9, 0x100);
    marker_rig_turn();
    cr_assert_eq(rig.server.marks, 1);
    pg_conn_close(rig.conn);
    marker_stop(rig.marker);
    cr_assert_eq(marker_unmarked(rig.marker), 2);
    cr_assert(marker_recovering(rig.marker));
    marker_rig_add(ROWS_OF(3), 9, 0x200);
    rig.server.hang = false;
    marker_rig_connect(&(MarkerPosition){.lsn = 0x80});
    cr_assert_eq(marker_position(rig.marker).lsn, 0x80);
    WAIT(!marker_pending(rig.marker));
    cr_assert_not(marker_recovering(rig.marker));
    cr_assert_eq(rig.server.marks, 2);
    cr_assert_eq(rig.server.sent_rows, 3);
    cr_assert_str_eq(rig.server.position, "0/200");
}

Test(marker, draining_writes_everything_at_once_and_no_upkeep)
{
    marker_rig_begin();
    marker_caught_up(rig.marker, false); /* it would count */
    marker_rig_add(ROWS_OF(1, 2), 9, 0x100);
    marker_add_position(rig.marker, &(MarkerPosition){.lsn = 0x200}, false);
    marker_drain(rig.marker);
    WAIT(!marker_pending(rig.marker));
    marker_rig_turn();
    cr_assert_str_eq(rig.server.position, "0/200");
    cr_assert_eq(rig.server.counts, 0);
    cr_assert_eq(rig.server.prunes, 0);
    marker_rig_add(ROWS_OF(3), 9, 0x300);
    marker_next(rig.marker);
    WAIT(!marker_pending(rig.marker));
    cr_assert_str_eq(rig.server.position, "0/300");
}

Test(marker, polling_marks_rows_without_a_position)
{
    rig.pipeline.capture = CAPTURE_POLL;
    marker_rig_begin();
    rig.server.visible[2] = false;
    marker_rig_add(ROWS_OF(1, 2, 3), 0, 0);
    marker_next(rig.marker);
    WAIT(rig.marked == 1);
    cr_assert_eq(rig.server.sent_rows, 3);
    cr_assert_eq(*rig.stats.rows->marked, 2);
    cr_assert_not(marker_pending(rig.marker), "a row that is gone is not looked for again");
}

Test(marker, polling_tells_rows_that_are_gone_from_rows_that_another_event_replaced)
{
    rig.pipeline.capture = CAPTURE_POLL;
    rig.server.id_type = "uuid";
    marker_rig_begin();
    rig.server.visible[2] = false;
    rig.server.visible[3] = false;
    rig.server.replaced[3] = true;
    marker_rig_add(ROWS_OF(1, 2, 3), 0, 0);
    marker_next(rig.marker);
    WAIT(rig.marked == 1);
    cr_assert_eq(rig.server.asks, 1);
    cr_assert_eq(*rig.stats.rows->marked, 1);
    cr_assert_not(marker_pending(rig.marker));
}
