#include "groups/groups_trouble.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/document.h"
#include "base/log.h"
#include "base/memory.h"
#include "groups/groups_ask.h"

enum { FAILURES_TOLD = 2 }; /* a coordinator may be loading: that is over in the next round */

struct GroupsTrouble {
    double *up;  /* NAN before the first round */
    Error error; /* of the last round */
    size_t left_out;
    bool left_out_said;
    int failures;     /* rounds in a row that were not complete */
    bool said;        /* of this trouble, in the log */
    bool said_denied; /* likewise, that a right is missing */
};

GroupsTrouble *groups_trouble_new(Metrics *metrics)
{
    GroupsTrouble *trouble = x_calloc(1, sizeof(*trouble));
    trouble->up = metrics_gauge(metrics, "outboxd_consumer_groups_up",
                                "1 if the last query of the consumer groups was complete.", NULL);
    *trouble->up = NAN;
    return trouble;
}

void groups_trouble_free(GroupsTrouble **trouble)
{
    error_clear(&(*trouble)->error);
    free(*trouble);
    *trouble = NULL;
}

static void trouble_tell(GroupsTrouble *trouble)
{
    const Error *err = &trouble->error;
    bool failed = err->class != ERROR_NONE;
    bool denied = failed && groups_is_denied(err);
    *trouble->up = failed ? 0 : 1;
    trouble->failures = failed ? trouble->failures + 1 : 0;
    bool lasts = trouble->failures >= FAILURES_TOLD;
    if ((denied && !trouble->said_denied) || (lasts && !trouble->said)) {
        log_error(LOG_WARN, NULL, err, "some consumer groups cannot be seen; publishing continues");
        trouble->said = true;
        trouble->said_denied |= denied;
    } else if (!failed && trouble->said) {
        log_write(LOG_INFO, NULL, CODE_CONSUMER_GROUPS_RECOVERED, LOG_NO_FIELDS,
                  "consumer groups can be seen again");
        trouble->said = trouble->said_denied = false;
    }
    if (trouble->left_out > 0 && !trouble->left_out_said) {
        log_write(LOG_WARN, NULL, CODE_CONSUMER_GROUPS_TOO_MANY,
                  LOG_FIELDS(log_number("left_out", (long long)trouble->left_out)),
                  "monitor.consumer_groups matches more groups than the relay watches; use "
                  "narrower patterns");
    }
    trouble->left_out_said = trouble->left_out > 0;
}

void groups_trouble_tell(GroupsTrouble *trouble, const Error *err, size_t left_out)
{
    trouble->left_out = left_out;
    groups_trouble_tell_again(trouble, err);
}

void groups_trouble_tell_again(GroupsTrouble *trouble, const Error *err)
{
    error_copy(&trouble->error, err);
    trouble_tell(trouble);
}

void groups_trouble_status(const GroupsTrouble *trouble, json_t *object)
{
    document_bool(object, "up", *trouble->up > 0);
    if (trouble->error.class == ERROR_NONE) {
        document_null(object, "error");
    } else {
        bool hint = error_own_hint(&trouble->error)[0] != '\0';
        AUTO_TEXT text = x_format("%s%s%s", error_message(&trouble->error), hint ? ". " : "",
                                  error_own_hint(&trouble->error));
        document_text(object, "error", text);
    }
    document_count(object, "groups_left_out", (int64_t)trouble->left_out);
}
