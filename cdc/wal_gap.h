/* wal_gap: a log that cannot be read from our place on, and run --new-slot, which makes the slot
 * again and says what may be missing. */
#pragma once

#include "cdc/wal_context.h"
#include "cdc/wal_progress.h"

typedef struct Gap Gap;

Gap *gap_new(const WalContext *wal, const Progress *progress);
void gap_free(Gap **gap);

/** True when decoding failed for want of the publication: *err says whether it is a gap. */
bool gap_cannot_decode(Gap *gap, Error *err);
/** The log cannot be read from our place on: the source is lost; with --new-slot the next start
 * makes the slot again. */
void gap_lose_log(Gap *gap, const Error *err);
/** What could not be read; NULL: nothing. */
const Error *gap_unreadable(const Gap *gap);

/** A gap may be closed: --new-slot was given, and has not done its work; or the configuration
 * always allows it (snapshot = "when_needed"). */
bool gap_may_close(const Gap *gap);
/** It is about to, with the position that is stored next, or it is not. */
void gap_close(Gap *gap, bool closing);
/** ... which is stored. */
void gap_closed(Gap *gap);
/** --new-slot, and nothing is missing that anybody knows of: to be said, once. */
bool gap_may_say_none(const Gap *gap);
void gap_say_none(Gap *gap);
