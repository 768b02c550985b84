#include "simulation.h"

#include <string.h>

#include "stub/given_schema.h"

enum { TURNS_MAX = 1000 };

Simulation sim;

bool chance(size_t percent)
{
    return random_chance(&sim.random, percent);
}

size_t below(size_t bound)
{
    return random_below(&sim.random, bound);
}

Row *row_of(const Event *event)
{
    return &sim.rows[event->seq];
}

Error sim_error(ErrorClass class, ErrorCode code)
{
    Error err = {0};
    error_set_as(&err, class, EXIT_KAFKA, code, "simulated");
    return err;
}

/* The source. */

static void source_start(Source *source, int64_t delay_ms)
{
    (void)source;
    (void)delay_ms;
    SIM_ASSERT(sim.state == SOURCE_LOST, "started while not lost");
    sim.state = SOURCE_DELAYED;
}

static void forget_parked(void)
{
    sim.rereading = sim.hole = false;
    for (size_t i = 0; i < ROWS; i++) {
        if (sim.rows[i].place == ROW_PARKED) {
            sim.rows[i].place = ROW_IDLE;
        }
    }
}

void source_read_again(void)
{
    for (size_t i = 0; i < ROWS; i++) {
        if (sim.rows[i].place == ROW_IN_FLIGHT || sim.rows[i].place == ROW_UNMARKED) {
            return;
        }
    }
    forget_parked();
}

static void source_resume(Source *source)
{
    (void)source;
    SIM_ASSERT(sim.state == SOURCE_LOCKED, "resumed without the lock");
    for (size_t i = 0; i < ROWS; i++) {
        SIM_ASSERT(sim.rows[i].place != ROW_IN_FLIGHT, "resumed while row %zu is out", i);
    }
    sim.state = SOURCE_RESUMED;
    sim.last_acked = 0;
    forget_parked();
}

static bool source_may_park(const Source *source, const Event *event)
{
    (void)source;
    (void)event;
    return sim.may_park && chance(95);
}

static size_t source_parked(const Source *source)
{
    (void)source;
    size_t count = 0;
    for (size_t i = 0; i < ROWS; i++) {
        count += sim.rows[i].place == ROW_PARKED;
    }
    return count;
}

static void source_reread(Source *source)
{
    (void)source;
    SIM_ASSERT(sim.may_park || sim.reloaded, "read again for nothing");
    sim.rereading = true;
}

static void source_ack(Source *source, Batch *batch)
{
    (void)source;
    SIM_ASSERT(batch->position > sim.last_acked, "batches out of order");
    sim.last_acked = batch->position;
    for (size_t i = 0; i < batch->count; i++) {
        Event *event = batch->events[i];
        Row *row = row_of(event);
        SIM_ASSERT(row->place == ROW_IN_FLIGHT, "row %lld came back twice", (long long)event->seq);
        for (size_t j = 0; j < sim.held_count; j++) {
            SIM_ASSERT(sim.held[j].event != event, "the sink still holds %lld",
                       (long long)event->seq);
        }
        sim.hole |= !event_is_settled(event);
        SIM_ASSERT(!sim.hole || event->state != EVENT_PARKED,
                   "row %lld waits behind one that comes again", (long long)event->seq);
        row->place = event->state == EVENT_PARKED ? ROW_PARKED
                     : event_is_settled(event)    ? ROW_UNMARKED
                                                  : ROW_IDLE;
        bool known =
            event->state == EVENT_PUBLISHED ? row->acknowledged
            : event->state == EVENT_ASIDE   ? row->aside
            : event->state == EVENT_PARKED  ? sim.may_park
            : event->state == EVENT_DROPPED
                ? row->kind == ROW_UNROUTED && sim.config.route.on_unrouted == ON_UNROUTED_DROP
                : true;
        SIM_ASSERT(known, "row %lld is settled (%d) without a reason", (long long)event->seq,
                   event->state);
    }
    batch_free(&batch);
}

static void letters_take(Letters *letters, Event *event, const Record *record, const Error *err)
{
    (void)letters;
    (void)record;
    (void)err;
    SIM_ASSERT(row_of(event)->kind != ROW_GOOD, "row %lld is good", (long long)event->seq);
    SIM_ASSERT(sim.aside_count < ROWS, "set aside too often");
    sim.asides[sim.aside_count++] = event;
}

static bool source_may_publish(Source *source)
{
    (void)source;
    return sim.state == SOURCE_ACTIVE && sim.lease;
}

static void source_wake(Source *source)
{
    (void)source;
}

static void source_drain(Source *source)
{
    (void)source;
    sim.draining = true;
}

size_t source_unmarked(const Source *source)
{
    (void)source;
    size_t count = 0;
    for (size_t i = 0; i < ROWS; i++) {
        count += sim.rows[i].place == ROW_UNMARKED;
    }
    return count;
}

static void source_status(const Source *source, json_t *json)
{
    (void)source;
    (void)json;
}

static void source_free(Source *source)
{
    (void)source;
}

static const SourceOps SOURCE_OPS = {
    .start = source_start,
    .resume = source_resume,
    .ack = source_ack,
    .may_publish = source_may_publish,
    .wake = source_wake,
    .drain = source_drain,
    .unmarked = source_unmarked,
    .may_park = source_may_park,
    .parked = source_parked,
    .reread = source_reread,
    .status = source_status,
    .free = source_free,
};

/* The sink. */

static void sink_nothing(Sink *sink)
{
    (void)sink;
}

static SendResult sink_send(Sink *sink, const Record *record, Event *event, Error *err)
{
    (void)sink;
    SIM_ASSERT(sim.state == SOURCE_ACTIVE && sim.lease, "sent %lld without the right",
               (long long)event->seq);
    SIM_ASSERT(!sim.paused, "sent %lld while paused", (long long)event->seq);
    SIM_ASSERT(!sim.broken, "sent %lld while a precondition is broken", (long long)event->seq);
    SIM_ASSERT(!sim.rejected, "sent %lld while marks are rejected", (long long)event->seq);
    SIM_ASSERT(sim.held_count < ROWS, "sent too much");
    sim.may_purge = sim.purging = sim.held_back = sim.zombie = false;
    if (sim.lost || sim.reopening || (!sim.calm && chance(3))) {
        sim.owes_ready = true;
        return chance(50) ? SEND_FULL : SEND_WAIT;
    }
    size_t topic = (size_t)(record->topic->name[1] - '0');
    if (sim.absent[topic]) {
        sim.told[topic] = true;
        error_set(err, CODE_KAFKA_TOPIC_UNKNOWN, "simulated");
        return SEND_HELD;
    }
    if (row_of(event)->kind == ROW_LARGE) {
        error_set(err, CODE_RECORD_TOO_LARGE, "simulated");
        return SEND_POISON;
    }
    sim.held[sim.held_count++] = (Held){.event = event, .topic = topic};
    return SEND_OK;
}

void settle(size_t index, const Error *err)
{
    Event *event = sim.held[index].event;
    sim.may_purge |= err != NULL; /* what follows it must not overtake it */
    sim.held_count--;
    memmove(sim.held + index, sim.held + index + 1, (sim.held_count - index) * sizeof(Held));
    row_of(event)->acknowledged |= err == NULL;
    SinkVerdict verdict = err == NULL                            ? SINK_FAILED
                          : err->code == CODE_SINK_PURGED        ? SINK_TOOK_BACK
                          : err->code == CODE_KAFKA_TOPIC_DENIED ? SINK_DENIES_TOPIC
                          : err->class == ERROR_POISON           ? SINK_REFUSED
                                                                 : SINK_FAILED;
    SinkReport report = {.verdict = verdict,
                         .error = err,
                         .request = sim.requests,
                         .request_events = sim.request_events};
    sim.sink.events.settled(sim.sink.events.arg, event, err != NULL ? &report : NULL);
}

bool find_held(Phase phase, size_t topic, size_t *ret_index)
{
    for (size_t i = 0; i < sim.held_count; i++) {
        if (sim.held[i].phase == phase && (topic == TOPICS || sim.held[i].topic == topic)) {
            *ret_index = i;
            return true;
        }
    }
    return false;
}

static void sink_purge(Sink *sink)
{
    (void)sink;
    AUTO_ERROR purged = sim_error(ERROR_RETRY, CODE_SINK_PURGED);
    bool later = chance(50);
    sim.purging = true;
    sim.held_back = false;
    for (size_t i = 0; i < sim.held_count; i++) {
        if (sim.held[i].phase == PHASE_QUEUED) {
            bool ends = sim.pipeline->machine->stop_asked && sim.zombie;
            SIM_ASSERT(sim.may_purge || ends, "purged without need");
            sim.held[i].phase = PHASE_PURGING;
            sim.repeats_excused += sim.held[i].written;
        }
    }
    size_t index = 0;
    while (!later && !sim.lost && find_held(PHASE_PURGING, TOPICS, &index)) {
        settle(index, &purged);
    }
}

static void sink_hold(Sink *sink, bool hold)
{
    (void)sink;
    sim.held_back = hold;
}

static void sink_reopen(Sink *sink)
{
    (void)sink;
    sim.reopening = true;
}

static void sink_status(const Sink *sink, json_t *json)
{
    (void)sink;
    (void)json;
}

static bool sink_connected(const Sink *sink)
{
    (void)sink;
    return *sim.stats.broker->kafka_connected > 0;
}

static void sink_silent(const Sink *sink, int seconds, Error *err)
{
    (void)sink;
    error_set(err, CODE_KAFKA_NO_ACKNOWLEDGEMENT, "no acknowledgement from Kafka for %d s",
              seconds);
    (void)error_advise(err);
}

static const SinkOps SINK_OPS = {
    .answers = sink_connected,
    .silent = sink_silent,
    .open = sink_nothing,
    .send = sink_send,
    .flush = sink_nothing,
    .purge = sink_purge,
    .hold = sink_hold,
    .reopen = sink_reopen,
    .status = sink_status,
    .free = sink_nothing,
};

static EncodeResult encoder_encode(Encoder *encoder, const Event *event, Arena *arena,
                                   Record *record, Error *err)
{
    (void)encoder;
    (void)arena;
    (void)record;
    if (sim.encoder_waits && !sim.calm && chance(4)) {
        error_set_as(err, ERROR_RETRY, EXIT_KAFKA, CODE_NOT_BUILT, "simulated");
        sim.encoder_owes = true;
        sim.encoder_waited++;
        return ENCODE_WAIT;
    }
    if (row_of(event)->kind == ROW_UNENCODABLE) {
        error_set(err, CODE_HEADERS_INVALID, "simulated");
        return ENCODE_POISON;
    }
    return ENCODE_OK;
}

static void encoder_free(Encoder *encoder)
{
    (void)encoder;
}

/* One process. */

static void on_ended(void *arg, Pipeline *pipeline)
{
    (void)arg;
    (void)pipeline;
    sim.ended = true;
}

/* Each event was published by one configuration, or goes by the next from its row on. */
static void on_boundary(void *arg, Pipeline *pipeline)
{
    (void)arg;
    Router *router = NULL;
    SIM_ASSERT(sim.held_count == 0 && sim.aside_count == 0, "a boundary with events on their way");
    for (size_t i = 0; i < ROWS; i++) {
        SIM_ASSERT(sim.rows[i].place != ROW_IN_FLIGHT, "row %zu is in memory at a boundary", i);
    }
    cr_assert_eq(router_new(&sim.config, given_schema_of(&sim.config), pipeline->parts->topics,
                            &router, NULL),
                 OK);
    pipeline_make_by(pipeline, router, &sim.encoder);
    sim.boundaries++;
}

void turn(void)
{
    for (int i = 0; i < TURNS_MAX; i++) {
        event_base_loop(sim.base, EVLOOP_NONBLOCK);
        if (event_base_get_num_events(sim.base, EVENT_BASE_COUNT_ACTIVE) == 0) {
            return;
        }
    }
    SIM_ASSERT(false, "the loop spins");
}

void process_begin(void)
{
    sim.encoder = (Encoder){.encode = encoder_encode, .free = encoder_free};
    sim.encoder_owes = false;
    sim.source.ops = &SOURCE_OPS;
    sim.letters = (Letters){.take = letters_take, .of_source = true};
    sim.source.letters = &sim.letters;
    sim.sink.ops = &SINK_OPS;
    sim.state = SOURCE_LOST;
    sim.lease = false;
    sim.may_purge = sim.purging = sim.held_back = sim.zombie = sim.others = false;
    sim.paused = true; /* held */
    sim.begun = sim.broken = sim.rejected = false;
    sim.rereading = false;
    memset(sim.told, 0, sizeof(sim.told));
    sim.draining = sim.ended = sim.lost = sim.reopening = sim.owes_ready = sim.troubled = false;
    sim.aside_count = sim.held_count = 0;
    PipelineParts parts = {.config = &sim.config,
                           .base = sim.base,
                           .source = &sim.source,
                           .sink = &sim.sink,
                           .encoder = &sim.encoder,
                           .topics = topics_new(sim.metrics, "orders"),
                           .stats = &sim.stats,
                           .hold = true,
                           .ended = on_ended,
                           .boundary = on_boundary};
    cr_assert_eq(
        router_new(&sim.config, given_schema_of(&sim.config), parts.topics, &parts.router, NULL),
        OK);
    sim.pipeline = pipeline_new(&parts);
    pipeline_start(sim.pipeline);
}

void process_end(void)
{
    pipeline_free(&sim.pipeline);
    for (size_t i = 0; i < ROWS; i++) {
        if (sim.rows[i].place == ROW_IN_FLIGHT || sim.rows[i].place == ROW_UNMARKED) {
            sim.rows[i].place = ROW_IDLE;
            sim.repeats_excused++;
        }
        if (sim.rows[i].place == ROW_PARKED) {
            sim.rows[i].place = ROW_IDLE;
        }
    }
}
