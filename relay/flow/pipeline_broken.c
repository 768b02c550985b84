/* What an administrator changed under the running pipeline: a precondition that does not hold any
 * more, and statements that the server refuses. Neither ends it: it keeps lock and memory, sends
 * and reads nothing, says so, and goes on by itself once it is mended. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "flow/pipeline_internal.h"

enum {
    /* Refusals in a row, one a second, that no known precondition explains: a human must act. */
    REFUSALS_MAX = 10,
    REMIND_SECONDS = 60,
};

static void pipeline_mend(Pipeline *p)
{
    if (p->broken.class == ERROR_NONE) {
        return;
    }
    log_write(LOG_INFO, p->parts.config->name, CODE_PRECONDITION_MENDED,
              LOG_FIELDS(log_text("was", error_code_name(p->broken.code)),
                         log_number("after_ms", clock_since_us(&p->broken_since) / 1000)),
              "fixed: the pipeline continues");
    error_clear(&p->broken);
    p->attempt = 0;
    p->refusals = 0;
    p->progress_us = clock_monotonic_us(); /* silence counts from here */
    if (p->parts.changed != NULL) {
        p->parts.changed(p->parts.arg, p);
    }
    pipeline_wake(p);
    p->parts.source->ops->wake(p->parts.source); /* also when it waits to connect again */
}

void pipeline_set_broken(Pipeline *p, const Error *err)
{
    if (err == NULL) {
        pipeline_mend(p);
        return;
    }
    bool over = p->state == PIPELINE_STOPPED || p->state == PIPELINE_FAILED;
    if (!p->begun || over) {
        return; /* the source judges by itself before its first event */
    }
    p->broken_repeated++;
    if (error_same(&p->broken, err)) {
        return;
    }
    if (p->broken.class == ERROR_NONE) {
        p->broken_since = clock_moment();
    }
    error_copy(&p->broken, err);
    p->broken.class = ERROR_RETRY;
    p->broken_repeated = 1;
    p->broken_said_us = clock_monotonic_us();
    log_error(
        LOG_WARN, p->parts.config->name, &p->broken,
        "nothing is published until this is fixed; then the pipeline continues automatically");
    if (p->parts.changed != NULL) {
        p->parts.changed(p->parts.arg, p);
    }
}

void pipeline_set_verified(Pipeline *p, uint64_t wal_end, const char *identity)
{
    Source *source = p->parts.source;
    if (source->ops->verified != NULL && p->state < PIPELINE_DRAINING) {
        source->ops->verified(source, wal_end, identity);
    }
}

void pipeline_remind_broken(Pipeline *p)
{
    int64_t now_us = clock_monotonic_us();
    if (p->broken.class == ERROR_NONE || p->state >= PIPELINE_DRAINING ||
        now_us - p->broken_said_us < REMIND_SECONDS * INT64_C(1000000)) {
        return;
    }
    p->broken_said_us = now_us;
    log_write(LOG_WARN, p->parts.config->name, p->broken.code,
              LOG_FIELDS(log_number("repeated", p->broken_repeated),
                         log_number("for_s", clock_since_us(&p->broken_since) / 1000000),
                         log_text("hint", error_own_hint(&p->broken))),
              "still waiting for a fix: %s", error_message(&p->broken));
}

void pipeline_doubt(void *arg)
{
    Pipeline *p = arg;
    if (p->parts.doubt != NULL) {
        p->parts.doubt(p->parts.arg, p);
    }
}

void pipeline_refused(void *arg, const Error *err)
{
    Pipeline *p = arg;
    if (err == NULL) {
        p->refusals = 0;
        p->rejected = false;
        if (p->error.class == ERROR_RETRY && p->refused) {
            pipeline_input(p, INPUT_HEALED);
        }
        p->refused = false;
        pipeline_wake(p);
        p->parts.source->ops->wake(p->parts.source);
        return;
    }
    p->refused = true;
    bool marks = err->code == CODE_MARK_REJECTED;
    p->rejected = p->rejected || marks; /* until the source says that all is well again */
    p->refusals += p->broken.class == ERROR_NONE && !marks; /* its reason is known */
    AUTO_ERROR said = error_of(err);
    /* One of class RETRY is waited for: ending would publish again what is not marked. */
    bool over = p->refusals > REFUSALS_MAX && err->class != ERROR_RETRY;
    said.class = over ? ERROR_FATAL : ERROR_RETRY;
    if (p->broken.class == ERROR_NONE) { /* else its reason is known */
        pipeline_complain(p, &said, false);
        pipeline_input(p, over ? INPUT_FATAL : INPUT_TROUBLE);
    }
    pipeline_doubt(p);
}
