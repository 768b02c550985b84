/* The file sink on a real loop and a real file; the pipeline is played. The helper thread may be
 * done at any time, but what became of its work is seen only when the loop turns. A disk is made
 * full by the largest size that the process may give a file. */
#include <criterion/criterion.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "flow/batch.h"
#include "sink/file/file.h"
#include "stub/given_schema.h"

enum { EVENTS_MAX = 30000 };

static struct {
    char directory[64];
    char path[96];
    struct event_base *base;
    PipelineConfig pipeline;
    Sink *sink;
    Batch *batch;
    Event *events[EVENTS_MAX];
    int64_t order[EVENTS_MAX]; /* of what is stored */
    size_t stored;
    size_t purged;
    size_t ready;
    size_t troubles;
    size_t healed;
    size_t reopened;
    Error trouble;
} rig;

static Topic topic = {.name = (char *)"order.events"};

static void on_settled(void *arg, Event *event, const SinkReport *report)
{
    (void)arg;
    if (report == NULL) {
        rig.order[rig.stored++] = event->seq;
    } else {
        cr_assert_eq(report->verdict, SINK_TOOK_BACK);
        cr_assert_eq(report->error->code, CODE_SINK_PURGED);
        rig.purged++;
    }
}

static void on_ready(void *arg)
{
    (void)arg;
    rig.ready++;
}

static void on_trouble(void *arg, const Error *err)
{
    (void)arg;
    rig.troubles++;
    error_copy(&rig.trouble, err);
}

static void on_healed(void *arg)
{
    (void)arg;
    rig.healed++;
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

static SendResult try_send(int64_t seq)
{
    if (rig.events[seq] == NULL) {
        rig.events[seq] = batch_add(rig.batch, given_schema(0));
        rig.events[seq]->seq = seq;
    }
    char value[32];
    snprintf(value, sizeof(value), "v%lld", (long long)seq);
    Record record = {.topic = &topic, .value = slice_of(value), .timestamp_ms = 1};
    AUTO_ERROR err = {0};
    return rig.sink->ops->send(rig.sink, &record, rig.events[seq], &err);
}

static void send_all(int64_t from, int64_t to)
{
    for (int64_t seq = from; seq <= to; seq++) {
        cr_assert_eq(try_send(seq), SEND_OK);
    }
    rig.sink->ops->flush(rig.sink);
}

static void assert_stored(int64_t from, int64_t to)
{
    cr_assert_eq(rig.stored, (size_t)(to - from + 1));
    for (size_t i = 0; i < rig.stored; i++) {
        cr_assert_eq(rig.order[i], from + (int64_t)i);
    }
}

/* The file has exactly these values, one a line, in this order. */
static void assert_file(int64_t from, int64_t to)
{
    FILE *f = fopen(rig.path, "r");
    cr_assert_not_null(f);
    char line[512];
    int64_t seq = from;
    for (; fgets(line, sizeof(line), f) != NULL; seq++) {
        char value[48];
        snprintf(value, sizeof(value), "\"value\":\"v%lld\"", (long long)seq);
        cr_assert_not_null(strstr(line, value), "%s", line);
        cr_assert_not_null(strchr(line, '\n'), "half a line: %s", line);
    }
    (void)fclose(f);
    cr_assert_eq(seq, to + 1);
}

static void limit_files(rlim_t bytes)
{
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &(struct rlimit){bytes, RLIM_INFINITY}), 0);
}

static void begin(void)
{
    log_configure(LOG_FORMAT_LOGFMT, LOG_ERROR);
    memset(&rig, 0, sizeof(rig));
    strcpy(rig.directory, "/tmp/outboxd-file-XXXXXX");
    cr_assert_not_null(mkdtemp(rig.directory));
    snprintf(rig.path, sizeof(rig.path), "%s/a.jsonl", rig.directory);
    rig.pipeline = given_pipeline();
    rig.pipeline.file.path = rig.path;
    rig.pipeline.claim.backoff_min_ms = 1;
    rig.pipeline.claim.backoff_max_ms = 5;
    rig.base = event_base_new();
    rig.batch = batch_new();
    AUTO_ERROR err = {0};
    cr_assert_eq(
        sink_file_new(&(SinkOptions){.base = rig.base, .pipeline = &rig.pipeline}, &rig.sink, &err),
        OK, "%s", error_message(&err));
    rig.sink->events = (SinkEvents){.settled = on_settled,
                                    .ready = on_ready,
                                    .trouble = on_trouble,
                                    .healed = on_healed,
                                    .reopened = on_reopened};
    rig.sink->ops->open(rig.sink);
    if (try_send(0) == SEND_WAIT) {
        WAIT(rig.ready > 0);
        rig.ready = 0;
    }
}

static void end(void)
{
    rig.sink->ops->free(rig.sink);
    batch_free(&rig.batch);
    event_base_free(rig.base);
    error_clear(&rig.trouble);
    AUTO_TEXT command = x_format("rm -rf '%s'", rig.directory);
    cr_assert_eq(system(command), 0);
}

TestSuite(file, .init = begin, .fini = end);

Test(file, events_settle_in_order_once_they_are_on_the_disk)
{
    send_all(1, 5);
    cr_assert_eq(rig.stored, 0, "not when they are taken");
    send_all(6, 100);
    WAIT(rig.stored == 100);
    assert_stored(1, 100);
    assert_file(1, 100);
    cr_assert_eq(rig.troubles, 0);
}

Test(file, what_waits_while_a_group_is_written_is_the_next_group)
{
    send_all(1, 1);
    for (int64_t seq = 2; seq <= 50; seq++) {
        send_all(seq, seq);
    }
    cr_assert_eq(rig.stored, 0);
    WAIT(rig.stored == 1);
    WAIT(rig.stored == 50);
    assert_stored(1, 50);
    assert_file(1, 50);
}

Test(file, too_much_is_full_until_some_of_it_is_written)
{
    int64_t seq = 1;
    send_all(seq, seq);
    while (try_send(++seq) == SEND_OK) {
        cr_assert_lt(seq, EVENTS_MAX - 1);
    }
    cr_assert_eq(try_send(seq), SEND_FULL);
    rig.sink->ops->flush(rig.sink);
    WAIT(rig.ready > 0);
    send_all(seq, seq);
    WAIT(rig.stored == (size_t)seq);
    assert_stored(1, seq);
    assert_file(1, seq);
}

Test(file, a_full_disk_is_a_trouble_and_the_same_events_go_on)
{
    send_all(1, 10);
    WAIT(rig.stored == 10);
    struct stat is;
    cr_assert_eq(stat(rig.path, &is), 0);
    limit_files((rlim_t)is.st_size + 100);
    send_all(11, 20);
    WAIT(rig.troubles > 2);
    cr_assert_eq(rig.trouble.code, CODE_FILE_DISK_FULL);
    cr_assert_eq(rig.trouble.class, ERROR_RETRY);
    cr_assert_eq(rig.stored, 10, "nothing counts that is not there");
    cr_assert_eq(rig.purged, 0, "and nothing is given back");
    assert_file(1, 10);
    limit_files(RLIM_INFINITY);
    WAIT(rig.stored == 20);
    cr_assert_eq(rig.healed, 1);
    assert_stored(1, 20);
    assert_file(1, 20);
}

Test(file, a_purge_in_trouble_gives_everything_back_and_leaves_no_half_line)
{
    send_all(1, 1);
    WAIT(rig.stored == 1);
    struct stat is;
    cr_assert_eq(stat(rig.path, &is), 0);
    limit_files((rlim_t)is.st_size + 20);
    send_all(2, 10);
    WAIT(rig.troubles > 0);
    send_all(11, 15);
    rig.sink->ops->purge(rig.sink);
    WAIT(rig.purged == 14);
    limit_files(RLIM_INFINITY);
    assert_file(1, 1);
    cr_assert_eq(try_send(2), SEND_WAIT, "it is closed");
    WAIT(rig.ready > 0);
    send_all(2, 15);
    WAIT(rig.stored == 15);
    assert_stored(1, 15);
    assert_file(1, 15);
}

Test(file, a_purge_lets_what_is_being_written_settle_by_what_becomes_of_it)
{
    send_all(1, 3);
    send_all(4, 6);
    rig.sink->ops->purge(rig.sink);
    cr_assert_eq(rig.purged, 3);
    WAIT(rig.stored == 3);
    assert_stored(1, 3);
    assert_file(1, 3);
    int fd = open(rig.path, O_RDWR);
    WAIT(flock(fd, LOCK_EX | LOCK_NB) == 0); /* whoever publishes now may have it */
    close(fd);
}

Test(file, what_is_sent_while_a_released_file_is_still_written_leaves)
{
    send_all(1, 3);
    rig.sink->ops->purge(rig.sink);
    send_all(4, 6);
    WAIT(rig.stored == 6);
    assert_stored(1, 6);
    assert_file(1, 6);
    cr_assert_eq(rig.purged, 0);
}

Test(file, who_sends_while_a_purged_opening_is_under_way_is_told_when_it_is_over)
{
    rig.sink->ops->purge(rig.sink); /* closes it */
    rig.sink->ops->open(rig.sink);
    rig.sink->ops->purge(rig.sink);
    rig.ready = 0;
    cr_assert_eq(try_send(1), SEND_WAIT);
    WAIT(rig.ready == 1);
    send_all(1, 3);
    WAIT(rig.stored == 3);
    assert_file(1, 3);
}

Test(file, reopened_it_knows_nothing_of_what_was_sent)
{
    limit_files(10);
    send_all(1, 3);
    WAIT(rig.troubles > 0);
    rig.sink->ops->reopen(rig.sink);
    WAIT(rig.reopened == 1);
    limit_files(RLIM_INFINITY);
    cr_assert_eq(rig.stored + rig.purged, 0);
    WAIT(try_send(4) == SEND_OK);
    rig.sink->ops->flush(rig.sink);
    WAIT(rig.stored == 1);
    assert_file(4, 4);
}

Test(file, a_locked_file_is_waited_for)
{
    rig.sink->ops->purge(rig.sink);
    int fd = open(rig.path, O_RDWR);
    WAIT(flock(fd, LOCK_EX | LOCK_NB) == 0);
    cr_assert_eq(try_send(1), SEND_WAIT);
    WAIT(rig.troubles > 1);
    cr_assert_eq(rig.trouble.code, CODE_FILE_LOCKED);
    cr_assert_eq(rig.ready, 0);
    close(fd);
    WAIT(rig.ready == 1);
    cr_assert_eq(rig.healed, 1);
    send_all(1, 2);
    WAIT(rig.stored == 2);
    assert_file(1, 2);
}

Test(file, freed_in_the_middle_of_it_all)
{
    send_all(1, 100);
    send_all(101, 200);
}

Test(file, silence_is_said_of_the_disk)
{
    AUTO_ERROR err = {0};
    rig.sink->ops->silent(rig.sink, 30, &err);
    cr_assert_eq(err.code, CODE_FILE_SILENT);
    cr_assert_not_null(strstr(error_message(&err), rig.path));
}
