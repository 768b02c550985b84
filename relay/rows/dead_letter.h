/* dead_letter: the INSERT that sets an event aside: the event, the record that was refused, why. */
#pragma once

#include "base/error.h"
#include "config/config.h"
#include "flow/event.h"
#include "flow/record.h"

enum { DEAD_LETTER_PARAMS = 13 };

/* Member of the column "event" that holds the columns of header_columns under their own names; the
 * other members are called as event_field_name says. */
#define DEAD_LETTER_HEADER_COLUMNS "header_columns"

typedef struct DeadLetter {
    bool ascii_only;
    char *sql;
    const char *values[DEAD_LETTER_PARAMS];
    int lengths[DEAD_LETTER_PARAMS];
    int formats[DEAD_LETTER_PARAMS];
    char *owned[DEAD_LETTER_PARAMS];
} DeadLetter;

/** Builds the statement with its parameters. Borrows the bytes of event and record until
 * dead_letter_release. table is the name as SQL.
 *
 * The columns of type text and jsonb hold valid UTF-8: what is none, and NUL, is U+FFFD there; key
 * and value, which are bytea, keep their bytes. letter->ascii_only, set before: the database is
 * encoded otherwise, so what did not come from it as text (reason, headers) has "?" for what is not
 * ASCII. */
void dead_letter_build(DeadLetter *letter, const char *table, const PipelineConfig *pipeline,
                       const Event *event, const Record *record, const Error *reason);
void dead_letter_release(DeadLetter *letter);
