/* change_reader: what the log tells of ordinary tables -> events that are records of Debezium's
 * form already (flow/made.h).
 *
 * A change is up to three records: a delete is followed by its tombstone, a key that changes makes
 * a delete, a tombstone and a create. Each is an event, and its ordinal is CHANGE_PARTS times the
 * number of the change in its transaction, and its place among them: changes are counted before
 * anything is left out, so that the ordinal is the same in every mode and after every restart.
 *
 * The records of a change stay together in one batch; a position may stand between them. */
#pragma once

#include "cdc/assemble.h"
#include "cdc/captured.h"
#include "cdc/read_transaction.h"
#include "cdc/reselect.h"
#include "change/change_event.h"

enum { CHANGE_PARTS = 4 };

typedef struct ChangeReader ChangeReader;

extern const LogReader CHANGE_READER;

/** Events are of this schema (schema_of_made). */
ChangeReader *change_reader_new(const PipelineConfig *pipeline, const Schema *schema,
                                Metrics *metrics);
void change_reader_free(ChangeReader **reader);
/** Changes of which values are missing go there; borrowed. NULL: placeholders stand for them. */
void change_reader_reselect(ChangeReader *reader, Reselect *reselect);
/** Connected to this database, before the first stream. */
void change_reader_begin(ChangeReader *reader, const char *database);
Captured *change_reader_captured(ChangeReader *reader);
/** The transaction that is read, and those that were read last. */
const ReadTransaction *change_reader_transaction(const ChangeReader *reader);
/** What makes its records; NULL before change_reader_begin(). */
ChangeEvents *change_reader_events(ChangeReader *reader);
/** The relation of an insert, update or delete; 0: it is none. */
uint32_t change_reader_relation(Slice message);
/** Adds a heartbeat to the batch that is being filled. */
void change_reader_beat(ChangeReader *reader, Assembler *assembler);
