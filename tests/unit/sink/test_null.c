#include <criterion/criterion.h>

#include "flow/batch.h"
#include "sink/null.h"
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

TestSuite(null_sink, .init = begin, .fini = end);

static void set_events(void)
{
    sink->events = (SinkEvents){.settled = on_settled, .reopened = on_reopened};
    sink->ops->open(sink);
}

Test(null_sink, it_settles_everything)
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
