/* Standard error is a pipe that the test reads, or does not; what the log tells of lost lines. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/log_output.h"

enum { PIPE_BYTES = 4096 };

static int reads; /* the other end of stderr */
static int saved; /* the real one */

static void begin(void)
{
    int ends[2];
    unsetenv("JOURNAL_STREAM");
    (void)signal(SIGPIPE, SIG_IGN);
    saved = dup(STDERR_FILENO);
    cr_assert_eq(pipe(ends), 0);
    cr_assert_eq(fcntl(ends[1], F_SETPIPE_SZ, PIPE_BYTES), PIPE_BYTES);
    cr_assert_eq(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
    close(ends[1]);
    reads = ends[0];
    cr_assert_eq(fcntl(reads, F_SETFL, O_NONBLOCK), 0);
}

static void end(void)
{
    dup2(saved, STDERR_FILENO);
}

TestSuite(log_output, .init = begin, .fini = end, .timeout = 60);

static bool put(const char *text)
{
    return log_output_write(text, strlen(text));
}

/* All that is in the pipe. */
static const char *take(void)
{
    static char content[4 * PIPE_BYTES];
    ssize_t length = read(reads, content, sizeof(content) - 1);
    content[length > 0 ? length : 0] = '\0';
    return content;
}

static void fill(void)
{
    char bytes[PIPE_BYTES];
    memset(bytes, '.', sizeof(bytes));
    cr_assert_eq(write(STDERR_FILENO, bytes, sizeof(bytes)), PIPE_BYTES);
}

Test(log_output, who_does_not_read_loses_lines_and_nobody_waits_for_him)
{
    fill();
    int64_t begin_us = clock_monotonic_us();
    for (int i = 0; i < 100; i++) {
        cr_assert_not(put("lost\n"));
    }
    int64_t took_us = clock_monotonic_us() - begin_us;
    cr_assert_lt(took_us, 20 * LOG_OUTPUT_PATIENCE_MS * INT64_C(1000));
    cr_assert_eq(log_output_lost(), 100);
    LogLoss loss = log_output_take_loss();
    cr_assert_eq(loss.lines, 100);
    cr_assert_eq(loss.reason, EAGAIN);
    (void)take();
    cr_assert(put("there\n"));
    cr_assert_str_eq(take(), "there\n");
    cr_assert_eq(log_output_take_loss().lines, 0, "who took it tells of it, and nobody else");
    log_output_return_loss(loss);
    cr_assert_eq(log_output_take_loss().lines, 100);
    cr_assert_eq(log_output_lost(), 100);
}

Test(log_output, a_reader_that_went_away_is_no_signal_and_no_end)
{
    close(reads);
    cr_assert_not(put("lost\n"));
    cr_assert_eq(log_output_take_loss().reason, EPIPE);
}

Test(log_output, a_line_that_was_cut_does_not_run_into_the_next)
{
    static char line[3 * PIPE_BYTES];
    memset(line, 'x', sizeof(line));
    cr_assert_not(log_output_write(line, sizeof(line)), "the pipe takes a third of it");
    cr_assert_eq(strlen(take()), PIPE_BYTES);
    cr_assert(put("whole\n"));
    cr_assert_str_eq(take(), "\nwhole\n");
}

Test(log_output, the_log_tells_what_was_lost_and_why)
{
    fill();
    for (int i = 0; i < 3; i++) {
        log_write(LOG_WARN, NULL, CODE_READY, LOG_NO_FIELDS, "lost");
    }
    (void)take();
    log_write(LOG_INFO, NULL, CODE_READY, LOG_NO_FIELDS, "there");
    const char *said = take();
    cr_assert_not_null(strstr(said, "code=READY msg=there\n"), "%s", said);
    cr_assert_not_null(strstr(said, " warn  code=LOG_LINES_LOST msg=\"3 log lines before this were "
                                    "lost: nobody read them in time\" lines=3 hint="),
                       "%s", said);
    log_write(LOG_INFO, NULL, CODE_READY, LOG_NO_FIELDS, "again");
    said = take();
    cr_assert_null(strstr(said, "LOG_LINES_LOST"), "%s", said);
}

Test(log_output, the_loss_is_told_when_nothing_else_is_to_be_said)
{
    fill();
    log_write(LOG_WARN, NULL, CODE_READY, LOG_NO_FIELDS, "lost");
    int64_t begin_us = clock_monotonic_us();
    for (int i = 0; i < 100; i++) {
        log_tell_loss();
    }
    cr_assert_lt(clock_monotonic_us() - begin_us, LOG_OUTPUT_PATIENCE_MS * INT64_C(1000));
    cr_assert_eq(log_output_lost(), 1, "a notice that is not taken is no lost line");
    (void)take();
    log_tell_loss();
    const char *said = take();
    cr_assert_not_null(strstr(said, "code=LOG_LINES_LOST msg=\"1 log line before this"), "%s",
                       said);
    log_tell_loss();
    cr_assert_str_eq(take(), "");
}

Test(log_output, a_full_disk_is_named)
{
    int full = open("/dev/full", O_WRONLY);
    int pipe_end = dup(STDERR_FILENO);
    dup2(full, STDERR_FILENO);
    log_write(LOG_INFO, NULL, CODE_READY, LOG_NO_FIELDS, "lost");
    dup2(pipe_end, STDERR_FILENO);
    log_write(LOG_INFO, NULL, CODE_READY, LOG_NO_FIELDS, "there");
    const char *said = take();
    cr_assert_not_null(strstr(said, "1 log line before this was lost: No space left on device"),
                       "%s", said);
}

Test(log_output, a_closed_descriptor_is_held_so_that_no_socket_gets_the_log)
{
    close(STDERR_FILENO);
    log_output_hold_descriptors();
    int next = open("/dev/null", O_WRONLY);
    cr_assert_gt(next, STDERR_FILENO);
    cr_assert_not(put("lost\n"));
    cr_assert_eq(log_output_take_loss().reason, EBADF);
    close(next);
}
