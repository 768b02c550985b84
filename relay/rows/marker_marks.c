/* One statement at a time. Before the first of a session its statements are prepared
 * (mark_statements.c); where one wrote nothing, the row that proves the history is looked for
 * (mark_proof.c); what does not take is tried again (mark_refusals.c). */
#include "rows/marker_marks.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/memory.h"
#include "pg/sqlstate.h"
#include "rows/mark_answer.h"
#include "rows/mark_proof.h"
#include "rows/mark_refusals.h"
#include "rows/mark_sql.h"
#include "rows/mark_statements.h"

enum {
    GATHER_MS = 5,     /* without a position: rows wait so long for company */
    UNSEEN_MS = 20,    /* rows that could not be seen yet are tried again then */
    GONE_SECONDS = 60, /* said at most so often */
};

/* Rows that were given up and not said yet. */
typedef struct MarksGone {
    size_t rows;
    int64_t said_us;
} MarksGone;

struct MarkerMarks {
    const MarkerOptions *options; /* of the line */
    MarkerLine *line;
    MarkQueue *queue;
    MarkStatements *statements;
    MarkProof *proof;
    MarkRefusals *refusals;
    MarkAnswer *answer; /* to the running statement, or the last one */
    bool with_position;
    bool recovering;
    bool at_once;
    bool waits_for_name; /* another table has it: marks_renamed() goes on */
    int64_t since_us;    /* when the oldest of what waits came; 0: nothing waits */
    int64_t unseen_until_us;
    MarksGone vanished;
    MarksGone replaced;
};

static void marks_note_wait(MarkerMarks *marks)
{
    if (marks->since_us == 0) {
        marks->since_us = clock_monotonic_us();
    }
}

void marks_add(MarkerMarks *marks, const Batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        const Event *event = batch->events[i];
        if (event_is_over(event)) {
            mark_queue_add(marks->queue, event->seq, event->row[FIELD_EVENT_ID], event->xid);
        }
    }
    marks_note_wait(marks);
}

void marks_add_position(MarkerMarks *marks, const MarkerPosition *position, bool at_once)
{
    marks_note_wait(marks);
    marks->at_once = marks->at_once || at_once;
    mark_queue_add_position(marks->queue, position);
}

bool marks_recover(const MarkerMarks *marks)
{
    return marks->recovering;
}

bool marks_are_in_order(const MarkerMarks *marks)
{
    return refusals_are_none(marks->refusals);
}

bool marks_position_is_beyond(const MarkerMarks *marks)
{
    return marks->answer->beyond;
}

void marks_row_moved(MarkerMarks *marks, const char *ctid)
{
    proof_moved(marks->proof, ctid);
}

void marks_forget_statements(MarkerMarks *marks)
{
    statements_drop(marks->statements);
}

bool marks_wait_for_name(const MarkerMarks *marks)
{
    return marks->waits_for_name;
}

static void marks_forget_answer(MarkerMarks *marks)
{
    answer_forget(marks->answer);
    proof_will_move(marks->proof, NULL);
}

/* What a mark brought. */

static void mark_say(const MarkerMarks *marks, MarksGone *gone, ErrorCode code, const char *text)
{
    int64_t now_us = clock_monotonic_us();
    bool said = gone->said_us != 0 && now_us - gone->said_us < GONE_SECONDS * INT64_C(1000000);
    if (gone->rows == 0 || said) {
        return;
    }
    log_write(LOG_WARN, marks->options->pipeline->name, code,
              LOG_FIELDS(log_number("rows", (long long)gone->rows)), "%s", text);
    gone->rows = 0;
    gone->said_us = now_us;
}

static void mark_say_gone(MarkerMarks *marks)
{
    mark_say(marks, &marks->vanished, CODE_ROWS_VANISHED,
             "published rows could not be marked: somebody else deleted them");
    mark_say(marks, &marks->replaced, CODE_ROWS_REPLACED,
             "published rows could not be marked: the table now holds other events under these "
             "numbers, which are unchanged and will be published");
}

/* The statement is committed, and what it did is known. Of rows left over from a lost connection,
 * or tried again, some may have been deleted by us. */
static void mark_settle(MarkerMarks *marks)
{
    MarkQueue *queue = marks->queue;
    const MarkAnswer *answer = marks->answer;
    MarkGone gone = {0};
    bool missed = answer->missing.count > 0;
    *marks->options->stats->rows->marked += answer->hit;
    size_t unseen = mark_queue_settle(queue, &answer->missing, &gone);
    bool again = marks->recovering || refusals_are_ignored(marks->refusals);
    marks->vanished.rows += again ? 0 : gone.vanished + answer->not_hit;
    refusals_took(marks->refusals);
    marks_forget_answer(marks);
    marks->replaced.rows += gone.replaced;
    mark_say_gone(marks);
    refusals_settled(marks->refusals);
    int64_t now_us = clock_monotonic_us();
    marks->unseen_until_us = unseen > 0 ? now_us + UNSEEN_MS * 1000 : 0;
    marks->at_once = marks->at_once || missed; /* its position was not committed */
    if (mark_queue_count(queue) == 0) {
        marks->recovering = false;
    }
    marks->since_us = mark_queue_is_empty(queue) ? 0 : now_us;
    marks->options->owner->marked(marks->options->arg);
    line_go_on(marks->line);
}

/* Another table has the name: nothing was marked. */
static void mark_lose_table(void *arg)
{
    MarkerMarks *marks = arg;
    mark_queue_unsend(marks->queue);
    marks->at_once = true;
    marks->waits_for_name = true;
    marks->options->owner->replaced(marks->options->arg);
}

/* True: rows are as they were, and tried again. */
static bool mark_is_ignored(MarkerMarks *marks)
{
    if (marks->answer->ignored == 0 || !refusals_ignore(marks->refusals, marks->answer->ignored)) {
        return false;
    }
    marks_forget_answer(marks);
    statements_drop(marks->statements); /* a plan that a rule made nothing of knows no table */
    marks->at_once = true;
    line_go_on(marks->line);
    return true;
}

/* Polling: the rows are given up already; how many of them have another event under their number?
 */

static void replaced_on_result(void *arg, const PGresult *result)
{
    answer_read_replaced(((MarkerMarks *)arg)->answer, result);
}

static void replaced_on_done(void *arg, const Error *err)
{
    MarkerMarks *marks = arg;
    const MarkAnswer *answer = marks->answer;
    if (err != NULL && err->code != CODE_POSTGRES_LOCK_TIMEOUT) {
        line_lose(marks->line, err);
        return;
    }
    if (err == NULL && !answer->same_table && answer->hit == 0) {
        mark_lose_table(marks);
        return;
    }
    if (err == NULL && mark_is_ignored(marks)) {
        return;
    }
    marks->replaced.rows += answer->replaced;
    mark_settle(marks);
}

/* Before the queue is settled, which forgets which rows they were. */
static void mark_ask_replaced(MarkerMarks *marks)
{
    const MarkSql *mark = statements_sql(marks->statements);
    size_t count = 0;
    const MarkRow *const *rows = mark_queue_chosen(marks->queue, &count);
    int lengths[2] = {0};
    AUTO_TEXT seqs = mark_sql_seqs(rows, count, &lengths[0]);
    AUTO_TEXT ids = mark_sql_ids(mark, rows, count, &lengths[1]);
    AUTO_BUFFER sql = TEXT_EMPTY;
    mark_sql_add_replaced_query(mark, &sql);
    line_send(marks->line, &(PgQuery){.step = "replaced table",
                                      .sql = sql.data,
                                      .param_count = 2,
                                      .values = (const char *const[]){seqs, ids},
                                      .lengths = lengths,
                                      .formats = (const int[]){1, 1},
                                      .arg = marks,
                                      .rows_wanted = 1,
                                      .result = replaced_on_result,
                                      .done = replaced_on_done});
}

static void mark_on_result(void *arg, const PGresult *result)
{
    MarkerMarks *marks = arg;
    const MarkSql *mark = statements_sql(marks->statements);
    proof_will_move(marks->proof, answer_read(marks->answer, mark, result));
}

static const char *put_lsn(char *at, size_t size, uint64_t lsn)
{
    snprintf(at, size, "%X/%X", (unsigned)(lsn >> 32), (unsigned)lsn);
    return lsn != 0 ? at : NULL;
}

static void mark_lose_beyond(const MarkerMarks *marks)
{
    AUTO_ERROR refused = {0};
    char lsn[24];
    (void)put_lsn(lsn, sizeof(lsn), mark_queue_position_sent(marks->queue)->lsn);
    error_set(&refused, CODE_PG_PROTOCOL,
              "position %s is beyond the end of the server's WAL: it was not stored", lsn);
    line_lose(marks->line, &refused);
}

/* What somebody's function met (a right, a table that it lacks), or raised, no administrator of
 * ours mends, and it may last: that is a matter of the rows, whatever the SQLSTATE. Only a lock
 * that it waits for is one like any other. */
static bool mark_must_wait(MarkerMarks *marks, const Error *err)
{
    size_t rows = marks->answer->rows;
    bool lock = err->code == CODE_POSTGRES_LOCK_TIMEOUT;
    return (!lock && sqlstate_is_of_function(err) && refusals_reject(marks->refusals, err, rows)) ||
           line_must_wait(marks->line, err) ||
           (!lock && refusals_reject(marks->refusals, err, rows));
}

/* It wrote nothing. */
static void mark_send_again(MarkerMarks *marks, const Error *err)
{
    if (!proof_failed(marks->proof, err)) {
        return;
    }
    marks->at_once = true;
    mark_queue_unsend(marks->queue);
    line_go_on(marks->line);
}

static void mark_on_done(void *arg, const Error *err)
{
    MarkerMarks *marks = arg;
    MarkAnswer *answer = marks->answer;
    if (err != NULL && !mark_must_wait(marks, err)) {
        line_lose(marks->line, err);
        return;
    }
    if (err == NULL && !refusals_are_ignored(marks->refusals)) {
        line_passed(marks->line);
    }
    if (err != NULL || !answer->owned) {
        mark_send_again(marks, err);
        return;
    }
    proof_committed(marks->proof);
    if (answer->beyond) {
        mark_lose_beyond(marks);
        return;
    }
    AUTO_ERROR unknown = {0}; /* whether it was committed */
    if (FAILPOINT_FAILS("marked", &unknown)) {
        line_lose(marks->line, &unknown);
        return;
    }
    if (mark_is_ignored(marks)) {
        return;
    }
    if (!marks->with_position && answer->rows > answer->hit) {
        answer->not_hit = answer->rows - answer->hit;
        answer->replaced = 0;
        mark_ask_replaced(marks);
        return;
    }
    mark_settle(marks);
}

/* Sending. */

static void mark_send(MarkerMarks *marks)
{
    AUTO_ERROR err = {0};
    if (FAILPOINT_FAILS("before_mark", &err)) {
        return;
    }
    MarkQueue *queue = marks->queue;
    const MarkSql *mark = statements_sql(marks->statements);
    const char *ctid = proof_ctid(marks->proof);
    bool touches = line_touches_rows(marks->line);
    mark_queue_choose(queue, touches ? refusals_most(marks->refusals) : SIZE_MAX);
    size_t count = 0;
    const MarkRow *const *rows = mark_queue_chosen(queue, &count);
    count = touches ? count : 0;
    marks->answer->rows = count;
    int lengths[MARK_PARAMS_WAL] = {0};
    AUTO_TEXT seqs = mark_sql_seqs(rows, count, &lengths[MARK_PARAM_SEQS]);
    AUTO_TEXT ids = mark_sql_ids(mark, rows, count, &lengths[MARK_PARAM_IDS]);
    const MarkerPosition *sent = mark_queue_position_sent(queue);
    char lsn[24];
    char tx_lsn[24];
    char ordinal[24];
    char filled[24];
    snprintf(ordinal, sizeof(ordinal), "%llu", (unsigned long long)sent->tx_ordinal);
    snprintf(filled, sizeof(filled), "%lld", (long long)sent->backfill_seq);
    const char *values[MARK_PARAMS_WAL] = {
        [MARK_PARAM_SEQS] = seqs,
        [MARK_PARAM_IDS] = ids,
        [MARK_PARAM_ROW] = ctid,
        [MARK_PARAM_LSN] = put_lsn(lsn, sizeof(lsn), sent->lsn),
        [MARK_PARAM_TX_LSN] = put_lsn(tx_lsn, sizeof(tx_lsn), sent->tx_lsn),
        [MARK_PARAM_TX_ORDINAL] = sent->tx_ordinal != 0 ? ordinal : NULL,
        [MARK_PARAM_BACKFILL_SEQ] = sent->backfill_seq != 0 ? filled : NULL,
    };
    proof_sent(marks->proof);
    line_send(marks->line,
              &(PgQuery){.step = "mark",
                         .statement = mark_sql_statement(rows, count),
                         .param_count = marks->with_position ? MARK_PARAMS_WAL : MARK_PARAMS_POLL,
                         .values = values,
                         .lengths = lengths,
                         .formats = (const int[MARK_PARAMS_WAL]){1, 1},
                         .then = mark_sql_then(mark),
                         .then_count = 1,
                         .then_values = (const char *const[]){ctid},
                         .arg = marks,
                         .result = mark_on_result,
                         .done = mark_on_done});
    marks->at_once = false;
    if (FAILPOINT_FAILS("mark_sent", &err)) {
        line_lose(marks->line, &err);
    }
}

/* Rows wait for company: one statement for many costs the database much less. Not when so many wait
 * that they take the room of new ones. 0: it is time. */
static int64_t mark_due_us(const MarkerMarks *marks)
{
    const PipelineConfig *config = marks->options->pipeline;
    int64_t wait_ms = marks->with_position ? config->outbox.mark_interval_ms : GATHER_MS;
    size_t many = (size_t)config->limits.in_flight_events / 4;
    many = many > MARK_ROWS_MAX ? MARK_ROWS_MAX : many;
    int64_t now_us = clock_monotonic_us();
    int64_t due_us = marks->since_us + wait_ms * 1000;
    int64_t retry_us = line_retry_us(marks->line);
    if (mark_queue_count(marks->queue) >= many || marks->at_once || line_drains(marks->line) ||
        marks->recovering || refusals_are_apart(marks->refusals)) {
        due_us = now_us;
    }
    due_us = due_us > marks->unseen_until_us ? due_us : marks->unseen_until_us;
    due_us = due_us > retry_us ? due_us : retry_us;
    return now_us >= due_us ? 0 : due_us - now_us;
}

int64_t marks_next(MarkerMarks *marks)
{
    int64_t wait_us = 0;
    switch (refusals_next(marks->refusals, &wait_us)) {
    case REFUSALS_REST:
        return wait_us;
    case REFUSALS_PROBE:
        statements_drop(marks->statements); /* what was refused may be our plan */
        marks->at_once = true;
        break;
    case REFUSALS_PASS:
        break;
    }
    wait_us = mark_due_us(marks);
    if (wait_us > 0) {
        return wait_us;
    }
    if (!statements_are_prepared(marks->statements)) {
        statements_prepare(marks->statements);
    } else if (proof_is_lost(marks->proof)) {
        proof_find(marks->proof, statements_sql(marks->statements));
    } else {
        mark_send(marks);
    }
    return 0;
}

/* Life. */

void marks_begin(MarkerMarks *marks, const MarkerSession *session)
{
    if (session->position != NULL) {
        mark_queue_set_position(marks->queue, session->position);
    }
    proof_begin(marks->proof, session);
    statements_begin(marks->statements, session->table_oid, marks->proof);
    refusals_begin(marks->refusals);
    marks->waits_for_name = false;
    marks->recovering = mark_queue_count(marks->queue) > 0;
}

void marks_renamed(MarkerMarks *marks)
{
    statements_renamed(marks->statements);
    proof_renamed(marks->proof);
    marks->waits_for_name = false;
}

void marks_retarget(MarkerMarks *marks, uint32_t table_oid)
{
    assert(mark_queue_is_empty(marks->queue));
    statements_retarget(marks->statements, table_oid);
    proof_renamed(marks->proof);
}

void marks_stop(MarkerMarks *marks)
{
    mark_queue_unsend(marks->queue);
    marks_forget_answer(marks);
    refusals_stop(marks->refusals);
    marks->recovering = mark_queue_count(marks->queue) > 0;
}

void marks_forget(MarkerMarks *marks)
{
    mark_queue_forget(marks->queue);
    refusals_forget(marks->refusals);
    marks->recovering = false;
    marks->since_us = 0;
}

MarkerMarks *marks_new(MarkerLine *line, MarkQueue *queue)
{
    MarkerMarks *marks = x_calloc(1, sizeof(*marks));
    marks->options = line_options(line);
    marks->line = line;
    marks->queue = queue;
    marks->statements = statements_new(line);
    marks->proof = proof_new(line, marks, mark_lose_table);
    marks->refusals = refusals_new(line, queue);
    marks->answer = x_calloc(1, sizeof(*marks->answer));
    marks->with_position = pipeline_reads_log(marks->options->pipeline);
    return marks;
}

void marks_free(MarkerMarks **marks)
{
    answer_forget((*marks)->answer);
    free((*marks)->answer);
    refusals_free(&(*marks)->refusals);
    proof_free(&(*marks)->proof);
    statements_free(&(*marks)->statements);
    free(*marks);
    *marks = NULL;
}
