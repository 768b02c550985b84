/* Marks that do not take: a trigger or a rule swallows them, or the statement fails for what a row
 * is. */
#include "base/clock.h"
#include "base/log.h"
#include "pg/sqlstate.h"
#include "rows/marker_internal.h"

enum {
    REFUSED_MS = 1000,  /* between two tries of what is swallowed */
    REJECTED_MAX = 100, /* rows: then the others wait, too */
    REJECTED_MS = 1000, /* one of them is tried again then */
};

/* Our statement passed, and rows are as they were: a trigger or a rule swallows it. They are
 * published, so they are kept and tried again, and nothing is said to be over; what was hit beside
 * them is hit once more. Once may be a row that somebody deleted just then. False: not now. */
bool mark_is_ignored(Marker *marker)
{
    const PipelineConfig *pipeline = marker->options.pipeline;
    AUTO_ERROR err = {0};
    error_set(&err, CODE_MARKS_IGNORED,
              "%zu published rows of %s did not change after the relay's %s: a trigger or rule of "
              "the table discards it",
              marker->ignored, marker->sql.table->name,
              pipeline->outbox.on_publish == ON_PUBLISH_DELETE ? "DELETE" : "UPDATE");
    error_hint(&err, "Change or drop the trigger or rule (a trigger that returns NULL discards a "
                     "change). The relay then continues automatically.");
    bool once = marker->ignored_rounds++ == 0;
    if (marker->draining || marker->options.refused == NULL) {
        if (!once) {
            log_error(LOG_ERROR, pipeline->name, &err, "");
        }
        return false;
    }
    mark_forget_running(marker);
    mark_queue_unsend(&marker->queue);
    marker->at_once = true;
    marker->lock.retry_us =
        clock_monotonic_us() + (once ? MARK_UNSEEN_MS : REFUSED_MS) * INT64_C(1000);
    if (!once) {
        marker->refused = true;
        marker->options.refused(marker->options.arg, &err);
    }
    marker_go_on(marker);
    return true;
}

/* The statement failed for what a row is. By halves until the row stands alone; the others are
 * marked without it. */
bool mark_is_rejected(Marker *marker, const Error *err)
{
    MarkQueue *queue = &marker->queue;
    MarkerRejected *rejected = &marker->rejected;
    bool lasts = err->class == ERROR_FATAL || sqlstate_is_of_function(err);
    if (marker->options.refused == NULL || !lasts || marker->rows_sent == 0 ||
        !pg_conn_is_open(marker->options.conn)) {
        return false;
    }
    rejected->probing = false;
    if (marker->rows_sent > 1) {
        rejected->most = marker->rows_sent / 2;
        return true;
    }
    if (rejected->error.class == ERROR_NONE) {
        const PipelineConfig *pipeline = marker->options.pipeline;
        size_t count = 0;
        error_set(&rejected->error, CODE_MARK_REJECTED,
                  "marking rows of %s: the row with number %lld is refused: %s",
                  pipeline->outbox.table, (long long)mark_queue_chosen(queue, &count)[0]->seq,
                  error_message(err));
        error_caused(&rejected->error, err);
        error_hint(&rejected->error,
                   "A trigger or a constraint refuses to let the relay's role %s this row. Fix it, "
                   "or make an exception for the role. %s%sThe relay retries every second and "
                   "continues automatically. Do not restart it before: published rows that are not "
                   "marked would be duplicated.",
                   pipeline->outbox.on_publish == ON_PUBLISH_DELETE ? "delete" : "update",
                   sqlstate_is_of_function(err) ? error_own_hint(err) : "",
                   sqlstate_is_of_function(err) && *error_own_hint(err) != '\0' ? " " : "");
    }
    rejected->most = 1;
    mark_queue_refuse(queue);
    return true;
}

/* What is left is refused: it is said, and after a while one of the rows is tried again. */
bool mark_rests(Marker *marker)
{
    MarkQueue *queue = &marker->queue;
    MarkerRejected *rejected = &marker->rejected;
    bool rest = queue->refused == queue->count || queue->refused >= REJECTED_MAX;
    if (queue->refused == 0 || !rest || rejected->probing) {
        return false;
    }
    if (marker->draining) {
        marker->options.lost(marker->options.arg, &rejected->error);
        return true;
    }
    int64_t now_us = clock_monotonic_us();
    if (!rejected->told) {
        rejected->told = true;
        marker->refused = true;
        marker->lock.retry_us = now_us + REJECTED_MS * INT64_C(1000);
        marker->options.refused(marker->options.arg, &rejected->error);
    }
    if (now_us < marker->lock.retry_us) {
        marker_arm(marker, marker->lock.retry_us - now_us);
        return true;
    }
    rejected->told = false;
    rejected->probing = true;
    rejected->most = 1;
    marker->prepared = false; /* what was refused may be our plan */
    mark_queue_excuse(queue, rejected->turn++);
    marker->at_once = true;
    return false;
}
