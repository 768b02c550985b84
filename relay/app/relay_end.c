/* How a run ends: at once, or when everything is released. The loop is over by then, and with it
 * the deadline of the drain. What sinks still do in threads of their own, such as to close a file
 * on a disk that hangs, is waited for by a thread: what is left of shutdown_timeout, and no less
 * than a moment for what always takes one. A signal ends it at once, if another one came before. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "app/relay_internal.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "metrics/notify.h"
#include "token/token.h"

enum { RELEASE_MS_MIN = 1000 };

/* Whether it ends, and with what. */

static void end_note(Relay *relay, const char *name, ExitCode code, ErrorCode why)
{
    if (relay->end->exit_code == EXIT_OK && code != EXIT_OK) { /* the first that stopped */
        relay->end->exit_code = code;
        snprintf(relay->end->why, sizeof(relay->end->why), "pipeline %.60s: %.50s", name,
                 error_code_name(why));
    }
}

void relay_note_exit(Relay *relay, const Pipeline *pipeline)
{
    PipelineView view;
    pipeline_view(pipeline, &view);
    end_note(relay, view.name, pipeline_exit_code(pipeline),
             view.error != NULL ? view.error->code : CODE_NONE);
}

void relay_end_if_idle(Relay *relay)
{
    bool pending = false;
    for (size_t i = 0; i < relay->lanes.count && !relay->end->stopping; i++) {
        pending |= relay->lanes.items[i]->fate == LANE_RENEWS;
    }
    if (relay->running == 0 && !pending) {
        if (relay->watch != NULL) {
            watch_stop(relay->watch);
        }
        event_base_loopbreak(relay->base);
    }
}

void relay_count_failures(Relay *relay)
{
    relay->end->exit_code = EXIT_OK;
    relay->end->why[0] = '\0';
    for (size_t i = 0; i < relay->lanes.count; i++) {
        if (relay->lanes.items[i]->over && relay->lanes.items[i]->fate == LANE_STAYS) {
            const RelayLane *lane = relay->lanes.items[i];
            relay_note_exit(relay, lane->pipeline);
            end_note(relay, lane->config->name, lane->refused_exit, lane->refused);
        }
    }
}

/* At once, or patiently. */

typedef struct Patience {
    pthread_t thread;
    int over; /* eventfd: all is released */
    bool began;
    int wait_ms;
    uint64_t signals; /* that came before */
    ExitCode code;    /* of the end, and its reason */
    const char *why;
} Patience;

static int signalled = -1; /* eventfd: how many signals came */

void relay_say_stopped(ExitCode code, const char *why)
{
    log_write(LOG_INFO, NULL, CODE_STOPPED,
              LOG_FIELDS(log_number("exit_code", code), log_text("why", why)), "stopped");
}

void relay_exit_now(ExitCode code, const char *why)
{
    token_abandon_all();
    relay_say_stopped(code, why);
    _exit(code);
}

void relay_exit_signalled(ExitCode code, const char *why)
{
    log_write(LOG_WARN, NULL, CODE_STOPPED_AT_ONCE, LOG_NO_FIELDS,
              "second signal: ending at once; no event is lost, duplicates are possible");
    relay_exit_now(code, why);
}

/* Waits until all is released. False: it took too long, or a second signal came. */
static bool patience_wait(const Patience *patience, bool *ret_signal)
{
    int64_t until_us = clock_monotonic_us() + patience->wait_ms * INT64_C(1000);
    struct pollfd fds[] = {{.fd = patience->over, .events = POLLIN},
                           {.fd = signalled, .events = POLLIN}};
    uint64_t signals = patience->signals;
    for (;;) {
        int64_t left_us = until_us - clock_monotonic_us();
        int left_ms = left_us > 0 ? (int)((left_us + 999) / 1000) : 0;
        int ready = poll(fds, 2, left_ms);
        if (ready > 0 && fds[0].revents != 0) {
            return true;
        }
        uint64_t count = 0;
        if (ready > 0 && read(signalled, &count, sizeof(count)) == (ssize_t)sizeof(count)) {
            signals += count;
        }
        *ret_signal = signals > 1;
        if (*ret_signal || ready == 0) {
            return false;
        }
    }
}

static void *patience_run(void *arg)
{
    const Patience *patience = arg;
    bool signal = false;
    if (patience_wait(patience, &signal)) {
        return NULL;
    }
    /* Why the pipelines ended says more: a supervisor must know of a gap. */
    bool reason = patience->code != EXIT_OK;
    if (signal) {
        relay_exit_signalled(reason ? patience->code : EXIT_DRAIN,
                             reason ? patience->why : "second signal");
    }
    log_write(LOG_ERROR, NULL, CODE_DRAIN_INCOMPLETE, LOG_NO_FIELDS,
              "a destination could not be closed within shutdown_timeout; no event is lost");
    relay_exit_now(reason ? patience->code : EXIT_DRAIN,
                   reason ? patience->why : "DRAIN_INCOMPLETE");
}

/* In the place of the loop's. */
static void on_signal(int number)
{
    int kept = errno; // NOLINT(bugprone-signal-handler): a place of the thread's own
    (void)number;
    (void)!write(signalled, &(uint64_t){1}, sizeof(uint64_t));
    errno = kept;
}

static void patience_begin(Patience *patience, const Relay *relay)
{
    const RelayEnd *end = relay->end;
    int64_t left_ms = end->deadline_us == 0 ? relay->config->shutdown_timeout_ms
                                            : (end->deadline_us - clock_monotonic_us()) / 1000;
    left_ms = left_ms < RELEASE_MS_MIN ? RELEASE_MS_MIN : left_ms;
    *patience = (Patience){.over = eventfd(0, EFD_CLOEXEC),
                           .wait_ms = left_ms > INT_MAX ? INT_MAX : (int)left_ms,
                           .signals = end->stopping ? 1 : 0,
                           .code = end->exit_code,
                           .why = end->why};
    signalled = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (patience->over < 0 || signalled < 0) {
        return; /* no descriptor is left: it ends without a limit */
    }
    thread_start(&patience->thread, patience_run, patience);
    patience->began = true;
    static const int SIGNALS[] = {SIGTERM, SIGINT, SIGQUIT};
    for (size_t i = 0; i < sizeof(SIGNALS) / sizeof(SIGNALS[0]); i++) {
        (void)signal(SIGNALS[i], on_signal);
    }
}

static void patience_end(Patience *patience)
{
    if (patience->began) {
        (void)!write(patience->over, &(uint64_t){1}, sizeof(uint64_t));
        pthread_join(patience->thread, NULL);
    }
    if (patience->over >= 0) {
        close(patience->over);
    }
}

void relay_release_patiently(Relay *relay, void (*release)(Relay *relay))
{
    if (!relay->end->stopping) { /* or systemd would still wait for WATCHDOG=1 */
        notify_send("STOPPING=1\nSTATUS=releasing destinations");
    }
    Patience patience;
    patience_begin(&patience, relay);
    release(relay);
    patience_end(&patience);
}
