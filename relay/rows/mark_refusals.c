#include "rows/mark_refusals.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "pg/sqlstate.h"

enum {
    UNSEEN_MS = 20,     /* once may be a row that somebody deleted just then: again after that */
    REFUSED_MS = 1000,  /* between two tries of what is swallowed */
    REJECTED_MAX = 100, /* rows: then the others wait, too */
    REJECTED_MS = 1000, /* one of them is tried again then */
};

struct MarkRefusals {
    MarkerLine *line;
    MarkQueue *queue;
    Error error;             /* of the first row; stays until nothing is left to be marked */
    size_t most;             /* rows in a statement; 0: as many as ever */
    size_t turn;             /* which one is tried next */
    bool told;               /* ... after this was told to the owner */
    bool probing;            /* it is tried */
    unsigned ignored_rounds; /* in a row */
};

void refusals_begin(MarkRefusals *refusals)
{
    refusals->ignored_rounds = 0;
}

void refusals_stop(MarkRefusals *refusals)
{
    refusals->told = refusals->probing = false;
}

static void refusals_clear_error(MarkRefusals *refusals)
{
    error_clear(&refusals->error);
    line_keep_refusal(refusals->line, false);
}

void refusals_forget(MarkRefusals *refusals)
{
    refusals_clear_error(refusals);
    refusals->most = refusals->turn = 0;
    refusals->told = refusals->probing = false;
}

bool refusals_are_none(const MarkRefusals *refusals)
{
    return refusals->error.class == ERROR_NONE;
}

size_t refusals_most(const MarkRefusals *refusals)
{
    return refusals->most > 0 ? refusals->most : MARK_ROWS_MAX;
}

bool refusals_are_apart(const MarkRefusals *refusals)
{
    return refusals->most > 0;
}

RefusalsTurn refusals_next(MarkRefusals *refusals, int64_t *ret_wait_us)
{
    MarkQueue *queue = refusals->queue;
    MarkerLine *line = refusals->line;
    size_t refused = mark_queue_refused(queue);
    bool rest = refused == mark_queue_count(queue) || refused >= REJECTED_MAX;
    *ret_wait_us = 0;
    if (refused == 0 || !rest || refusals->probing) {
        return REFUSALS_PASS;
    }
    if (line_drains(line)) {
        line_lose(line, &refusals->error);
        return REFUSALS_REST;
    }
    int64_t now_us = clock_monotonic_us();
    if (!refusals->told) {
        refusals->told = true;
        line_rest(line, now_us + REJECTED_MS * INT64_C(1000));
        line_refuse(line, &refusals->error);
    }
    if (now_us < line_retry_us(line)) {
        *ret_wait_us = line_retry_us(line) - now_us;
        return REFUSALS_REST;
    }
    refusals->told = false;
    refusals->probing = true;
    refusals->most = 1;
    mark_queue_excuse(queue, refusals->turn++);
    return REFUSALS_PROBE;
}

static void refusals_note(MarkRefusals *refusals, const Error *err)
{
    const PipelineConfig *pipeline = line_options(refusals->line)->pipeline;
    bool function = sqlstate_is_of_function(err);
    size_t count = 0;
    error_set(&refusals->error, CODE_MARK_REJECTED,
              "marking rows of %s: the row with number %lld is refused: %s", pipeline->outbox.table,
              (long long)mark_queue_chosen(refusals->queue, &count)[0]->seq, error_message(err));
    error_caused(&refusals->error, err);
    error_hint(&refusals->error,
               "A trigger or a constraint refuses to let the relay's role %s this row. Fix it, "
               "or make an exception for the role. %s%sThe relay retries every second and "
               "continues automatically. Do not restart it before: published rows that are not "
               "marked would be duplicated.",
               pipeline->outbox.on_publish == ON_PUBLISH_DELETE ? "delete" : "update",
               function ? error_own_hint(err) : "",
               function && *error_own_hint(err) != '\0' ? " " : "");
    line_keep_refusal(refusals->line, true);
}

bool refusals_reject(MarkRefusals *refusals, const Error *err, size_t rows)
{
    bool lasts = err->class == ERROR_FATAL || sqlstate_is_of_function(err);
    if (!line_takes_refusals(refusals->line) || !lasts || rows == 0 ||
        !line_is_open(refusals->line)) {
        return false;
    }
    refusals->probing = false;
    if (rows > 1) {
        refusals->most = rows / 2;
        return true;
    }
    if (refusals_are_none(refusals)) {
        refusals_note(refusals, err);
    }
    refusals->most = 1;
    mark_queue_refuse(refusals->queue);
    return true;
}

bool refusals_ignore(MarkRefusals *refusals, size_t rows)
{
    MarkerLine *line = refusals->line;
    const PipelineConfig *pipeline = line_options(line)->pipeline;
    AUTO_ERROR err = {0};
    error_set(&err, CODE_MARKS_IGNORED,
              "%zu published rows of %s did not change after the relay's %s: a trigger or rule of "
              "the table discards it",
              rows, line_options(line)->table->name,
              pipeline->outbox.on_publish == ON_PUBLISH_DELETE ? "DELETE" : "UPDATE");
    error_hint(&err, "Change or drop the trigger or rule (a trigger that returns NULL discards a "
                     "change). The relay then continues automatically.");
    bool once = refusals->ignored_rounds++ == 0;
    if (line_drains(line) || !line_takes_refusals(line)) {
        if (!once) {
            log_error(LOG_ERROR, pipeline->name, &err, "");
        }
        return false;
    }
    mark_queue_unsend(refusals->queue);
    line_rest(line, clock_monotonic_us() + (once ? UNSEEN_MS : REFUSED_MS) * INT64_C(1000));
    if (!once) {
        line_refuse(line, &err);
    }
    return true;
}

bool refusals_are_ignored(const MarkRefusals *refusals)
{
    return refusals->ignored_rounds > 0;
}

void refusals_took(MarkRefusals *refusals)
{
    if (refusals->ignored_rounds > 0) {
        refusals->ignored_rounds = 0;
        line_passed(refusals->line);
    }
}

/* After the rows: more at once again, little by little. */
void refusals_settled(MarkRefusals *refusals)
{
    refusals->most = refusals->most < MARK_ROWS_MAX / 2 ? refusals->most * 2 : 0;
    if (refusals->probing) { /* whatever it was may be mended for all of them */
        refusals->probing = false;
        mark_queue_forgive(refusals->queue);
    }
    if (!refusals_are_none(refusals) && mark_queue_count(refusals->queue) == 0) {
        refusals_clear_error(refusals);
        line_passed(refusals->line);
    }
}

MarkRefusals *refusals_new(MarkerLine *line, MarkQueue *queue)
{
    MarkRefusals *refusals = x_calloc(1, sizeof(*refusals));
    refusals->line = line;
    refusals->queue = queue;
    return refusals;
}

void refusals_free(MarkRefusals **refusals)
{
    error_clear(&(*refusals)->error);
    free(*refusals);
    *refusals = NULL;
}
