#include "unit/rows/marker_rig.h"

TestSuite(mark_refusals, .init = marker_rig_prepare, .fini = marker_rig_end);

static void refuse_two_of_ten(void)
{
    rig.wants_refusals = true;
    rig.server.poison[3] = rig.server.poison[7] = true;
    marker_rig_begin();
    marker_rig_add_now(ROWS_OF(0, 1, 2, 3, 4, 5, 6, 7, 8, 9), 0, 0x100);
    WAIT(rig.refusals > 0);
}

Test(mark_refusals, a_row_that_may_not_be_marked_holds_up_no_other)
{
    refuse_two_of_ten();
    cr_assert_eq(marker_unmarked(rig.marker), 2);
    cr_assert(marker_has(rig.marker, 3, SLICE_NULL) && marker_has(rig.marker, 7, SLICE_NULL));
    cr_assert_str_eq(rig.server.position, "", "nor does the position pass it");
    cr_assert_eq(rig.error.code, CODE_MARK_REJECTED);
    cr_assert_not_null(strstr(error_message(&rig.error), "marking rows of"), "%s",
                       error_message(&rig.error));
    cr_assert_not_null(
        strstr(error_message(&rig.error), "number 3 is refused: no (SQLSTATE P0001)"));
    cr_assert_not(marker_in_order(rig.marker));
    PASS(rig.refusals > 1); /* tried again, in vain */
    cr_assert_eq(rig.healed, 0);
    cr_assert_eq(rig.lost, 0);
    memset(rig.server.poison, 0, sizeof(rig.server.poison));
    PASS(rig.healed == 1);
    cr_assert_eq(marker_unmarked(rig.marker), 0);
    cr_assert(marker_in_order(rig.marker));
    WAIT(!marker_pending(rig.marker));
    cr_assert_str_eq(rig.server.position, "0/100");
    for (int i = 0; i < 10; i++) {
        cr_assert_eq(rig.server.marks_of[i], 1);
    }
}

Test(mark_refusals, a_row_that_may_not_be_marked_ends_a_drain_behind_all_others)
{
    refuse_two_of_ten();
    marker_rig_add(ROWS_OF(10), 0, 0);
    marker_drain(rig.marker);
    PASS(rig.lost == 1);
    cr_assert_eq(marker_unmarked(rig.marker), 2);
    cr_assert_eq(rig.error.code, CODE_MARK_REJECTED);
    cr_assert_eq(rig.error.class, ERROR_FATAL);
}

Test(mark_refusals, so_many_rows_that_may_not_be_marked_are_no_single_ones)
{
    rig.wants_refusals = true;
    rig.pipeline.capture = CAPTURE_POLL;
    memset(rig.server.poison, true, sizeof(rig.server.poison));
    marker_rig_begin();
    int64_t seqs[ROWS + 1];
    for (int i = 0; i < ROWS; i++) {
        seqs[i] = i;
    }
    seqs[ROWS] = -1;
    marker_rig_add(seqs, 0, 0);
    marker_next(rig.marker);
    WAIT(rig.refusals == 1);
    cr_assert_eq(marker_unmarked(rig.marker), ROWS);
    memset(rig.server.poison, 0, sizeof(rig.server.poison));
    PASS(rig.healed == 1);
    cr_assert_eq(marker_unmarked(rig.marker), 0);
}

/* A trigger that returns NULL. */
Test(mark_refusals, rows_that_are_as_they_were_are_kept_and_tried_again)
{
    for (int i = 0; i < 2; i++) {
        rig.pipeline.capture = i == 0 ? CAPTURE_POLL : CAPTURE_WAL;
        rig.wants_refusals = true;
        marker_rig_begin();
        rig.marked = 0;
        rig.server.eats = true;
        rig.server.visible[1] = rig.server.visible[2] = false;
        marker_rig_add_now(ROWS_OF(1, 2), 9, 0x100);
        PASS(rig.refusals == 1);
        cr_assert_eq(rig.error.code, CODE_MARKS_IGNORED);
        cr_assert_eq(rig.error.class, ERROR_RETRY);
        cr_assert_eq(rig.server.marks, 2, "once may be a row that was deleted just then");
        cr_assert_eq(marker_unmarked(rig.marker), 2);
        cr_assert_eq(rig.marked, 0);
        rig.server.eats = false;
        rig.server.visible[1] = rig.server.visible[2] = true;
        PASS(rig.marked == 1);
        cr_assert_eq(rig.healed, 1);
        cr_assert_eq(*rig.stats.rows->marked, 2);
        cr_assert_eq(rig.lost, 0);
        marker_rig_end();
        marker_rig_prepare();
    }
}
