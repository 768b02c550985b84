#include "unit/rows/marker_rig.h"

TestSuite(marker_line, .init = marker_rig_prepare, .fini = marker_rig_end);

Test(marker_line, a_statement_that_fails_is_reported_and_changes_nothing)
{
    marker_rig_begin();
    rig.server.error = "53100";
    marker_rig_add_now(ROWS_OF(1), 9, 0x100);
    WAIT(rig.lost == 1);
    cr_assert_not_null(strstr(error_message(&rig.error), "53100"), "%s", error_message(&rig.error));
    cr_assert_eq(marker_position(rig.marker).lsn, 0);
    cr_assert_eq(marker_unmarked(rig.marker), 1);
}

/* Somebody holds a lock on the table. */
Test(marker_line, a_mark_that_waits_for_a_lock_gives_up_and_is_tried_again)
{
    for (int capture = 0; capture < 2; capture++) {
        rig.pipeline.capture = capture == 0 ? CAPTURE_POLL : CAPTURE_WAL;
        rig.pipeline.claim.lease_ms = 30;
        marker_rig_prove();
        marker_rig_begin();
        rig.server.error = "55P03";
        rig.marked = rig.blocked = 0;
        marker_rig_add_now(ROWS_OF(1, 2), 0, 0x100);
        WAIT(rig.server.prepares >= 2);
        cr_assert_eq(rig.server.marks, 0, "it waits to be prepared already");
        rig.server.error = NULL;
        WAIT(rig.marked == 1);
        rig.server.error = "55P03";
        marker_rig_add_now(ROWS_OF(3), 0, 0x200);
        WAIT(rig.server.marks >= 4);
        cr_assert_eq(rig.lost, 0);
        cr_assert_geq(rig.blocked, 4, "the lease is asked about in between");
        cr_assert_eq(rig.server.asks, 2, "the holder is looked for once each time");
        cr_assert_eq(marker_unmarked(rig.marker), 1);
        cr_assert_not(rig.history.writing, "it changed nothing");
        rig.server.error = NULL;
        WAIT(!marker_pending(rig.marker));
        cr_assert_eq(rig.server.marks_of[3], 1);
        cr_assert_eq(*rig.stats.rows->marked, 3);
        marker_rig_end();
        marker_rig_prepare();
    }
}

Test(marker_line, a_lock_that_is_never_freed_does_not_keep_it_from_stopping)
{
    rig.pipeline.claim.lease_ms = 30;
    marker_rig_begin();
    rig.server.error = "55P03";
    marker_rig_add_now(ROWS_OF(1), 9, 0x100);
    WAIT(rig.server.prepares >= 2);
    pg_conn_close(rig.conn);
    marker_stop(rig.marker);
    cr_assert_eq(marker_unmarked(rig.marker), 1);
    rig.server.error = NULL;
    marker_rig_connect(NULL);
    WAIT(!marker_pending(rig.marker));
    cr_assert_eq(rig.server.marks_of[1], 1);
}
