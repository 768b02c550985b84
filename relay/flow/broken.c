#include "flow/broken.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/memory.h"

enum {
    /* Refusals in a row, one a second, that no known precondition explains: a human must act. */
    REFUSALS_MAX = 10,
    REMIND_SECONDS = 60,
};

Broken *broken_new(const char *name)
{
    Broken *broken = x_calloc(1, sizeof(*broken));
    broken->name = name;
    return broken;
}

void broken_free(Broken **broken)
{
    if (*broken != NULL) {
        error_clear(&(*broken)->error);
        free(*broken);
        *broken = NULL;
    }
}

bool broken_note(Broken *broken, const Error *err)
{
    broken->repeated++;
    if (error_same(&broken->error, err)) {
        return false;
    }
    if (!broken_is_on(broken)) {
        broken->since = clock_moment();
    }
    error_copy(&broken->error, err);
    broken->error.class = ERROR_RETRY;
    broken->repeated = 1;
    broken->said_us = clock_monotonic_us();
    log_error(
        LOG_WARN, broken->name, &broken->error,
        "nothing is published until this is fixed; then the pipeline continues automatically");
    return true;
}

bool broken_mend(Broken *broken)
{
    if (!broken_is_on(broken)) {
        return false;
    }
    log_write(LOG_INFO, broken->name, CODE_PRECONDITION_MENDED,
              LOG_FIELDS(log_text("was", error_code_name(broken->error.code)),
                         log_number("after_ms", clock_since_us(&broken->since) / 1000)),
              "fixed: the pipeline continues");
    error_clear(&broken->error);
    broken->refusals = 0;
    return true;
}

void broken_remind(Broken *broken)
{
    int64_t now_us = clock_monotonic_us();
    if (!broken_is_on(broken) || now_us - broken->said_us < REMIND_SECONDS * INT64_C(1000000)) {
        return;
    }
    broken->said_us = now_us;
    log_write(LOG_WARN, broken->name, broken->error.code,
              LOG_FIELDS(log_number("repeated", broken->repeated),
                         log_number("for_s", clock_since_us(&broken->since) / 1000000),
                         log_text("hint", error_own_hint(&broken->error))),
              "still waiting for a fix: %s", error_message(&broken->error));
}

bool broken_refuse(Broken *broken, const Error *err)
{
    broken->refused = true;
    broken->refusals += !broken_is_on(broken) && err->code != CODE_MARK_REJECTED;
    /* One of class RETRY is waited for: ending would publish again what is not marked. */
    return broken->refusals > REFUSALS_MAX && err->class != ERROR_RETRY;
}

bool broken_accept(Broken *broken)
{
    bool refused = broken->refused;
    broken->refused = false;
    broken->refusals = 0;
    return refused;
}
