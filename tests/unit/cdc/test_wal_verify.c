/* How far a position may go: up to the last good look; and a publication that is another one. */
#include <inttypes.h>
#include <string.h>

#include "wal_rig.h"

static void begin(void)
{
    rig_prepare();
    rig.unwatched = true;
}

TestSuite(wal_verify, .init = begin, .fini = rig_end);

static void given_position(void)
{
    rig.has_slot = true;
    rig.confirmed = rig.end_lsn;
    rig.position = (RigPosition){.lsn = rig.end_lsn, .end = SLOT_NO_END};
    snprintf(rig.position.publication, sizeof(rig.position.publication), "publication 1");
}

static void begin_streaming(void)
{
    given_position();
    rig_begin();
    RIG_WAIT(rig.walsender != 0 && rig.pipe.active == 1);
}

static void publish(int64_t first, int64_t last)
{
    rig_commit(first, last);
    RIG_WAIT(rig.pipe.batch_count == 1);
    rig_ack_all();
    RIG_WAIT(rig.rows[last].marked);
    rig_turn();
}

static void look(uint64_t wal_end)
{
    rig.pipe.source->ops->verified(rig.pipe.source, wal_end, rig.publication);
}

Test(wal_verify, a_position_stays_at_the_last_good_look)
{
    begin_streaming();
    publish(1, 2);
    cr_assert_eq(rig.position.lsn, 0x10000);
    cr_assert_eq(rig.position.tx_lsn, 0x10007, "everything that commits before 0x10008 is done");
    cr_assert_eq(rig.confirmed, 0x10000);
    look(0x10004); /* in the middle of a transaction */
    RIG_WAIT(rig.confirmed == 0x10004);
    cr_assert_eq(rig.position.tx_lsn, 0x10007);
    look(0x10080);
    RIG_WAIT(rig.confirmed == 0x10008);
    cr_assert_eq(rig.position.tx_lsn, 0, "nothing is beyond the look");
    look(0x10000);
    rig_turn();
    cr_assert_eq(rig.position.lsn, 0x10008, "never backwards");
    rig_assert_published_once(1, 2);
}

Test(wal_verify, a_kill_between_two_looks_makes_nothing_again)
{
    begin_streaming();
    publish(1, 2);
    publish(3, 5);
    cr_assert_eq(rig.position.lsn, 0x10000);
    rig_end(); /* as by a kill: nothing is drained */
    rig.unwatched = true;
    rig_begin();
    RIG_WAIT(rig.walsender != 0);
    cr_assert_eq(rig.started_at, 0x10000);
    publish(6, 6);
    rig_assert_published_once(1, 6);
}

Test(wal_verify, an_idle_log_is_followed_up_to_the_look)
{
    begin_streaming();
    rig.log_end = 0x10000 + 32 * 1024 * 1024;
    rig_keepalive(rig.log_end, false);
    rig_turn();
    cr_assert_eq(rig.confirmed, 0x10000);
    look(0x10000 + 20 * 1024 * 1024);
    rig_turn();
    cr_assert_eq(rig.marks, 0, "it is written once");
    look(rig.log_end);
    RIG_WAIT(rig.confirmed == rig.log_end);
    cr_assert_eq(rig.position.tx_lsn, 0);
    cr_assert_eq(rig.marks, 1);
}

Test(wal_verify, a_clean_stop_looks_once_more)
{
    begin_streaming();
    publish(1, 2);
    cr_assert_eq(rig.confirmed, 0x10000);
    rig.pipe.source->ops->drain(rig.pipe.source);
    RIG_WAIT(rig.pipe.drained == 1);
    cr_assert_eq(rig.position.lsn, 0x10008);
    cr_assert_eq(rig.confirmed, 0x10008);
}

Test(wal_verify, a_clean_stop_does_not_pass_a_look_that_is_not_good)
{
    begin_streaming();
    publish(1, 2);
    rig.broken = true;
    rig.pipe.source->ops->drain(rig.pipe.source);
    RIG_WAIT(rig.pipe.drained == 1);
    cr_assert_eq(rig.confirmed, 0x10000);
}

Test(wal_verify, a_look_with_a_change_under_way_is_no_proof)
{
    rig.pending = true;
    begin_streaming();
    rig_commit(1, 2);
    publish(3, 3);
    cr_assert_eq(rig.position.lsn, 0x10000);
    rig.pipe.source->ops->drain(rig.pipe.source);
    RIG_WAIT(rig.pipe.drained == 1);
    cr_assert_eq(rig.confirmed, 0x10000);
}

Test(wal_verify, another_publication_is_proven_before_anything_is_read)
{
    begin_streaming();
    publish(1, 2);
    rig.publication = "publication 2";
    rig_commit(3, 3);
    RIG_WAIT(rig.pipe.batch_count == 1);
    look(0x10200);
    RIG_WAIT(rig.pipe.lost == 1);
    cr_assert_eq(rig.pipe.error.code, CODE_PUBLICATION_CHANGED);
    cr_assert_eq(rig.pipe.error.class, ERROR_RETRY);
    rig_ack_all(); /* acknowledged, and its mark is still to come */
    text_clear(&rig.trace);
    rig_restart();
    RIG_WAIT(rig.walsender != 0);
    cr_assert_str_eq(text_string(&rig.trace), "snapshot(now) peek copy start");
    RIG_WAIT(rig.pipe.active == 2);
    RIG_PASS(strcmp(rig.position.publication, "publication 2") == 0);
    publish(4, 4);
    look(0x10400);
    RIG_PASS(rig.confirmed == 0x10208);
    rig_assert_published_once(1, 4);
}

Test(wal_verify, a_row_that_was_missed_is_a_gap)
{
    begin_streaming();
    publish(1, 2);
    rig.publication = "publication 2";
    rig.rows[7].visible = true; /* the log does not have it */
    rig_commit(8, 8);
    RIG_WAIT(rig.pipe.batch_count == 1);
    look(0x10200);
    RIG_WAIT(rig.pipe.lost == 1);
    size_t delivered = rig_delivered();
    rig_ack_all();
    rig_restart();
    RIG_WAIT(rig.pipe.lost == 2);
    cr_assert_eq(rig.pipe.error.code, CODE_PUBLICATION_CHANGED);
    cr_assert_eq(rig.pipe.error.exit_code, EXIT_GAP);
    cr_assert_not_null(strstr(error_message(&rig.pipe.error), "number 7"), "%s",
                       error_message(&rig.pipe.error));
    cr_assert_eq(rig_delivered(), delivered, "nothing is published behind it");
    cr_assert_str_eq(rig.position.publication, "publication 1");
}

Test(wal_verify, rows_that_are_kept_cannot_tell)
{
    rig.pipe.pipeline.outbox.on_publish = ON_PUBLISH_KEEP;
    begin_streaming();
    rig.publication = "publication 2";
    look(0x10100);
    RIG_WAIT(rig.pipe.lost == 1);
    rig_restart();
    RIG_WAIT(rig.pipe.lost == 2);
    cr_assert_eq(rig.pipe.error.code, CODE_PUBLICATION_CHANGED);
    cr_assert_eq(rig.pipe.error.exit_code, EXIT_GAP);
}

Test(wal_verify, a_publication_that_was_changed_while_we_were_away_is_proven)
{
    rig.publication = "publication 2";
    rig_commit(1, 2);
    given_position();
    rig.position.lsn = rig.confirmed = 0x10000;
    rig_begin();
    RIG_WAIT(rig.pipe.batch_count == 1);
    rig_ack_all();
    RIG_WAIT(rig.rows[2].marked);
    RIG_PASS(strcmp(rig.position.publication, "publication 2") == 0);
    rig_assert_published_once(1, 2);
}

Test(wal_verify, a_publication_that_was_changed_while_we_were_away_may_be_a_gap)
{
    rig.publication = "publication 2";
    given_position();
    rig.rows[5].visible = true;
    rig_begin();
    RIG_WAIT(rig.pipe.lost == 1);
    cr_assert_eq(rig.pipe.error.code, CODE_PUBLICATION_CHANGED);
    cr_assert_eq(rig.pipe.error.exit_code, EXIT_GAP);
    cr_assert_eq(rig_delivered(), 0);
}

Test(wal_verify, new_slot_mends_a_publication_that_was_changed)
{
    rig.publication = "publication 2";
    rig.pipe.config.new_slot = true;
    given_position();
    rig_commit(1, 2); /* while it was not published */
    rig_begin();
    RIG_WAIT(rig.pipe.batch_count == 1);
    cr_assert_not_null(strstr(text_string(&rig.trace), "drop slot"), "%s", text_string(&rig.trace));
    rig_ack_all();
    RIG_WAIT(rig.rows[2].marked);
    cr_assert_str_eq(rig.position.publication, "publication 2");
    rig_assert_published_once(1, 2);
}

Test(wal_verify, a_publication_that_is_gone_is_a_gap)
{
    rig.has_publication = false;
    given_position();
    rig_begin();
    RIG_WAIT(rig.pipe.lost == 1);
    cr_assert_eq(rig.pipe.error.code, CODE_PUBLICATION_GONE);
    cr_assert_eq(rig.pipe.error.exit_code, EXIT_GAP);
}

Test(wal_verify, decoding_that_fails_for_want_of_the_publication_is_a_gap)
{
    begin_streaming();
    for (size_t turn = 1; turn <= 2; turn++) { /* the first time it may be made again in time */
        stub_stream_end(rig.walsender, "42704", "publication \"outboxd_orders\" does not exist");
        RIG_WAIT(rig.pipe.lost == turn);
        cr_assert_eq(rig.pipe.error.class, turn == 1 ? ERROR_RETRY : ERROR_FATAL);
        if (turn == 1) {
            rig_restart();
            RIG_WAIT(rig.walsender != 0);
        }
    }
    cr_assert_eq(rig.pipe.error.code, CODE_PUBLICATION_GONE, "%s", error_message(&rig.pipe.error));
    cr_assert_eq(rig.pipe.error.exit_code, EXIT_GAP);
}

/* As after the net said that a row is unpublished which nobody brings. */
Test(wal_verify, new_slot_brings_a_row_that_the_log_does_not_have)
{
    rig.pipe.config.new_slot = true;
    given_position();
    rig.rows[5].visible = true;
    rig_commit(6, 6); /* the log has it */
    rig_begin();
    RIG_WAIT(rig.pipe.batch_count == 1);
    cr_assert_str_eq(text_string(&rig.trace),
                     "snapshot(now) peek copy drop slot position(filling) snapshot(slot) copy");
    rig_ack_all();
    RIG_WAIT(rig.rows[5].marked && rig.rows[6].marked);
    RIG_WAIT(rig.walsender != 0);
    rig_assert_published_once(5, 6);
    cr_assert_eq(rig.pipe.lost, 0);
}

Test(wal_verify, new_slot_leaves_a_slot_that_brings_everything)
{
    rig.pipe.config.new_slot = true;
    given_position();
    rig_commit(1, 2);
    rig_begin();
    RIG_WAIT(rig.pipe.batch_count == 1);
    cr_assert_str_eq(text_string(&rig.trace), "snapshot(now) peek copy start");
    rig_ack_all();
    RIG_WAIT(rig.rows[2].marked);
    rig_assert_published_once(1, 2);
}

/* Dropped from the publication and put back between two looks: what was written meanwhile goes
 * before what follows. */
Test(wal_verify, a_relation_that_is_told_again_waits_for_a_look_at_the_publication)
{
    begin_streaming();
    publish(1, 2);
    size_t questions = rig.questions;
    rig.publication = "publication 2";
    rig.told_count = 0;
    rig_commit(3, 3);
    RIG_WAIT(rig.pipe.lost == 1);
    cr_assert_eq(rig.questions, questions + 1);
    cr_assert_eq(rig.pipe.error.code, CODE_PUBLICATION_CHANGED);
    cr_assert_eq(rig.rows[3].delivered, 0, "not before the table was compared with the log");
}

Test(wal_verify, a_relation_that_is_told_again_for_another_reason_goes_on)
{
    begin_streaming();
    publish(1, 2);
    rig.told_count = 0;
    publish(3, 3);
    cr_assert_eq(rig.pipe.lost, 0);
    cr_assert_eq(rig.position.lsn, 0x10108, "the look counts");
    rig_assert_published_once(1, 3);
}

Test(wal_verify, a_relation_that_is_told_again_with_a_change_under_way_proves_nothing)
{
    begin_streaming();
    publish(1, 2);
    uint64_t before = rig.position.lsn;
    rig.told_count = 0;
    rig.pending = true;
    publish(3, 3);
    cr_assert_eq(rig.pipe.lost, 0);
    cr_assert_eq(rig.position.lsn, before, "the look does not count");
}

/* A stream begins before what was done beyond the last look, and leaves that out. In the middle of
 * it nothing is out, and others have written enough for a position to follow. */
Test(wal_verify, reading_over_what_is_done_does_not_forget_that_it_is)
{
    rig.end_lsn = 0xa00000;
    rig_commit(1, 1);
    rig_commit(2, 2);
    size_t sent = rig.log_count;
    rig.log_count = 0; /* it is sent below */
    for (int64_t seq = 1; seq <= 2; seq++) {
        rig.rows[seq] =
            (RigRow){.visible = true, .marked = true, .acknowledged = true, .delivered = 1};
    }
    given_position();
    rig.position.lsn = rig.confirmed = 0x10000;
    rig.position.tx_lsn = 0xa00107; /* before the end of the second one */
    rig.position.tx_ordinal = INT64_MAX;
    rig_begin();
    RIG_WAIT(rig.walsender != 0 && rig.pipe.active == 1);
    cr_assert_eq(rig.started_at, 0x10000);
    look(rig_log_end());
    rig_stream(&rig.log[0]);
    rig_keepalive(0x10000, true); /* it has come as far as that */
    rig_turn();
    cr_assert_eq(rig.position.tx_lsn, 0xa00107, "%" PRIx64 ", %" PRIx64, rig.position.lsn,
                 rig.position.tx_lsn);
    rig_stream(&rig.log[1]);
    rig.log_count = sent;
    rig_commit(3, 3);
    RIG_WAIT(rig.pipe.batch_count == 1);
    rig_ack_all();
    RIG_WAIT(rig.rows[3].marked);
    rig_assert_published_once(1, 3);
}

Test(wal_verify, a_look_that_comes_while_marks_wait_for_their_time_sends_nothing_early)
{
    rig.pipe.pipeline.outbox.mark_interval_ms = 3600000;
    begin_streaming();
    look(0x20000);
    rig_commit(1, 2);
    RIG_WAIT(rig.pipe.batch_count == 1);
    rig_ack_all();
    rig_turn();
    look(0x30000);
    rig_turn();
    cr_assert_eq(rig.position.lsn, 0x10000, "%" PRIx64, rig.position.lsn);
    cr_assert(!rig.rows[1].marked && !rig.rows[2].marked);
    rig.pipe.source->ops->drain(rig.pipe.source);
    RIG_WAIT(rig.pipe.drained == 1);
    cr_assert_eq(rig.position.lsn, 0x10008);
}

/* Nobody looked since the publication was changed: the facts of the start tell first, while the
 * marker is at work. */
Test(wal_verify, new_slot_mends_a_publication_that_was_changed_before_all_is_read_again)
{
    rig.pipe.config.new_slot = true;
    begin_streaming();
    publish(1, 2);
    rig.publication = "publication 2";
    rig.walsender = 0;
    text_clear(&rig.trace);
    rig.pipe.source->ops->reread(rig.pipe.source);
    rig_commit(3, 4);
    RIG_WAIT(rig.rows[4].delivered == 1);
    cr_assert_not_null(strstr(text_string(&rig.trace), "drop slot"), "%s", text_string(&rig.trace));
    rig_ack_all();
    RIG_WAIT(rig.rows[4].marked);
    cr_assert_str_eq(rig.position.publication, "publication 2");
    rig_assert_published_once(1, 4);
}
