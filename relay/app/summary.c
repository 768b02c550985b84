#include "app/summary.h"

#include <inttypes.h>
#include <math.h>

#include "base/log.h"
#include "config/units.h"

static void summary_begin(Summary *summary, const SummaryFacts *facts, int64_t now_us, bool idle)
{
    *summary = (Summary){.since_us = now_us,
                         .published = facts->published,
                         .marked = facts->marked,
                         .set_aside = facts->set_aside,
                         .idle = idle};
}

static void summary_write(const char *name, const SummaryFacts *facts, const SummaryFacts *done,
                          int64_t seconds)
{
    bool lag_known = !isnan(facts->lag_seconds);
    AUTO_BUFFER text = TEXT_EMPTY;
    AUTO_BUFFER time = TEXT_EMPTY;
    units_add_duration(&time, seconds * 1000);
    text_printf(&text, "%" PRIu64 " published in the last %s, ", done->published, time.data);
    if (facts->waiting > 0) {
        text_printf(&text, "%" PRId64 " wait", facts->waiting);
    } else {
        text_add(&text, facts->waiting == 0 ? "none waits" : "it is not known how many wait");
    }
    log_write(
        LOG_INFO, name, CODE_SUMMARY,
        LOG_FIELDS(log_number("published", (long long)done->published),
                   log_number("marked", (long long)done->marked),
                   log_number("set_aside", (long long)done->set_aside),
                   log_number("waiting", (long long)facts->waiting),
                   log_number("lag_ms", lag_known ? (long long)(facts->lag_seconds * 1000) : -1),
                   log_text("state", facts->state)),
        "%s", text.data);
}

void summary_tell(Summary *summary, const char *name, const SummaryFacts *facts, int64_t now_us,
                  int64_t interval_ms)
{
    if (summary->since_us == 0) {
        summary_begin(summary, facts, now_us, false);
    }
    if (interval_ms == 0 || now_us - summary->since_us < interval_ms * 1000) {
        return;
    }
    const SummaryFacts done = {.published = facts->published - summary->published,
                               .marked = facts->marked - summary->marked,
                               .set_aside = facts->set_aside - summary->set_aside};
    bool waits = facts->waiting > 0 || (!isnan(facts->lag_seconds) && facts->lag_seconds > 0);
    bool idle = done.published == 0 && done.marked == 0 && done.set_aside == 0 && !waits;
    if (!idle) {
        summary_write(name, facts, &done, (now_us - summary->since_us) / 1000000);
    } else if (!summary->idle) {
        log_write(LOG_INFO, name, CODE_SUMMARY, LOG_FIELDS(log_text("state", facts->state)),
                  "nothing to publish; the next summary follows the next event");
    }
    summary_begin(summary, facts, now_us, idle);
}
