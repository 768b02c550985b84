/* wal_verify: up to where the preconditions are known to have held. No stored position passes that.
 */
#pragma once

#include "cdc/wal_position.h"

typedef struct Verify Verify;

Verify *verify_new(const WalContext *wal, const Progress *progress, PositionRow *row);
void verify_free(Verify **verify);

/** At the start. stored: the position that was reached with the publication `then` ("": not
 * known); changed: that is another one now. mapped: of captured tables, what is noted of them. */
void verify_begin(Verify *verify, uint64_t stored, const char *then, bool changed,
                  const Mapped *mapped);
/** Of the publication that the position is reached with: for whoever stores it ... */
const char *verify_identity(const Verify *verify);
/** ... which was done, so it needs no write of its own. */
void verify_stored(Verify *verify);
/** Nothing may be read before a filling has compared the table with the log. */
bool verify_must_prove(const Verify *verify);
/** What the publication is now is what it was when the position was reached. */
void verify_adopt(Verify *verify);

/** The marker begins again. */
void verify_start_marker(Verify *verify);
/** Everything up to `acked` is acknowledged: what of that may be stored. */
MarkerPosition verify_cap(const Verify *verify, const MarkerPosition *acked);
/** The marker was given this position with what was acknowledged before it: a look has nothing to
 * add. */
void verify_pushed(Verify *verify, const MarkerPosition *position);
/** What may be stored is given to the marker, unless it was. */
void verify_push(Verify *verify, bool at_once);

/** A good look, taken at wal_end. */
void verify_take(Verify *verify, uint64_t wal_end, const char *identity);
/** Takes that look. False: the publication is another one, and the stream was left. */
bool verify_same_publication(Verify *verify);
/** True: a last look is under way, and the stop waits for it. */
bool verify_last(Verify *verify);
/** Does what is due. */
void verify_go_on(Verify *verify);
