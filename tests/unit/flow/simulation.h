/* simulation: a pipeline between models of an outbox table, a broker's log and a dead-letter table.
 * The models check what the pipeline does to them; simulation_deeds.c is what can
 * happen to it, and test_pipeline_simulation.c what must be true in the end. */
#pragma once

#include <criterion/criterion.h>
#include <stdio.h>

#include "flow/pipeline_internal.h"
#include "stub/given.h"
#include "stub/random.h"

enum {
    ROWS = 400,
    KEYS = 9,
    TOPICS = 3,
    LOG_MAX = ROWS * 60,
};

/* REFUSED: the broker says so, by itself; LARGE: the sink knows. */
typedef enum RowKind { ROW_GOOD, ROW_REFUSED, ROW_UNENCODABLE, ROW_LARGE, ROW_UNROUTED } RowKind;
typedef enum RowPlace {
    ROW_HIDDEN,
    ROW_IDLE,
    ROW_IN_FLIGHT,
    ROW_PARKED, /* read, and remembered by the source: its topic is missing */
    ROW_UNMARKED,
    ROW_MARKED
} RowPlace;

typedef struct Row {
    size_t key;
    RowKind kind;
    RowPlace place;
    bool acknowledged; /* the broker told so */
    bool aside;        /* the dead letter is committed */
} Row;

typedef enum Phase { PHASE_QUEUED, PHASE_REQUEST, PHASE_WRITTEN, PHASE_PURGING } Phase;

typedef struct Held {
    Event *event;
    size_t topic;
    Phase phase;
    bool written; /* queued again after the connection broke: the broker knows it, we do not */
} Held;

typedef enum SourceState {
    SOURCE_LOST,
    SOURCE_DELAYED,
    SOURCE_STANDBY,
    SOURCE_LOCKED,
    SOURCE_RESUMED,
    SOURCE_ACTIVE
} SourceState;

typedef struct Simulation {
    uint64_t seed;
    Random random;
    bool calm; /* nothing fails any more */
    Row rows[ROWS];
    struct event_base *base;
    Metrics *metrics;
    Stats stats;
    PipelineConfig config;
    Pipeline *pipeline;
    bool ended;
    /* The source. */
    Source source;
    Letters letters;
    SourceState state;
    bool lease;
    bool draining;
    bool paused;   /* or not known yet whether it is */
    bool begun;    /* published or stood by: from then on the watch judges, not the source */
    bool broken;   /* a precondition */
    bool rejected; /* no mark passes: somebody's trigger */
    bool may_park;
    bool hole;      /* an event came back unsettled: nothing behind it may wait in its row */
    bool rereading; /* as soon as every row is back and everything acknowledged is marked */
    uint64_t next_position;
    uint64_t last_acked;
    Event *asides[ROWS];
    size_t aside_count;
    /* The sink. */
    Sink sink;
    Held held[ROWS];
    size_t held_count;
    bool may_purge;          /* there is a reason: order, or another relay */
    bool purging;            /* until the next send: nothing leaves */
    bool held_back;          /* nothing leaves, nothing is given up */
    bool zombie;             /* the lease is over: nothing may leave */
    bool others;             /* somebody else published since, or the server is another */
    uint32_t requests;       /* refused */
    uint32_t request_events; /* in the last of them */
    bool lost;
    bool reopening;
    bool owes_ready;
    bool troubled;
    bool absent[TOPICS]; /* the topic is missing */
    bool told[TOPICS];   /* ... and the sink knows */
    /* The encoder. */
    bool encoder_waits; /* now and then */
    bool encoder_owes;  /* `ready` */
    size_t encoder_waited;
    Encoder encoder;
    bool reloaded;     /* another configuration was there, once */
    size_t boundaries; /* at which another configuration was taken */
    /* The broker. */
    int64_t log[LOG_MAX];
    size_t log_count;
    size_t repeats_excused; /* a producer or a process was lost so often */
} Simulation;

extern Simulation sim;

#define SIM_ASSERT(condition, ...)                                                                 \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "OUTBOXD_SEED=%llu: ", (unsigned long long)sim.seed);                  \
            fprintf(stderr, __VA_ARGS__);                                                          \
            fputc('\n', stderr);                                                                   \
            cr_assert_fail(#condition);                                                            \
        }                                                                                          \
    } while (0)

bool chance(size_t percent);
size_t below(size_t bound);
Row *row_of(const Event *event);
Error sim_error(ErrorClass class, ErrorCode code);

/** Rows that are acknowledged and not marked. */
size_t source_unmarked(const Source *source);

/** The source begins anew, if every row is back and marked. */
void source_read_again(void);

/** Takes the event out of the sink and reports it; err == NULL: the broker acknowledged. */
void settle(size_t index, const Error *err);

/** The first that the sink holds in this phase; topic TOPICS: of any. */
bool find_held(Phase phase, size_t topic, size_t *ret_index);

/** Turns the loop until nothing is active. */
void turn(void);

/** One thing that happens, by chance, and what follows from it. */
void simulation_step(void);

void process_begin(void);

/** Ends the process at any moment: what only memory knew is gone. */
void process_end(void);
