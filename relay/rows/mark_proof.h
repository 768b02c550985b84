/* mark_proof: the row that proves the history: where it is, and whether it is ours still.
 *
 * Each mark, and each position, raises its count in the same transaction, and writes nothing unless
 * the row is where it was, with our generation (rows/history.h). Where a statement wrote nothing,
 * the row is looked for by its key. */
#pragma once

#include "rows/mark_sql.h"
#include "rows/marker_line.h"

typedef struct MarkProof MarkProof;

/** replaced: the row is ours, and another table has the name. */
MarkProof *proof_new(MarkerLine *line, void *arg, void (*replaced)(void *arg));
void proof_free(MarkProof **proof);

void proof_begin(MarkProof *proof, const MarkerSession *session);
/** The statements are about another name, or another table: what wrote nothing counts anew. */
void proof_renamed(MarkProof *proof);

const char *proof_table(const MarkProof *proof);
const char *proof_key(const MarkProof *proof);
/** Where it is; NULL: it was not claimed. */
const char *proof_ctid(const MarkProof *proof);
/** Somebody of ours has written to it: it is there now. */
void proof_moved(MarkProof *proof, const char *ctid);

/** A statement is sent ... */
void proof_sent(MarkProof *proof);
/** ... and will move the row there, if it is committed; NULL: nothing is known of one. */
void proof_will_move(MarkProof *proof, const char *ctid);
void proof_committed(MarkProof *proof);
/** It wrote nothing: it failed (err), or the row is not where it was. False: that happens in a
 * circle, and the connection is lost. */
bool proof_failed(MarkProof *proof, const Error *err);

/** The row is to be looked for before the next statement ... */
bool proof_is_lost(const MarkProof *proof);
/** ... by its key. */
void proof_find(MarkProof *proof, const MarkSql *sql);
