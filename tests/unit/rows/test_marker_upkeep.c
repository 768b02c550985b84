#include "unit/rows/marker_rig.h"

TestSuite(marker_upkeep, .init = marker_rig_prepare, .fini = marker_rig_end);

Test(marker_upkeep, without_anything_better_to_do_it_counts_and_prunes)
{
    rig.pipeline.outbox.retain_ms = 1000;
    marker_rig_begin();
    bool capped = true;
    cr_assert_eq(marker_backlog(rig.marker, &capped), -1);
    marker_caught_up(rig.marker, false);
    marker_next(rig.marker);
    WAIT(rig.server.prunes == 1);
    WAIT(rig.server.counts == 1);
    WAIT(rig.idle >= 1);
    cr_assert_eq(*rig.stats.rows->pruned, 3);
    cr_assert_eq(marker_backlog(rig.marker, &capped), 12);
    cr_assert_not(capped);
    marker_stop(rig.marker);
    cr_assert_eq(marker_backlog(rig.marker, &capped), 12, "the last that anybody knows");
}

Test(marker_upkeep, it_counts_also_while_there_is_much_to_prune)
{
    static const char *const FINDS[][4] = {
        {"16", "16", "0", "1"}, {"64", "64", "0", "1"}, {"0", "0", "0", "1"}};
    rig.pipeline.outbox.retain_ms = 1000;
    rig.server.prune_finds = FINDS;
    marker_rig_begin();
    marker_caught_up(rig.marker, false);
    marker_next(rig.marker);
    WAIT(rig.server.prunes == 3);
    WAIT(rig.server.counts == 1);
    cr_assert_lt(rig.server.prunes_before_count, 3);
}

Test(marker_upkeep, what_was_counted_before_all_was_read_is_not_told_again)
{
    marker_rig_begin();
    bool capped = true;
    marker_caught_up(rig.marker, false);
    marker_next(rig.marker);
    WAIT(rig.server.counts == 1);
    WAIT(rig.idle >= 1);
    marker_caught_up(rig.marker, true);
    marker_stop(rig.marker);
    cr_assert_eq(marker_backlog(rig.marker, &capped), -1);
}

Test(marker_upkeep, old_rows_that_may_not_be_deleted_stop_nothing)
{
    rig.pipeline.outbox.retain_ms = 1000;
    rig.server.prune_error = "23503";
    marker_rig_begin();
    marker_caught_up(rig.marker, true);
    marker_next(rig.marker);
    WAIT(rig.server.prunes == 11); /* some, and ten times a single one */
    marker_rig_add_now(ROWS_OF(1), 9, 0x100);
    WAIT(marker_unmarked(rig.marker) == 0);
    cr_assert_eq(rig.lost, 0);
    cr_assert_eq(rig.refusals, 0);
    cr_assert_eq(rig.server.prunes, 11, "not again at once");
}

static void prepare_case(size_t i)
{
    if (i > 0) {
        marker_rig_end();
        marker_rig_prepare();
    }
    rig.pipeline.outbox.retain_ms = 1000;
}

/* So many statements of pruning, and a mark behind them. */
static void prune_and_mark(uint64_t prunes)
{
    marker_rig_begin();
    marker_caught_up(rig.marker, true);
    marker_next(rig.marker);
    WAIT(rig.server.prunes == prunes);
    marker_rig_add_now(ROWS_OF(1), 9, 0x100);
    WAIT(marker_unmarked(rig.marker) == 0);
}

Test(marker_upkeep, old_rows_that_others_lock_or_that_take_too_long_hold_up_no_mark)
{
    static const struct {
        const char *error;
        uint64_t prunes; /* until it rests */
    } CASES[] = {
        {"55P03", 2}, /* then without those that are locked; the second lock is of another table */
        {"40P01", 2}, /* likewise */
        {"57014", 2}, /* then a single one */
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        prepare_case(i);
        rig.server.prune_error = CASES[i].error;
        prune_and_mark(CASES[i].prunes);
        cr_assert_eq(rig.lost, 0);
        cr_assert_eq(rig.blocked, 0);
        cr_assert_eq(rig.server.prunes, CASES[i].prunes, "not again at once");
    }
}

Test(marker_upkeep, a_row_that_was_published_late_holds_up_none_behind_it)
{
    static const struct {
        const char *const finds[5][4];
        uint64_t prunes;
    } CASES[] = {
        {{{"15", "16", "1", "1"}, {"64", "64", "0", "1"}, {"0", "256", "256", "1"}}, 3},
        {{{"16", "16", "0", "9999999"}, /* so that single rows are looked at */
          {"0", "1", "1", "1"},
          {"1", "1", "0", "50"},
          {"0", "0", "0", "1"}},
         4},
        {{{"0", "16", "16", "1"}}, 1}, /* all are young */
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        prepare_case(i);
        rig.server.prune_finds = CASES[i].finds;
        prune_and_mark(CASES[i].prunes);
        cr_assert_eq(rig.server.prunes, CASES[i].prunes, "case %zu: not again at once", i);
    }
}

Test(marker_upkeep, rows_are_looked_at_and_those_that_are_gone_are_told)
{
    marker_rig_begin();
    EventRow seven = {.seq = 7, .id = event_id_hash(SLICE_LITERAL("seven"))};
    EventRow another = {.seq = 7, .id = event_id_hash(SLICE_LITERAL("another"))};
    cr_assert(marker_look_at(rig.marker, (const EventRow[]){seven, {.seq = 8, .id = seven.id}}, 2));
    WAIT(rig.looks == 2);
    cr_assert_eq(rig.looked_seq, 8);
    cr_assert_eq(rig.looked, SOURCE_ROW_GONE);
    marker_look_at(rig.marker, &another, 1);
    WAIT(rig.looks == 3);
    cr_assert_eq(rig.looked, SOURCE_ROW_GONE, "its number was given out again");
    rig.looks = 2;
    marker_look_at(rig.marker, &seven, 1);
    WAIT(rig.looks == 3);
    uint64_t before = rig.looked;
    cr_assert_neq(before, SOURCE_ROW_GONE);
    marker_look_at(rig.marker, &seven, 1);
    WAIT(rig.looks == 4);
    cr_assert_eq(rig.looked, before);
    rig.server.row_ctid = "(0,9)";
    marker_look_at(rig.marker, &seven, 1);
    WAIT(rig.looks == 5);
    cr_assert_neq(rig.looked, before, "an UPDATE moved it");
}

Test(marker_upkeep, rows_that_may_not_be_looked_at_do_no_harm)
{
    marker_rig_begin();
    rig.server.error = "42501";
    EventRow row = {.seq = 7};
    cr_assert(marker_look_at(rig.marker, &row, 1));
    WAIT(rig.server.row_looks == 1);
    marker_rig_turn();
    cr_assert_not(marker_look_at(rig.marker, &row, 1));
    marker_rig_turn();
    cr_assert_eq(rig.server.row_looks, 1, "not again in this session");
    cr_assert_eq(rig.looks, 0);
    cr_assert_eq(rig.lost, 0);
    cr_assert_eq(rig.refusals, 0);
}
