/* How many lines the log gets when something repeats. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "rig.h"

static FILE *captured;
static int real_stderr;

static void begin(void)
{
    unsetenv("JOURNAL_STREAM");
    rig_prepare();
    captured = tmpfile();
    real_stderr = dup(STDERR_FILENO);
    dup2(fileno(captured), STDERR_FILENO);
}

static void run(void)
{
    rig_run();
    log_configure(LOG_FORMAT_LOGFMT, LOG_INFO); /* the rig wants errors alone */
}

static void end(void)
{
    rig_end();
}

/* Lines with that code since the beginning. */
static size_t lines_of(ErrorCode code)
{
    char line[4096];
    char field[80];
    size_t count = 0;
    snprintf(field, sizeof(field), " code=%s ", error_code_name(code));
    rewind(captured);
    while (fgets(line, sizeof(line), captured) != NULL) {
        count += strstr(line, field) != NULL;
    }
    (void)fseek(captured, 0, SEEK_END);
    return count;
}

static size_t field_of(ErrorCode code, const char *field)
{
    char line[4096];
    size_t sum = 0;
    rewind(captured);
    while (fgets(line, sizeof(line), captured) != NULL) {
        const char *at = strstr(line, error_code_name(code)) != NULL ? strstr(line, field) : NULL;
        sum += at != NULL ? strtoull(at + strlen(field), NULL, 10) : 0;
    }
    (void)fseek(captured, 0, SEEK_END);
    return sum;
}

TestSuite(pipeline_lines, .init = begin, .fini = end);

Test(pipeline_lines, a_thousand_poison_events_make_few_lines_and_a_count)
{
    rig.config.on_poison = ON_POISON_DEAD_LETTER;
    run();
    char batch[16];
    for (int i = 1; i <= 1000; i++) {
        snprintf(batch, sizeof(batch), "%da!", i);
        rig_batch(batch);
        rig_aside_done();
    }
    cr_assert_eq(stats_dead_lettered(&rig.stats), 1000);
    cr_assert_eq(lines_of(CODE_EVENT_SET_ASIDE), LOG_LIMIT_LINES);
    pipeline_sum_up(rig.pipeline, true);
    cr_assert_eq(lines_of(CODE_EVENT_SET_ASIDE), LOG_LIMIT_LINES + 1);
    cr_assert_eq(field_of(CODE_EVENT_SET_ASIDE, " events="), 1000 - LOG_LIMIT_LINES);
}

static void let_time_pass(void)
{
    rig.pipeline->parking->holds->row->try_us = 1;
    rig.pipeline->parking->holds->row->tries = 0;
    pipeline_watch_held_rows(rig.pipeline, INT64_MAX / 2);
    rig_turn();
}

Test(pipeline_lines, a_letter_that_is_refused_again_and_again_is_told_once)
{
    rig.config.on_poison = ON_POISON_DEAD_LETTER;
    run();
    rig_batch("2b!");
    rig_aside_refused();
    cr_assert_eq(lines_of(CODE_EVENT_SET_ASIDE), 1);
    for (int i = 0; i < 3; i++) {
        let_time_pass();
        rig_aside_refused();
        cr_assert_eq(lines_of(CODE_EVENT_SET_ASIDE), 1);
    }
    let_time_pass();
    rig_aside_done();
    cr_assert_eq(lines_of(CODE_EVENT_SET_ASIDE), 1);
    rig_batch("3b!");
    rig_aside_done();
    cr_assert_eq(lines_of(CODE_EVENT_SET_ASIDE), 2);
    pipeline_sum_up(rig.pipeline, true);
    cr_assert_eq(lines_of(CODE_EVENT_SET_ASIDE), 2, "those that were not told are none to sum up");
}

Test(pipeline_lines, troubles_that_come_and_go_are_summed_up)
{
    run();
    for (int i = 0; i < 200; i++) {
        rig_trouble(ERROR_RETRY);
        rig_healed();
    }
    size_t recovered = lines_of(CODE_PIPELINE_RECOVERED);
    cr_assert_eq(recovered, LOG_LIMIT_LINES);
    pipeline_sum_up(rig.pipeline, true);
    cr_assert_eq(lines_of(CODE_PIPELINE_UNSTEADY), 1);
    cr_assert_eq(field_of(CODE_PIPELINE_UNSTEADY, " times="), 200 - LOG_LIMIT_LINES);
    cr_assert_eq(lines_of(CODE_PIPELINE_RECOVERED), recovered);
}

Test(pipeline_lines, what_is_held_back_is_said_when_the_pipeline_ends)
{
    rig.config.on_poison = ON_POISON_DEAD_LETTER;
    run();
    char batch[16];
    for (int i = 1; i <= 15; i++) {
        snprintf(batch, sizeof(batch), "%da!", i);
        rig_batch(batch);
        rig_aside_done();
    }
    pipeline_stop(rig.pipeline);
    rig_turn();
    rig.source.source.events.drained(rig.source.source.events.arg);
    rig_turn();
    rig_assert_state(PIPELINE_STOPPED);
    cr_assert_eq(field_of(CODE_EVENT_SET_ASIDE, " events="), 15 - LOG_LIMIT_LINES);
}
