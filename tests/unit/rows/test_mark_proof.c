#include "unit/rows/marker_rig.h"

TestSuite(mark_proof, .init = marker_rig_prepare, .fini = marker_rig_end);

Test(mark_proof, a_mark_raises_the_count_and_follows_the_row)
{
    for (int capture = 0; capture < 2; capture++) {
        rig.pipeline.capture = capture == 0 ? CAPTURE_POLL : CAPTURE_WAL;
        marker_rig_prove();
        marker_rig_begin();
        rig.marked = 0;
        for (int64_t seq = 1; seq <= 3; seq++) {
            marker_rig_add_now(ROWS_OF(seq), 0, 0x100);
            WAIT(!marker_pending(rig.marker));
        }
        cr_assert_eq(rig.lost, 0);
        cr_assert_eq(rig.history.last.writes, rig.server.writes);
        cr_assert_not(rig.history.writing);
        cr_assert_eq(rig.server.asks, 0);
        marker_rig_end();
        marker_rig_prepare();
    }
}

Test(mark_proof, a_row_that_was_moved_is_found_again)
{
    rig.pipeline.capture = CAPTURE_POLL;
    marker_rig_prove();
    marker_rig_begin();
    snprintf(rig.server.ctid, sizeof(rig.server.ctid), "(7,1)"); /* VACUUM FULL */
    marker_rig_add(ROWS_OF(1), 0, 0);
    marker_next(rig.marker);
    WAIT(rig.marked == 1);
    cr_assert_eq(rig.lost, 0);
    cr_assert_eq(rig.server.asks, 1);
    cr_assert_eq(rig.server.marks_of[1], 1);
}

Test(mark_proof, nothing_is_marked_once_another_relay_owns_the_table)
{
    for (int capture = 0; capture < 2; capture++) {
        rig.pipeline.capture = capture == 0 ? CAPTURE_POLL : CAPTURE_WAL;
        marker_rig_prove();
        marker_rig_begin();
        rig.lost = 0;
        snprintf(rig.server.owner, sizeof(rig.server.owner), "somebody else");
        marker_rig_add_now(ROWS_OF(1), 0, 0x100);
        WAIT(rig.lost == 1);
        cr_assert_eq(rig.error.code, CODE_OWNER_REPLACED);
        cr_assert_eq(rig.error.class, ERROR_RETRY);
        cr_assert_eq(rig.server.marks_of[1], 0);
        cr_assert_eq(marker_unmarked(rig.marker), 1);
        marker_stop(rig.marker);
        marker_forget(rig.marker);
        cr_assert_eq(marker_unmarked(rig.marker), 0);
        marker_rig_end();
        marker_rig_prepare();
    }
}

Test(mark_proof, a_count_that_somebody_else_raised_is_another_owner)
{
    marker_rig_prove();
    marker_rig_begin();
    marker_rig_write();
    marker_rig_add_now(ROWS_OF(1), 0, 0x100);
    WAIT(rig.lost == 1);
    cr_assert_eq(rig.error.code, CODE_OWNER_REPLACED);
}

Test(mark_proof, a_write_without_an_answer_is_remembered)
{
    marker_rig_prove();
    marker_rig_begin();
    rig.server.hang = true;
    marker_rig_add_now(ROWS_OF(1), 0, 0x100);
    WAIT(rig.server.marks == 1);
    pg_conn_close(rig.conn);
    marker_stop(rig.marker);
    cr_assert(rig.history.writing);
    cr_assert_eq(rig.history.last.writes + 1, rig.server.writes);
    rig.server.hang = false;
}

/* RENAME and CREATE between two marks. */
Test(mark_proof, nothing_is_marked_while_another_table_has_the_name)
{
    for (int i = 0; i < 3; i++) {
        rig.pipeline.capture = i < 2 ? CAPTURE_POLL : CAPTURE_WAL;
        if (i != 1) {
            marker_rig_prove(); /* else an adopted table, without a row of ours */
        }
        marker_rig_begin();
        rig.marked = rig.replaced = 0;
        rig.server.renamed = true;
        marker_rig_add_now(ROWS_OF(1, 2), 0, 0x100);
        WAIT(rig.replaced == 1);
        marker_next(rig.marker);
        marker_rig_turn();
        cr_assert_eq(rig.server.marks, 1, "it waits");
        cr_assert_eq(marker_unmarked(rig.marker), 2);
        cr_assert_eq(rig.lost, 0);
        table_rename(rig.table, "outbox.event_2025");
        rig.server.renamed = false;
        marker_renamed(rig.marker);
        WAIT(rig.marked == 1);
        cr_assert_eq(rig.server.prepares, 2);
        cr_assert_eq(rig.server.marks_of[1] + rig.server.marks_of[2], 2);
        marker_rig_end();
        marker_rig_prepare();
    }
}

/* While the statements are prepared: the answer is about a name that the table has no more. */
Test(mark_proof, a_rename_while_it_prepares_prepares_again)
{
    for (int i = 0; i < 2; i++) {
        marker_rig_prove();
        marker_rig_begin();
        rig.marked = 0;
        marker_rig_add_now(ROWS_OF(1, 2), 0, 0x100);
        cr_assert(pg_conn_is_busy(rig.conn), "on the wire");
        if (i == 0) {
            table_rename(rig.table, "outbox.event_2025");
            marker_renamed(rig.marker);
        }
        WAIT(rig.marked == 1);
        cr_assert_eq(rig.server.prepares, i == 0 ? 2 : 1);
        cr_assert_eq(rig.server.marks, 1);
        marker_rig_end();
        marker_rig_prepare();
    }
}

Test(mark_proof, marks_that_write_nothing_for_no_reason_end_the_session)
{
    marker_rig_prove();
    marker_rig_begin();
    rig.server.deaf = true;
    marker_rig_add_now(ROWS_OF(1, 2), 0, 0x100);
    WAIT(rig.lost == 1);
    cr_assert_eq(rig.error.code, CODE_MARKS_WITHOUT_EFFECT);
    cr_assert_eq(rig.error.class, ERROR_RETRY);
    cr_assert_eq(marker_unmarked(rig.marker), 2, "nothing is given up");
    cr_assert_leq(rig.server.marks, 5);
}
