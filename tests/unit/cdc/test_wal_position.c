/* Writes to the position row whose answer comes when nobody waits for it any more. */
#include "cdc/wal_parts.h"
#include "wal_rig.h"

TestSuite(wal_position, .init = rig_prepare, .fini = rig_end);

static const WalParts *parts(void)
{
    return ((const WalSource *)rig.pipe.source)->parts;
}

static void on_noted(void *arg, const Error *err)
{
    (void)arg;
    (void)err;
    cr_assert_fail("nobody waits for it any more");
}

/* Somebody else publishes while a write is under way. */
static void stand_by_with_a_write_under_way(bool fails)
{
    rig.has_slot = true;
    rig.confirmed = rig.end_lsn;
    rig.position = (RigPosition){.lsn = rig.end_lsn, .end = SLOT_NO_END};
    rig_begin();
    RIG_WAIT(rig.walsender != 0 && rig.pipe.active == 1);
    rig.hang_notes = true;
    rig.save_fails = fails;
    position_note(parts()->books->row, "waiting", "true", NULL, on_noted);
    rig_turn();
    rig.lock_taken = true;
    wal_stand_by(parts()->context, "other/orders");
    cr_assert_eq(rig.pipe.standby, 1);
}

Test(wal_position, a_write_that_fails_when_we_stand_by_ends_the_claim)
{
    stand_by_with_a_write_under_way(true);
    rig.hang_notes = false;
    stub_continue();
    RIG_WAIT(rig.pipe.lost == 1);
}

Test(wal_position, a_write_that_is_done_when_we_stand_by_is_nobodys)
{
    stand_by_with_a_write_under_way(false);
    rig.hang_notes = false;
    stub_continue();
    RIG_WAIT(rig.pipe.standby >= 2);
    cr_assert_eq(rig.pipe.lost, 0);
}
