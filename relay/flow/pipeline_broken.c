/* What an administrator changed under the running pipeline: a precondition that does not hold any
 * more, and statements that the server refuses. Neither ends it: it keeps lock and memory, sends
 * and reads nothing, says so, and goes on by itself once it is mended. */
#include "flow/pipeline_internal.h"

static void pipeline_mend(Pipeline *p)
{
    if (!broken_mend(p->broken)) {
        return;
    }
    machine_brake(p->machine, BRAKE_BROKEN, false);
    p->trouble->attempt = 0;
    p->window->progress_us = clock_monotonic_us(); /* silence counts from here */
    pipeline_changed(p);
    pipeline_wake(p);
    p->parts->source->ops->wake(p->parts->source); /* also when it waits to connect again */
}

void pipeline_set_broken(Pipeline *p, const Error *err)
{
    if (err == NULL) {
        pipeline_mend(p);
        return;
    }
    if (!p->machine->begun || machine_is_over(p->machine)) {
        return; /* the source judges by itself before its first event */
    }
    if (broken_note(p->broken, err)) {
        machine_brake(p->machine, BRAKE_BROKEN, true);
        pipeline_changed(p);
    }
}

void pipeline_set_verified(Pipeline *p, uint64_t wal_end, const char *identity)
{
    Source *source = p->parts->source;
    if (source->ops->verified != NULL && machine_shown(p->machine->state) < PIPELINE_DRAINING) {
        source->ops->verified(source, wal_end, identity);
    }
}

void pipeline_remind_broken(Pipeline *p)
{
    if (machine_shown(p->machine->state) < PIPELINE_DRAINING) {
        broken_remind(p->broken);
    }
}

void pipeline_doubt(void *arg)
{
    Pipeline *p = arg;
    if (p->parts->doubt != NULL) {
        p->parts->doubt(p->parts->arg, p);
    }
}

void pipeline_refused(void *arg, const Error *err)
{
    Pipeline *p = arg;
    if (err == NULL) {
        machine_brake(p->machine, BRAKE_REJECTED, false);
        if (broken_accept(p->broken) && p->trouble->error.class == ERROR_RETRY) {
            pipeline_input(p, INPUT_HEALED);
        }
        pipeline_wake(p);
        p->parts->source->ops->wake(p->parts->source);
        return;
    }
    if (err->code == CODE_MARK_REJECTED) { /* until the source says that all is well again */
        machine_brake(p->machine, BRAKE_REJECTED, true);
    }
    bool over = broken_refuse(p->broken, err);
    AUTO_ERROR said = error_of(err);
    said.class = over ? ERROR_FATAL : ERROR_RETRY;
    if (!broken_is_on(p->broken)) { /* else its reason is known */
        pipeline_complain(p, &said, false);
        pipeline_input(p, over ? INPUT_FATAL : INPUT_TROUBLE);
    }
    pipeline_doubt(p);
}
