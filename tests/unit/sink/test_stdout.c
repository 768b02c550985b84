/* The stdout sink on a real loop, with standard output in a pipe that the test reads. */
#include <criterion/criterion.h>
#include <event2/event.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "flow/batch.h"
#include "sink/stdout.h"
#include "stub/given_schema.h"

static struct {
    struct event_base *base;
    PipelineConfig pipeline;
    Sink *sink;
    Batch *batch;
    int saved; /* the real standard output */
    int reads; /* the end that the test reads */
    size_t settled;
    size_t ready;
    size_t lost;
    Error loss;
} rig;

static Topic topic = {.name = (char *)"orders.events"};

static void on_settled(void *arg, Event *event, const SinkReport *report)
{
    (void)arg;
    (void)event;
    cr_assert_null(report);
    rig.settled++;
}

static void on_ready(void *arg)
{
    (void)arg;
    rig.ready++;
}

static void on_lost(void *arg, const Error *err)
{
    (void)arg;
    rig.lost++;
    error_copy(&rig.loss, err);
}

static void on_reopened(void *arg)
{
    (void)arg;
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

static SendResult try_send(const Record *record)
{
    AUTO_ERROR err = {0};
    return rig.sink->ops->send(rig.sink, record, batch_add(rig.batch, given_schema(0)), &err);
}

static void send_one(const Record *record)
{
    WAIT(try_send(record) == SEND_OK);
    rig.sink->ops->flush(rig.sink);
}

static void begin(void)
{
    int ends[2];
    memset(&rig, 0, sizeof(rig));
    rig.pipeline = given_pipeline();
    rig.base = event_base_new();
    rig.batch = batch_new();
    (void)fflush(stdout);
    rig.saved = dup(STDOUT_FILENO);
    cr_assert_eq(pipe(ends), 0);
    cr_assert_eq(dup2(ends[1], STDOUT_FILENO), STDOUT_FILENO);
    close(ends[1]);
    rig.reads = ends[0];
    (void)sink_stdout_new(&(SinkOptions){.base = rig.base, .pipeline = &rig.pipeline}, &rig.sink,
                          NULL);
    rig.sink->events = (SinkEvents){
        .settled = on_settled, .ready = on_ready, .lost = on_lost, .reopened = on_reopened};
    rig.sink->ops->open(rig.sink);
}

static void end(void)
{
    rig.sink->ops->free(rig.sink);
    dup2(rig.saved, STDOUT_FILENO);
    close(rig.saved);
    close(rig.reads);
    batch_free(&rig.batch);
    event_base_free(rig.base);
    error_clear(&rig.loss);
}

TestSuite(stdout_sink, .init = begin, .fini = end);

Test(stdout_sink, it_gets_one_json_line_for_each_record)
{
    RecordHeader headers[] = {{SLICE_LITERAL("a"), SLICE_LITERAL("x\ny")},
                              {SLICE_LITERAL("b"), SLICE_NULL}};
    Record record = {.topic = &topic,
                     .key = SLICE_LITERAL("o-7"),
                     .value = SLICE_LITERAL("{\"total\": 1}"),
                     .headers = headers,
                     .header_count = 2,
                     .timestamp_ms = 1500};
    char line[1000];
    send_one(&record);
    WAIT(rig.settled == 1);
    ssize_t length = read(rig.reads, line, sizeof(line) - 1);
    cr_assert_gt(length, 0);
    line[length] = '\0';
    cr_assert_eq(strchr(line, '\n'), line + strlen(line) - 1, "one line");
    json_t *json = json_loads(line, 0, NULL);
    cr_assert_not_null(json, "%s", line);
    cr_assert_str_eq(json_string_value(json_object_get(json, "topic")), "orders.events");
    cr_assert_str_eq(json_string_value(json_object_get(json, "key")), "o-7");
    cr_assert_str_eq(json_string_value(json_object_get(json, "value")), "{\"total\": 1}");
    cr_assert_eq(json_integer_value(json_object_get(json, "timestamp")), 1500);
    const json_t *members = json_object_get(json, "headers");
    cr_assert_str_eq(json_string_value(json_object_get(members, "a")), "x\ny");
    cr_assert(json_is_null(json_object_get(members, "b")));
    json_decref(json);
}

/* More than a pipe holds. */
static Record large_record(Text *value)
{
    while (value->length < 300000) {
        text_add(value, "0123456789");
    }
    return (Record){.topic = &topic, .value = {.data = value->data, .length = value->length}};
}

/* All that is there now; true. */
static bool read_some(Text *found)
{
    char chunk[65536];
    for (ssize_t length; (length = read(rig.reads, chunk, sizeof(chunk))) > 0;) {
        text_append(found, chunk, (size_t)length);
    }
    return true;
}

Test(stdout_sink, a_reader_that_stops_does_not_hold_up_the_loop, .timeout = 60)
{
    Text value = TEXT_EMPTY;
    Record record = large_record(&value);
    send_one(&record);
    for (int i = 0; i < 1000; i++) { /* the loop turns, and nothing settles that was not taken */
        event_base_loop(rig.base, EVLOOP_NONBLOCK);
    }
    cr_assert_eq(rig.settled, 0);
    cr_assert_eq(fcntl(rig.reads, F_SETFL, O_NONBLOCK), 0);
    Text found = TEXT_EMPTY;
    WAIT(read_some(&found) && rig.settled == 1);
    (void)read_some(&found);
    cr_assert_eq(found.data[found.length - 1], '\n');
    cr_assert_not_null(memmem(found.data, found.length, value.data, value.length));
    text_free(&found);
    text_free(&value);
}

Test(stdout_sink, a_relay_that_ends_does_not_wait_for_a_reader, .timeout = 60)
{
    Text value = TEXT_EMPTY;
    Record record = large_record(&value);
    send_one(&record);
    char first = 0;
    cr_assert_eq(read(rig.reads, &first, 1), 1, "it is being written"); /* and end() frees it */
    text_free(&value);
}

static void assert_lost(const char *why)
{
    Record record = {.topic = &topic};
    send_one(&record);
    WAIT(rig.lost == 1);
    cr_assert_eq(rig.loss.code, CODE_STDOUT_FAILED);
    cr_assert_eq(rig.loss.class, ERROR_FATAL);
    cr_assert_not_null(strstr(error_message(&rig.loss), why), "%s", error_message(&rig.loss));
    cr_assert_eq(rig.settled, 0);
}

Test(stdout_sink, what_takes_nothing_is_an_error_that_says_why)
{
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    cr_assert_eq(dup2(full, STDOUT_FILENO), STDOUT_FILENO);
    close(full);
    assert_lost("No space left on device");
}

Test(stdout_sink, a_reader_that_is_gone_is_an_error_that_says_why)
{
    signal(SIGPIPE, SIG_IGN); /* as the relay does */
    close(rig.reads);
    rig.reads = -1;
    assert_lost("Broken pipe");
}

Test(stdout_sink, silence_is_said_of_the_reader)
{
    AUTO_ERROR err = {0};
    rig.sink->ops->silent(rig.sink, 30, &err);
    cr_assert_eq(err.code, CODE_STDOUT_SILENT);
}
