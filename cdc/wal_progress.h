/* wal_progress: how far the log is acknowledged, and what is out. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "flow/batch.h"
#include "rows/mark_positions.h"

typedef struct Progress Progress;

Progress *progress_new(void);
void progress_free(Progress **progress);

/** Where the stream begins, or will behind what is read from the table. */
uint64_t progress_start(const Progress *progress);
void progress_start_at(Progress *progress, uint64_t lsn);
/** The stream begins: where? What this process knows to be acknowledged is better than what is
 * stored. From here on it knows. */
MarkerPosition progress_begin(Progress *progress, const MarkerPosition *stored);

/** Everything up to there is acknowledged. */
const MarkerPosition *progress_acked(const Progress *progress);
void progress_ack(Progress *progress, const MarkerPosition *position);
/** Nothing is out, and others wrote the log up to there. */
void progress_follow(Progress *progress, uint64_t lsn);
/** What is acknowledged last is the log of others: not worth two writes. */
bool progress_follows(const Progress *progress);

/** It is of this process: better than what the database says. */
bool progress_is_live(const Progress *progress);
/** What is remembered rests on a place that the server refused. */
void progress_distrust(Progress *progress);
bool progress_is_distrusted(const Progress *progress);
/** Nothing of it holds: another history. */
void progress_forget(Progress *progress);

/** A batch went out, or came back. */
void progress_send(Progress *progress, const Batch *batch);
void progress_return(Progress *progress, const Batch *batch);
/** A heartbeat is out. */
bool progress_has_beat(const Progress *progress);
/** Batches that are out, and their events. */
size_t progress_outstanding(const Progress *progress);
size_t progress_outstanding_events(const Progress *progress);
/** A batch came back unsettled: those behind it are not acknowledged. */
void progress_note_hole(Progress *progress);
bool progress_has_hole(const Progress *progress);
/** All came back; the stream brings again what is behind the hole. */
void progress_take_up(Progress *progress);
