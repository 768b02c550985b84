#include <criterion/criterion.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

#include "flow/batch.h"
#include "sink/plain.h"
#include "stub/given_schema.h"

static Sink *sink;
static Batch *batch;
static Event *event;
static Topic topic = {.name = (char *)"orders.events"};
static size_t settled;
static size_t reopened;

static void on_settled(void *arg, Event *sent, const SinkReport *report)
{
    (void)arg;
    cr_assert_eq(sent, event);
    cr_assert_null(report);
    settled++;
}

static void on_reopened(void *arg)
{
    (void)arg;
    reopened++;
}

static void begin(void)
{
    batch = batch_new();
    event = batch_add(batch, given_schema(0));
}

static void end(void)
{
    sink->ops->free(sink);
    batch_free(&batch);
}

TestSuite(plain, .init = begin, .fini = end);

static void set_events(void)
{
    sink->events = (SinkEvents){.settled = on_settled, .reopened = on_reopened};
    sink->ops->open(sink);
}

Test(plain, the_null_sink_settles_everything)
{
    (void)sink_null_new(NULL, &sink, NULL);
    set_events();
    Record record = {.topic = &topic};
    AUTO_ERROR err = {0};
    cr_assert_eq(sink->ops->send(sink, &record, event, &err), SEND_OK);
    cr_assert_eq(settled, 1);
    sink->ops->purge(sink);
    cr_assert_eq(settled, 1);
    sink->ops->reopen(sink);
    cr_assert_eq(reopened, 1);
}

/* Sends with stdout in a file; returns what was written. */
static SendResult send_to_file(const Record *record, char *line, size_t size, Error *err)
{
    FILE *file = tmpfile();
    cr_assert_not_null(file);
    (void)fflush(stdout);
    int saved = dup(STDOUT_FILENO);
    dup2(fileno(file), STDOUT_FILENO);
    SendResult result = sink->ops->send(sink, record, event, err);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    rewind(file);
    size_t length = fread(line, 1, size - 1, file);
    line[length] = '\0';
    (void)fclose(file);
    return result;
}

Test(plain, stdout_gets_one_json_line_for_each_record)
{
    (void)sink_stdout_new(NULL, &sink, NULL);
    set_events();
    RecordHeader headers[] = {{SLICE_LITERAL("a"), SLICE_LITERAL("x\ny")},
                              {SLICE_LITERAL("b"), SLICE_NULL}};
    Record record = {.topic = &topic,
                     .key = SLICE_LITERAL("o-7"),
                     .value = SLICE_LITERAL("{\"total\": 1}"),
                     .headers = headers,
                     .header_count = 2,
                     .timestamp_ms = 1500};
    char line[1000];
    AUTO_ERROR err = {0};
    cr_assert_eq(send_to_file(&record, line, sizeof(line), &err), SEND_OK);
    cr_assert_eq(settled, 1);
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

Test(plain, a_stdout_that_takes_nothing_is_an_error)
{
    (void)sink_stdout_new(NULL, &sink, NULL);
    set_events();
    (void)fflush(stdout);
    FILE *full = fopen("/dev/full", "w");
    cr_assert_not_null(full);
    int saved = dup(STDOUT_FILENO);
    dup2(fileno(full), STDOUT_FILENO);
    Record record = {.topic = &topic};
    AUTO_ERROR err = {0};
    SendResult result = sink->ops->send(sink, &record, event, &err);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    (void)fclose(full);
    clearerr(stdout);
    cr_assert_eq(result, SEND_POISON);
    cr_assert_eq(err.class, ERROR_FATAL);
    cr_assert_eq(settled, 0);
}
