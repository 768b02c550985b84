/* Lines on a real loop and a real helper thread, with a writer that the test plays: it blocks where
 * the test says so until the test lets it go on, and fails when told to. */
#include <criterion/criterion.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "flow/batch.h"
#include "sink/lines/lines.h"
#include "stub/given_schema.h"

static struct {
    struct event_base *base;
    PipelineConfig pipeline;
    LinesWriter writer;
    Sink *sink;
    Batch *batch;
    int go[2]; /* a pipe: each byte lets one blocked call go on */
    bool write_blocks;
    bool close_blocks;
    ErrorCode failure; /* of each write with lines; CODE_NONE: none */
    bool limited;      /* to so many bytes of whole lines */
    size_t room;
    size_t writes;
    size_t closes;
    size_t settled;
    size_t purged;
    size_t ready;
    size_t troubles;
    size_t healed;
    size_t lost;
    size_t reopened;
    size_t chances; /* taken, of random() */
} rig;

/* In place of libc's. */
long random(void)
{
    rig.chances++;
    return RAND_MAX / 2;
}

static void block(bool blocks)
{
    char byte = 0;
    if (blocks) {
        cr_assert_eq(read(rig.go[0], &byte, 1), 1);
    }
}

static void go_on(void)
{
    cr_assert_eq(write(rig.go[1], "x", 1), 1);
}

static Status played_format(const LinesWriter *writer, const Record *record, const Event *event,
                            Text *text, Error *err)
{
    (void)writer;
    (void)event;
    (void)err;
    text_add_slice(text, record->value);
    text_add_char(text, '\n');
    return OK;
}

static Status played_write(LinesWriter *writer, Slice lines, size_t *ret_stored, Error *err)
{
    (void)writer;
    rig.writes++;
    *ret_stored = lines.length;
    if (lines.length == 0) {
        return OK;
    }
    block(rig.write_blocks);
    if (rig.limited) {
        *ret_stored = lines.length < rig.room ? lines.length : rig.room;
        rig.room -= *ret_stored;
        return *ret_stored > 0 ? OK : error_set(err, CODE_FILE_DISK_FULL, "as told");
    }
    return rig.failure == CODE_NONE ? OK : error_set(err, rig.failure, "as told");
}

static void played_close(LinesWriter *writer)
{
    (void)writer;
    block(rig.close_blocks);
    rig.closes++;
}

static void played_free(LinesWriter *writer)
{
    (void)writer;
}

static const LinesOps PLAYED = {
    .format = played_format, .write = played_write, .close = played_close, .free = played_free};
static const SinkOps OPS = {.open = lines_open,
                            .send = lines_send,
                            .flush = lines_flush,
                            .purge = lines_purge,
                            .reopen = lines_reopen,
                            .free = lines_free};

static void on_settled(void *arg, Event *event, const SinkReport *report)
{
    (void)arg;
    (void)event;
    rig.settled += report == NULL;
    rig.purged += report != NULL && report->verdict == SINK_TOOK_BACK;
}

static void on_ready(void *arg)
{
    (void)arg;
    rig.ready++;
}

static void on_trouble(void *arg, const Error *err)
{
    (void)arg;
    (void)err;
    rig.troubles++;
}

static void on_healed(void *arg)
{
    (void)arg;
    rig.healed++;
}

static void on_lost(void *arg, const Error *err)
{
    (void)arg;
    cr_assert_eq(err->class, ERROR_FATAL);
    rig.lost++;
}

static void on_reopened(void *arg)
{
    (void)arg;
    rig.reopened++;
}

#define WAIT(condition)                                                                            \
    do {                                                                                           \
        int64_t wait_until_us = clock_monotonic_us() + 20000000;                                   \
        while (!(condition)) {                                                                     \
            event_base_loop(rig.base, EVLOOP_NONBLOCK);                                            \
            cr_assert_lt(clock_monotonic_us(), wait_until_us, "waited in vain for %s",             \
                         #condition);                                                              \
        }                                                                                          \
    } while (0)

static void turn(void)
{
    for (int i = 0; i < 100; i++) {
        event_base_loop(rig.base, EVLOOP_NONBLOCK);
    }
}

static SendResult try_send_value(const char *value)
{
    Record record = {.value = slice_of(value)};
    AUTO_ERROR err = {0};
    return lines_send(rig.sink, &record, batch_add(rig.batch, given_schema(0)), &err);
}

static SendResult try_send(void)
{
    return try_send_value("v");
}

static void send_one(void)
{
    WAIT(try_send() == SEND_OK);
    lines_flush(rig.sink);
}

static void begin(void)
{
    memset(&rig, 0, sizeof(rig));
    rig.pipeline = given_pipeline();
    rig.pipeline.claim.backoff_min_ms = 1;
    rig.pipeline.claim.backoff_max_ms = 4;
    rig.writer.ops = &PLAYED;
    rig.base = event_base_new();
    rig.batch = batch_new();
    cr_assert_eq(pipe(rig.go), 0);
    rig.sink =
        lines_new(&OPS, &rig.writer, &(SinkOptions){.base = rig.base, .pipeline = &rig.pipeline});
    rig.sink->events = (SinkEvents){.settled = on_settled,
                                    .ready = on_ready,
                                    .trouble = on_trouble,
                                    .healed = on_healed,
                                    .lost = on_lost,
                                    .reopened = on_reopened};
    lines_open(rig.sink);
}

static void end(void)
{
    lines_free(rig.sink);
    batch_free(&rig.batch);
    event_base_free(rig.base);
    close(rig.go[0]);
    close(rig.go[1]);
}

TestSuite(lines, .init = begin, .fini = end);

Test(lines, the_loop_turns_while_closing_blocks, .timeout = 60)
{
    send_one();
    WAIT(rig.settled == 1);
    rig.close_blocks = true;
    lines_purge(rig.sink);
    rig.ready = 0;
    turn();
    cr_assert_eq(rig.closes, 0);
    cr_assert_eq(try_send(), SEND_WAIT, "it is opened once it is closed");
    turn();
    cr_assert_eq(rig.ready, 0);
    go_on();
    WAIT(rig.ready == 1);
    cr_assert_eq(rig.closes, 1);
    send_one();
    WAIT(rig.settled == 2);
}

Test(lines, a_line_that_does_not_fit_begins_the_next_group, .timeout = 60)
{
    rig.writer.group_bytes = 10;
    WAIT(try_send_value("123456") == SEND_OK);
    cr_assert_eq(try_send_value("12"), SEND_OK, "10 bytes with their line ends");
    cr_assert_eq(try_send_value("1"), SEND_FULL);
    lines_flush(rig.sink);
    WAIT(rig.settled == 2);
    cr_assert_eq(try_send_value("12345678901234567890"), SEND_OK, "alone it may be larger");
    cr_assert_eq(try_send_value("1"), SEND_FULL);
    lines_flush(rig.sink);
    WAIT(rig.settled == 3);
}

Test(lines, a_purge_while_writing_blocks_is_followed_by_closing, .timeout = 60)
{
    rig.write_blocks = true;
    send_one();
    lines_purge(rig.sink);
    turn();
    cr_assert_eq(rig.closes, 0);
    go_on();
    WAIT(rig.settled == 1);
    WAIT(rig.closes == 1);
    cr_assert_eq(rig.purged, 0);
}

Test(lines, what_a_reopening_forgot_does_not_settle_after_a_purge_either, .timeout = 60)
{
    for (int fails = 0; fails < 2; fails++) {
        size_t settled = rig.settled;
        size_t reopened = rig.reopened;
        rig.failure = fails ? CODE_FILE_UNWRITABLE : CODE_NONE;
        rig.write_blocks = true;
        WAIT(try_send() == SEND_OK); /* opens it */
        size_t writes = rig.writes + 1;
        lines_flush(rig.sink);
        lines_reopen(rig.sink);
        lines_purge(rig.sink);
        size_t closes = rig.closes;
        go_on();
        WAIT(rig.reopened > reopened && rig.closes > closes);
        turn();
        cr_assert_eq(rig.writes, writes, "opened again, although another relay may publish");
        cr_assert_eq(rig.settled, settled);
        cr_assert_eq(rig.purged, 0);
    }
}

Test(lines, it_is_reopened_while_closing_blocks, .timeout = 60)
{
    send_one();
    WAIT(rig.settled == 1);
    rig.close_blocks = true;
    lines_purge(rig.sink);
    lines_reopen(rig.sink);
    cr_assert_eq(rig.reopened, 1);
    go_on();
    send_one();
    WAIT(rig.settled == 2);
    cr_assert_eq(rig.closes, 1);
}

Test(lines, pauses_between_attempts_are_up_to_chance, .timeout = 60)
{
    rig.failure = CODE_FILE_DISK_FULL;
    send_one();
    WAIT(rig.troubles == 5);
    cr_assert_eq(rig.chances, 5, "relays that failed together do not come back together");
    cr_assert_eq(rig.settled + rig.purged, 0);
}

static void send_three(size_t room)
{
    WAIT(try_send() == SEND_OK);
    cr_assert_eq(try_send(), SEND_OK);
    cr_assert_eq(try_send(), SEND_OK);
    rig.limited = true;
    rig.room = room;
    lines_flush(rig.sink);
}

Test(lines, the_first_lines_settle_where_not_all_have_room, .timeout = 60)
{
    send_three(2);
    WAIT(rig.troubles == 2);
    cr_assert_eq(rig.settled, 1);
    rig.room = 2; /* for one more */
    WAIT(rig.settled == 2);
    WAIT(rig.troubles == 4);
    cr_assert_eq(rig.healed, 0, "not while there is one that waits");
    rig.room = 100;
    WAIT(rig.healed == 1);
    cr_assert_eq(rig.settled, 3);
    cr_assert_eq(rig.purged, 0);
}

Test(lines, of_a_purge_while_only_some_have_room_the_others_come_back, .timeout = 60)
{
    rig.write_blocks = true;
    send_three(4);
    lines_purge(rig.sink);
    go_on();
    WAIT(rig.closes == 1);
    cr_assert_eq(rig.settled, 2);
    cr_assert_eq(rig.purged, 1);
}

Test(lines, what_is_of_no_use_any_more_is_said_and_reopened_when_asked_for, .timeout = 60)
{
    rig.failure = CODE_STDOUT_FAILED;
    send_one();
    WAIT(rig.lost > 0);
    turn();
    cr_assert_eq(rig.lost, 1, "not again by itself");
    cr_assert_eq(rig.troubles, 0);
    rig.failure = CODE_NONE;
    lines_reopen(rig.sink);
    cr_assert_eq(rig.reopened, 1);
    send_one();
    WAIT(rig.settled == 1);
    cr_assert_eq(rig.purged, 0, "nobody is told of what was sent before");
}
