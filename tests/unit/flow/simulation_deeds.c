/* What the outside does: each deed returns after one thing, or at once when it is not its turn. */
#include <string.h>

#include "simulation.h"
#include "stub/given_schema.h"

static void do_insert(void)
{
    size_t key = below(KEYS); /* of one key in order; keys commit as they like */
    for (size_t i = 0; i < ROWS; i++) {
        if (sim.rows[i].key == key && sim.rows[i].place == ROW_HIDDEN) {
            sim.rows[i].place = ROW_IDLE;
            return;
        }
    }
}

static void do_connect(void)
{
    if (sim.state == SOURCE_DELAYED || sim.state == SOURCE_STANDBY) {
        if (!sim.calm && chance(20)) {
            sim.state = SOURCE_STANDBY;
            sim.begun = true;
            sim.may_purge = sim.others = true;
            sim.source.events.standby(sim.source.events.arg, "another");
        } else {
            sim.state = SOURCE_LOCKED;
            bool knows = chance(70); /* there is a row of ours that tells */
            sim.source.proof = sim.others && (knows || !sim.zombie) ? PROOF_OTHERS
                               : knows                              ? PROOF_ALONE
                                                                    : PROOF_NONE;
            sim.may_purge |= sim.others || (!knows && sim.zombie);
            sim.zombie = sim.others = false;
            sim.source.events.locked(sim.source.events.arg);
        }
    } else if (sim.state == SOURCE_RESUMED) {
        sim.state = SOURCE_ACTIVE;
        sim.begun = true;
        sim.lease = true;
        sim.source.events.active(sim.source.events.arg);
    }
}

static void do_lose_source(void)
{
    if (sim.state != SOURCE_LOST) {
        AUTO_ERROR err = sim_error(ERROR_RETRY, CODE_POSTGRES_SHUTDOWN);
        sim.source.lease_over = sim.state == SOURCE_ACTIVE && !sim.lease && chance(50);
        sim.zombie |= sim.source.lease_over;
        sim.state = SOURCE_LOST;
        sim.lease = false;
        sim.rejected = false; /* it says so again once it is connected */
        sim.aside_count = 0;
        sim.source.events.lost(sim.source.events.arg, &err);
    }
}

/* The lease runs out while the source is not there. */
static void do_end_lease(void)
{
    Pipeline *p = sim.pipeline;
    bool out = sim.state == SOURCE_LOST || sim.state == SOURCE_DELAYED;
    if (out && machine_shown(p->machine->state) == PIPELINE_REWINDING &&
        event_pending(p->outlet->settle, EV_TIMEOUT, NULL)) {
        event_del(p->outlet->settle);
        sim.zombie = true;
        pipeline_time_is_up(p);
    }
}

/* The server comes back as it was a while ago: rows are not marked any more. */
static void do_swap_server(void)
{
    if (sim.state != SOURCE_LOST && sim.state != SOURCE_DELAYED) {
        return;
    }
    sim.others = true;
    for (size_t i = 0; i < ROWS; i++) {
        if ((sim.rows[i].place == ROW_UNMARKED || sim.rows[i].place == ROW_MARKED) && chance(10)) {
            sim.rows[i].place = ROW_IDLE;
            sim.repeats_excused++;
        }
    }
}

static void do_revoke(void)
{
    sim.lease = false; /* found out by the next may_publish, or by do_lose_source */
}

static void do_resume(void)
{
    sim.paused = false;
    pipeline_pause(sim.pipeline, false);
}

static void do_pause(void)
{
    sim.paused = true;
    pipeline_pause(sim.pipeline, true);
}

/* Somebody reloads the configuration; process_begin() has what must be true when it is taken. */
static void do_change(void)
{
    sim.reloaded = true;
    pipeline_change(sim.pipeline, chance(90));
}

/* The watch finds a precondition broken, or mended; often the same again. */
static void do_break_precondition(void)
{
    AUTO_ERROR err =
        sim_error(ERROR_FATAL, chance(50) ? CODE_PUBLICATION_INCOMPLETE : CODE_ROW_SECURITY);
    sim.broken = sim.begun;
    pipeline_set_broken(sim.pipeline, &err);
}

static void do_mend(void)
{
    sim.broken = false;
    pipeline_set_broken(sim.pipeline, NULL);
}

/* The server refuses a statement of the source's, on a connection that is fine; or takes it again.
 */
static void do_refuse(void)
{
    if (sim.state == SOURCE_ACTIVE) {
        AUTO_ERROR err = sim_error(ERROR_FATAL, CODE_POSTGRES_PRIVILEGE);
        sim.source.events.refused(sim.source.events.arg, &err);
    }
}

/* A trigger of somebody's refuses the marks. */
static void do_reject(void)
{
    if (sim.state == SOURCE_ACTIVE) {
        AUTO_ERROR err = sim_error(ERROR_RETRY, CODE_MARK_REJECTED);
        sim.rejected = true;
        sim.source.events.refused(sim.source.events.arg, &err);
    }
}

static void do_accept(void)
{
    if (sim.state == SOURCE_ACTIVE) {
        sim.rejected = false;
        sim.source.events.refused(sim.source.events.arg, NULL);
    }
}

static void do_fetch(void)
{
    size_t room = 0;
    size_t bytes = 0;
    if (sim.paused || sim.broken || sim.rejected) {
        SIM_ASSERT(!sim.source.events.room(sim.source.events.arg, source_unmarked(&sim.source),
                                           &room, &bytes),
                   "reads while %s",
                   sim.paused   ? "paused"
                   : sim.broken ? "a precondition is broken"
                                : "marks are rejected");
        return;
    }
    if (sim.rereading) {
        source_read_again();
    }
    if (sim.state != SOURCE_ACTIVE || !sim.lease || sim.draining || sim.rereading ||
        !sim.source.events.room(sim.source.events.arg, source_unmarked(&sim.source), &room,
                                &bytes)) {
        return;
    }
    static const Slice TOPIC_NAMES[TOPICS] = {SLICE_LITERAL("t0"), SLICE_LITERAL("t1"),
                                              SLICE_LITERAL("t2")};
    size_t limit = 1 + below(room < 30 ? room : 30);
    Batch *batch = batch_new();
    batch->position = ++sim.next_position;
    for (int64_t i = 0; i < ROWS && batch->count < limit; i++) {
        Row *row = &sim.rows[i];
        if (row->place == ROW_IDLE) {
            Event *event = batch_add(batch, given_schema(0));
            event->seq = i;
            event->row[FIELD_AGGREGATE_TYPE] = TOPIC_NAMES[row->key % TOPICS];
            event->row[FIELD_EVENT_TYPE] =
                row->kind == ROW_UNROUTED ? SLICE_LITERAL("other") : SLICE_LITERAL("order");
            batch->bytes += 10;
            row->place = ROW_IN_FLIGHT;
        }
    }
    if (batch->count > 0) {
        sim.source.events.batch(sim.source.events.arg, batch);
    } else {
        batch_free(&batch);
    }
}

static void do_mark(void)
{
    if (sim.state != SOURCE_ACTIVE || sim.rejected) {
        return;
    }
    for (size_t i = 0, count = 1 + below(20); i < ROWS && count > 0; i++) {
        if (sim.rows[i].place == ROW_UNMARKED) {
            sim.rows[i].place = ROW_MARKED;
            count--;
        }
    }
    sim.source.events.progress(sim.source.events.arg);
}

static void do_aside(void)
{
    if (sim.state == SOURCE_ACTIVE && sim.aside_count > 0) {
        Event *event = sim.asides[0];
        sim.aside_count--;
        memmove(sim.asides, sim.asides + 1, sim.aside_count * sizeof(Event *));
        if (!sim.calm && chance(20)) {
            AUTO_ERROR err = sim_error(ERROR_FATAL, CODE_POSTGRES_PRIVILEGE);
            sim.letters.events.settled(sim.letters.events.arg, event, CODE_RECORD_REFUSED, &err);
            return;
        }
        row_of(event)->aside = true;
        sim.letters.events.settled(sim.letters.events.arg, event, CODE_RECORD_REFUSED, NULL);
    }
}

static void do_drained(void)
{
    if (sim.draining && sim.state != SOURCE_LOST && sim.aside_count == 0 &&
        source_unmarked(NULL) == 0) {
        sim.state = SOURCE_LOST;
        sim.source.events.drained(sim.source.events.arg);
    }
}

static void held_write(Held *held)
{
    SIM_ASSERT(sim.log_count < LOG_MAX, "the log is full of repeats");
    sim.log[sim.log_count++] = held->event->seq;
    held->phase = PHASE_WRITTEN;
}

/* One request: some records of one topic. The broker takes all of them or none. */
static void do_write(void)
{
    size_t topic = below(TOPICS);
    size_t size = 1 + below(8);
    size_t index = 0;
    bool refused = false;
    if (sim.lost || sim.held_back || !find_held(PHASE_QUEUED, topic, &index)) {
        return;
    }
    SIM_ASSERT(!sim.zombie && !sim.purging, "%lld leaves without the right",
               (long long)sim.held[index].event->seq);
    if (sim.held[index].written) {
        sim.held[index].phase = PHASE_WRITTEN; /* the broker sees that it has it already */
        return;
    }
    for (size_t count = 0; count < size && find_held(PHASE_QUEUED, topic, &index); count++) {
        sim.held[index].phase = PHASE_REQUEST; /* not the purge's any more */
        refused |= row_of(sim.held[index].event)->kind == ROW_REFUSED;
    }
    AUTO_ERROR err = sim_error(ERROR_POISON, CODE_RECORD_REFUSED);
    uint32_t count = 0;
    for (size_t i = 0; i < sim.held_count; i++) {
        count += sim.held[i].phase == PHASE_REQUEST;
    }
    sim.requests += refused;
    sim.request_events = count;
    while (find_held(PHASE_REQUEST, topic, &index)) {
        if (refused) {
            settle(index, &err);
        } else {
            held_write(&sim.held[index]);
        }
    }
}

static void do_report(void)
{
    size_t index = 0;
    for (size_t i = 0, count = 1 + below(10); i < count; i++) {
        if (!sim.lost && find_held(PHASE_WRITTEN, below(TOPICS), &index)) {
            settle(index, NULL);
        }
    }
}

static void do_purged(void)
{
    AUTO_ERROR purged = sim_error(ERROR_RETRY, CODE_SINK_PURGED);
    size_t index = 0;
    if (!sim.lost && find_held(PHASE_PURGING, TOPICS, &index)) {
        settle(index, &purged);
    }
}

/* The connection breaks: what was not reported yet is queued again, as a retry. */
static void do_break(void)
{
    for (size_t i = 0; i < sim.held_count; i++) {
        if (sim.held[i].phase == PHASE_WRITTEN) {
            sim.held[i].phase = sim.purging ? PHASE_PURGING : PHASE_QUEUED;
            sim.held[i].written = true;
            sim.repeats_excused += sim.purging;
        }
    }
}

/* A topic is denied, or gone: nothing that was not written is accepted. */
static void do_fail_topic(void)
{
    AUTO_ERROR err =
        sim_error(ERROR_RETRY, chance(50) ? CODE_KAFKA_TOPIC_DENIED : CODE_KAFKA_TOPIC_UNKNOWN);
    size_t topic = below(TOPICS);
    size_t index = 0;
    while (!sim.lost && find_held(PHASE_QUEUED, topic, &index)) {
        sim.repeats_excused += sim.held[index].written;
        settle(index, &err);
    }
}

/* A topic is deleted: what the sink holds of it comes back, and it takes no more. */
static void do_delete_topic(void)
{
    size_t topic = below(TOPICS);
    size_t index = 0;
    AUTO_ERROR err = sim_error(ERROR_RETRY, CODE_KAFKA_TOPIC_UNKNOWN);
    sim.absent[topic] = true;
    while (!sim.lost && find_held(PHASE_QUEUED, topic, &index)) {
        sim.repeats_excused += sim.held[index].written;
        settle(index, &err);
    }
}

static Topic *topic_named(size_t number)
{
    char name[8];
    Topic *topic = NULL;
    (void)snprintf(name, sizeof(name), "t%zu", number);
    cr_assert_eq(topics_get(sim.pipeline->parts->topics, slice_of(name), &topic, NULL), OK);
    return topic;
}

/* A look-up: the topic is missing still, or it was made (again). */
static void do_look_up(void)
{
    size_t topic = below(TOPICS);
    if (sim.absent[topic] && !sim.calm && chance(60)) {
        AUTO_ERROR err = sim_error(ERROR_RETRY, CODE_KAFKA_TOPIC_UNKNOWN);
        sim.sink.events.missing(sim.sink.events.arg, topic_named(topic), TOPIC_ABSENT, &err);
        sim.told[topic] = true;
        return;
    }
    sim.absent[topic] = false;
    if (sim.told[topic]) {
        sim.told[topic] = false;
        sim.pipeline->waiting->reread_at_us = 0; /* nobody waits for the clock */
        sim.sink.events.found(sim.sink.events.arg, topic_named(topic));
    }
}

static bool row_is_held_back(const Row *row)
{
    return row->kind == ROW_UNROUTED ? sim.config.route.on_unrouted == ON_UNROUTED_STOP
                                     : sim.config.on_poison == ON_POISON_STOP;
}

/* Somebody corrects a row that cannot be published; the source may see that. */
static void do_correct(void)
{
    size_t from = below(ROWS);
    for (size_t i = 0; i < ROWS; i++) {
        size_t at = (from + i) % ROWS;
        Row *row = &sim.rows[at];
        if (row->kind == ROW_GOOD || row->place == ROW_HIDDEN || !row_is_held_back(row)) {
            continue;
        }
        EventRow at_row = {.seq = (int64_t)at, .id = event_id_hash(SLICE_NULL)};
        sim.source.events.row_looks(sim.source.events.arg, at_row, 2);
        row->kind = ROW_GOOD;
        sim.pipeline->waiting->reread_at_us = 0; /* nobody waits for the clock */
        sim.source.events.row_looks(sim.source.events.arg, at_row, 3);
        pipeline_reread_when_due(sim.pipeline);
        return;
    }
}

/* Time passes: what is held by a row is tried again. */
static void do_try(void)
{
    sim.pipeline->waiting->reread_at_us = 0;
    pipeline_watch_held_rows(sim.pipeline, INT64_MAX / 2);
    pipeline_reread_when_due(sim.pipeline);
}

static void do_lose_sink(void)
{
    if (sim.lost || sim.reopening) {
        return;
    }
    size_t index = 0;
    for (size_t topic = 0; topic < TOPICS; topic++) { /* some of it may have been written */
        while (chance(70) && find_held(PHASE_QUEUED, topic, &index) &&
               row_of(sim.held[index].event)->kind == ROW_GOOD && !sim.held[index].written) {
            held_write(&sim.held[index]);
        }
    }
    for (size_t i = 0; i < sim.held_count; i++) {
        sim.repeats_excused += sim.held[i].phase == PHASE_WRITTEN || sim.held[i].written;
    }
    sim.lost = sim.may_purge = true;
    AUTO_ERROR err = sim_error(ERROR_RETRY, CODE_KAFKA_PRODUCER_FATAL);
    sim.sink.events.lost(sim.sink.events.arg, &err);
    SIM_ASSERT(sim.reopening, "a lost producer is not replaced");
}

static void do_reopened(void)
{
    if (sim.reopening) {
        sim.reopening = sim.lost = false;
        sim.held_count = 0;
        sim.sink.events.reopened(sim.sink.events.arg);
    }
}

static void do_ready(void)
{
    if (sim.owes_ready && !sim.lost && !sim.reopening) {
        sim.owes_ready = false;
        sim.sink.events.ready(sim.sink.events.arg);
    }
}

static void do_trouble(void)
{
    AUTO_ERROR err = sim_error(ERROR_RETRY, CODE_KAFKA_UNREACHABLE);
    sim.troubled = true;
    sim.sink.events.trouble(sim.sink.events.arg, &err);
}

static void do_heal(void)
{
    if (sim.troubled) {
        sim.troubled = false;
        sim.sink.events.healed(sim.sink.events.arg);
    }
}

static void do_encoder_ready(void)
{
    if (sim.encoder_owes) {
        sim.encoder_owes = false;
        sim.pipeline->waiting->reread_at_us = 0; /* nobody waits for the clock */
        sim.encoder.events.ready(sim.encoder.events.arg);
    }
}

/* It has not been for long: what waits for it may leave memory. */
static void do_encoder_late(void)
{
    pipeline_watch_encoder(sim.pipeline, INT64_MAX / 2);
}

static void do_stop(void)
{
    pipeline_stop(sim.pipeline);
}

static void do_kill(void)
{
    process_end();
    process_begin();
}

typedef struct Deed {
    void (*act)(void);
    size_t weight;
    bool harm; /* not any more when calm */
} Deed;

static const Deed DEEDS[] = {
    {do_insert, 150, false},     {do_connect, 100, false},
    {do_fetch, 150, false},      {do_mark, 100, false},
    {do_aside, 60, false},       {do_drained, 40, false},
    {do_write, 200, false},      {do_report, 250, false},
    {do_purged, 100, false},     {do_reopened, 60, false},
    {do_ready, 60, false},       {do_heal, 30, false},
    {do_trouble, 6, true},       {do_fail_topic, 8, true},
    {do_lose_source, 10, true},  {do_revoke, 5, true},
    {do_lose_sink, 4, true},     {do_stop, 2, true},
    {do_kill, 1, true},          {do_break, 8, true},
    {do_pause, 4, true},         {do_mend, 30, false},
    {do_refuse, 6, true},        {do_break_precondition, 6, true},
    {do_accept, 20, false},      {do_resume, 20, false},
    {do_end_lease, 20, true},    {do_swap_server, 2, true},
    {do_look_up, 40, false},     {do_delete_topic, 8, true},
    {do_correct, 6, false},      {do_try, 6, false},
    {do_reject, 5, true},        {do_encoder_ready, 60, false},
    {do_encoder_late, 10, true}, {do_change, 5, true},
};

void simulation_step(void)
{
    size_t total = 0;
    for (size_t i = 0; i < sizeof(DEEDS) / sizeof(DEEDS[0]); i++) {
        total += sim.calm && DEEDS[i].harm ? 0 : DEEDS[i].weight;
    }
    size_t pick = below(total);
    for (size_t i = 0; i < sizeof(DEEDS) / sizeof(DEEDS[0]); i++) {
        size_t weight = sim.calm && DEEDS[i].harm ? 0 : DEEDS[i].weight;
        if (pick < weight) {
            DEEDS[i].act();
            break;
        }
        pick -= weight;
    }
    if (!sim.lease && sim.state == SOURCE_ACTIVE && (sim.calm || chance(30))) {
        do_lose_source(); /* a source without its lease says so by itself */
    }
    turn();
    if (sim.ended) {
        do_kill();
        turn();
    }
}
