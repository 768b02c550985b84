#include "flow/trouble.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/log_limit.h"
#include "base/memory.h"

enum {
    SAID_MAX = 8,            /* facts that were logged lately: two that alternate are said once */
    SAID_AGAIN_SECONDS = 60, /* the same fact of one trouble is not logged more often */
    REMIND_SECONDS = 60,     /* "still waiting" */
};

typedef struct Said {
    uint64_t fact; /* hash of class, code and message; 0: free */
    int64_t at_us; /* monotonic */
} Said;

struct TroubleLog {
    Said said[SAID_MAX];
    LogLimit lines; /* of troubles that come and go */
};

Trouble *trouble_new(const char *name)
{
    Trouble *t = x_calloc(1, sizeof(*t));
    t->name = name;
    t->log = x_calloc(1, sizeof(*t->log));
    return t;
}

void trouble_free(Trouble **trouble)
{
    if (*trouble != NULL) {
        error_clear(&(*trouble)->error);
        free((*trouble)->log);
        free(*trouble);
        *trouble = NULL;
    }
}

/* Whether this fact was logged within SAID_AGAIN_SECONDS; if not, notes that it is now. */
static bool trouble_said(Trouble *t, const Error *err)
{
    uint64_t fact = error_hash(err);
    int64_t now_us = clock_monotonic_us();
    Said *oldest = &t->log->said[0];
    for (Said *said = t->log->said; said < t->log->said + SAID_MAX; said++) {
        if (said->fact == fact && now_us - said->at_us < SAID_AGAIN_SECONDS * INT64_C(1000000)) {
            return true;
        }
        if (said->fact == fact || said->at_us < oldest->at_us) {
            oldest = said;
        }
    }
    *oldest = (Said){.fact = fact, .at_us = now_us};
    return false;
}

/* What a server that is away says in turns: one restart is a farewell, a refusal and a plea to
 * wait.
 */
static bool error_is_away(const Error *err)
{
    static const ErrorCode CODES[] = {
        CODE_POSTGRES_UNREACHABLE, CODE_POSTGRES_CONNECTION_LOST, CODE_POSTGRES_CONNECTION,
        CODE_POSTGRES_SILENT,      CODE_POSTGRES_NOT_SENT,        CODE_POSTGRES_SHUTDOWN,
        CODE_POSTGRES_CRASH,       CODE_POSTGRES_STARTING,        CODE_SERVER_STOPPING,
    };
    for (size_t i = 0; i < sizeof(CODES) / sizeof(CODES[0]); i++) {
        if (err->code == CODES[i]) {
            return true;
        }
    }
    return false;
}

void trouble_note(Trouble *t, const Error *err, bool from_sink, bool explained)
{
    bool same = t->error.class == err->class && error_same(&t->error, err);
    t->repeated++;
    if (same) {
        return;
    }
    if (t->error.class == ERROR_FATAL) { /* what stops the pipeline stays its reason */
        if (!trouble_said(t, err)) {
            log_error(LOG_WARN, t->name, err, NULL);
        }
        return;
    }
    if (t->error.class == ERROR_NONE) {
        t->since = clock_moment();
        t->said = false;
    }
    bool same_outage = t->said && error_is_away(&t->error) && error_is_away(err);
    error_copy(&t->error, err);
    t->from_sink = from_sink;
    t->repeated = 1;
    bool fatal = err->class == ERROR_FATAL;
    if (!fatal && (explained || same_outage || trouble_said(t, err))) {
        return;
    }
    t->logged_us = clock_monotonic_us();
    if (!fatal && !log_limit_take(&t->log->lines, t->logged_us)) {
        return;
    }
    t->said = true;
    log_error(fatal ? LOG_ERROR : LOG_WARN, t->name, err,
              fatal ? "this pipeline stops" : "waiting, retrying automatically");
}

void trouble_over(Trouble *t)
{
    if (t->error.class == ERROR_NONE) {
        return;
    }
    int64_t after_ms = clock_since_us(&t->since) / 1000;
    if (t->said) { /* else nobody read what this would be the end of */
        log_write(LOG_INFO, t->name, CODE_PIPELINE_RECOVERED,
                  LOG_FIELDS(log_text("was", error_code_name(t->error.code)),
                             log_number("after_ms", after_ms)),
                  "publishing again");
    }
    t->last = t->error.code;
    error_clear(&t->error);
    t->attempt = 0;
    memset(t->log->said, 0, sizeof(t->log->said));
}

void trouble_remind(Trouble *t)
{
    int64_t now_us = clock_monotonic_us();
    if (t->error.class != ERROR_RETRY ||
        now_us - t->logged_us <= REMIND_SECONDS * INT64_C(1000000)) {
        return;
    }
    t->logged_us = now_us;
    t->said = true;
    log_write(LOG_WARN, t->name, t->error.code,
              LOG_FIELDS(log_number("repeated", t->repeated),
                         log_number("for_s", clock_since_us(&t->since) / 1000000)),
              "still waiting: %s", error_message(&t->error));
}

void trouble_sum_up(Trouble *t, int64_t now_us, bool at_once)
{
    int64_t troubles = log_limit_due(&t->log->lines, now_us, at_once);
    if (troubles > 0) {
        bool now = t->error.class != ERROR_NONE;
        log_write(LOG_WARN, t->name, CODE_PIPELINE_UNSTEADY,
                  LOG_FIELDS(log_number("times", troubles),
                             log_text("last", error_code_name(now ? t->error.code : t->last))),
                  "publishing failed and recovered repeatedly%s%s",
                  now ? "; not yet recovered from: " : "", now ? error_message(&t->error) : "");
    }
}
