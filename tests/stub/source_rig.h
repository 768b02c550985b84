/* source_rig: the pipeline that a source of any capture hands its batches to, played. It counts
 * what it is told and keeps the batches, oldest first, until the test gives them back. The server
 * is the test's (libpq.h); what a batch means for its rows the rig of the capture notes in `came`
 * and `went`. */
#pragma once

#include <criterion/criterion.h>
#include <event2/event.h>

#include "claim/claim.h"
#include "stub/given.h"

enum { SOURCE_RIG_BATCHES = 2000 };

typedef struct SourceRig {
    struct event_base *base;
    Worker *worker;
    struct event *worker_io;
    Config config;
    PipelineConfig pipeline;
    Metrics *metrics;
    Stats stats;
    Source *source;
    Batch *batches[SOURCE_RIG_BATCHES]; /* not given back, oldest first */
    size_t batch_count;
    void (*came)(const Batch *batch); /* is handed on */
    void (*went)(const Batch *batch); /* is given back */
    void (*parted)(void);             /* the source stands by, or is lost; NULL: not wanted */
    size_t room_events;
    size_t room_bytes;
    bool keep_waiting; /* resume() is the test's */
    size_t locked;
    size_t active;
    size_t standby;
    char holder[160];
    size_t progress;
    size_t doubts;
    size_t refusals; /* that the pipeline heard of */
    size_t accepted; /* ... and the ends of them */
    size_t rereads;  /* that the source asked for */
    size_t asides;
    size_t asides_refused;
    size_t lost;
    size_t drained;
    Error error; /* of the last loss */
} SourceRig;

typedef Status (*SourceRigMake)(const SourceOptions *options, Source **ret_source, Error *err);

/** A configuration of defaults, and much room. */
SourceRig source_rig_of(void);
/** Makes the source and starts it. */
void source_rig_begin(SourceRig *rig, SourceRigMake make);
/** Frees what is left, batches included. */
/** The event becomes a dead letter. */
void source_rig_set_aside(SourceRig *rig, Event *event, const Record *record, const Error *reason);

void source_rig_end(SourceRig *rig);
void source_rig_turn(SourceRig *rig);
Batch *source_rig_take_oldest(SourceRig *rig);
void source_rig_give_back(SourceRig *rig, Batch *batch);
/** As the pipeline after `lost`: gives everything back and starts again. */
void source_rig_restart(SourceRig *rig);
