/* The end of an old table: it is finished, and its row goes, when the one that comes next has a row
 * of its own; or it is left with rows that wait for their topic, and gone back to once that is
 * there. See poll_rotation.c. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "outbox/poll_pace.h"
#include "outbox/poll_rotation.h"
#include "outbox/poll_session.h"
#include "outbox/poll_sweep.h"
#include "pg/ident.h"
#include "rows/succession.h"

enum { RETRY_MS = 1000 };

static void rotation_say_finished(Poll *poll)
{
    /* Nothing is remembered that could be wrong of another table. */
    poll->history->known = false;
    AUTO_ERROR next = {0};
    error_set(&next, CODE_TABLE_FINISHED,
              "everything in %s is published: continuing with the new table '%s'",
              poll->rotation->name, poll->options.pipeline->outbox.table);
    claim_lose(poll->claim, &next);
}

static void on_end_result(void *arg, const PGresult *result)
{
    Poll *poll = arg;
    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQfnumber(result, "carrier") >= 0) {
        poll->rotation->carrier =
            (uint32_t)strtoul(succession_value(result, 0, "carrier"), NULL, 10);
    }
}

static void on_end_done(void *arg, const Error *err)
{
    Poll *poll = arg;
    Rotation *rotation = poll->rotation;
    if (err != NULL) {
        claim_lose(poll->claim, err);
        return;
    }
    if (rotation->carrier == rotation->next_oid) {
        rotation_say_finished(poll);
        return;
    }
    rotation_notice(poll, NULL); /* renamed again meanwhile */
}

/* In one transaction: who has the name now has a row, and so has what came after this table; its
 * own row goes if all that was concluded from the table that had the name a moment ago. */
static void rotation_note_finished(Poll *poll)
{
    Rotation *rotation = poll->rotation;
    const PipelineConfig *pipeline = poll->options.pipeline;
    AUTO_BUFFER sql = TEXT_EMPTY;
    rotation->carrier = 0;
    uint32_t successor = between_successor(rotation->between);
    if (successor != 0 && successor != rotation->next_oid) {
        AUTO_TEXT name = ident_literal(pipeline->name);
        AUTO_TEXT table = ident_literal(pipeline->outbox.table);
        text_printf(&sql,
                    "INSERT INTO %s (table_id, pipeline, table_name, generation) VALUES (%u, %s,"
                    " %s, '%s') ON CONFLICT DO NOTHING; ",
                    session_publisher_table(poll->session), successor, name, table,
                    poll->history->ours);
    }
    rotation_add_named(poll, &sql);
    text_printf(&sql,
                ", finished AS (DELETE FROM %s AS p USING named WHERE named.id = %u AND p.table_id"
                " = %u AND p.generation = '%s') SELECT named.id AS carrier FROM named",
                session_publisher_table(poll->session), rotation->next_oid,
                claim_table(poll->claim), poll->history->ours);
    claim_ask(poll->claim, &(PgQuery){.step = "end rotation",
                                      .sql = sql.data,
                                      .arg = poll,
                                      .result = on_end_result,
                                      .done = on_end_done});
}

static void rotation_finish(Poll *poll)
{
    if (session_publisher_table(poll->session) == NULL) {
        rotation_say_finished(poll);
        return;
    }
    between_ask(poll, claim_table(poll->claim), poll->rotation->next_oid, false,
                rotation_note_finished);
}

/* What is left waits for its topic: only its own events wait with it. */
static void rotation_leave(Poll *poll)
{
    size_t parked = known_parked(poll->reading->known);
    left_add(&poll->left, claim_table(poll->claim), parked);
    known_unpark(poll->reading->known); /* counted once */
    poll->history->known = false; /* nothing is remembered that could be wrong of another table */
    AUTO_ERROR next = {0};
    error_set(&next, CODE_TABLE_LEFT,
              "%zu events in %s wait for their topic, all others are published: continuing with "
              "the new table '%s', and returning when the topic exists",
              parked, poll->rotation->name, poll->options.pipeline->outbox.table);
    claim_lose(poll->claim, &next);
}

void rotation_return(Poll *poll)
{
    poll->history->known = false;
    AUTO_ERROR back = {0};
    error_set(&back, CODE_TABLE_RETURNED,
              poll->rotation->undone
                  ? "table '%s' has its name again, and another table that had the name in between "
                    "is not finished: reading that one first"
                  : "rows that were left in an old table of '%s' can be published now: reading "
                    "them first",
              poll->options.pipeline->outbox.table);
    claim_lose(poll->claim, &back); /* the start finds it */
}

void rotation_go_back(Poll *poll)
{
    left_go_back(&poll->left);
    poll->reading->rereading = poll->reading->rereading || left_is_wanted(&poll->left);
}

void rotation_check_finished(Poll *poll)
{
    Rotation *rotation = poll->rotation;
    int64_t now_us = clock_monotonic_us();
    if (!rotation->active || poll->state != POLL_ACTIVE ||
        !handed_is_empty(&poll->reading->handed) || marker_pending(poll->marker) ||
        pg_conn_is_busy(claim_conn(poll->claim))) {
        return;
    }
    bool parked = known_parked(poll->reading->known) > 0;
    if (!rotation->whole) {
        if (parked) {
            sweep_insist(poll->reading->sweep); /* without reading again what waits */
        } else {
            poll_reset_reading(poll);
        }
        pace_want(poll->reading->pace);
        rotation->whole = true;
    } else if (rotation->locked && parked && session_publisher_table(poll->session) != NULL) {
        rotation_leave(poll);
    } else if (rotation->locked && !parked) {
        rotation_finish(poll);
    } else if (now_us >= rotation->retry_us) {
        rotation->retry_us = now_us + RETRY_MS * INT64_C(1000);
        rotation_want_look(poll); /* the lock, too, is tried again after it */
    }
}
