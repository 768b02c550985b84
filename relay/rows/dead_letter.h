/* dead_letter: the INSERT that sets an event aside: the event, the record that was refused, why.
 *
 * The event is kept whole and byte for byte. The server copies it from its row, if that is there;
 * else it goes from here, each large value once and as it is. What is shown beside it, the record
 * and the reason, is cut.
 *
 * Column "event" is JSON with every column as text. Values that JSON does not hold well stand
 * apart: longer than DEAD_LETTER_NEAR_BYTES, no UTF-8 (in a database in SQL_ASCII), or of
 * characters that the database does not have. Their names are in event_large (those of header
 * columns begin with "header_columns."), their bytes at the same places of event_large_values: of
 * texts in UTF-8, or as they are in SQL_ASCII. */
#pragma once

#include "base/error.h"
#include "base/vec.h"
#include "config/config.h"
#include "flow/event.h"
#include "flow/record.h"
#include "rows/table.h"

enum {
    DEAD_LETTER_PARAMS = 13, /* and one for each value that stands apart */
    DEAD_LETTER_PARAMS_MAX = DEAD_LETTER_PARAMS + FIELD_COUNT + 64,
    DEAD_LETTER_NEAR_BYTES = 4 * 1024 * 1024,
    /* Of the record, as it is shown. */
    DEAD_LETTER_KEY_BYTES = 64 * 1024,
    DEAD_LETTER_VALUE_BYTES = 1024 * 1024,
    DEAD_LETTER_HEADER_BYTES = 16 * 1024,
};

/* Member of the column "event" that holds the columns of header_columns under their own names; the
 * other members are called as event_field_name says. */
#define DEAD_LETTER_HEADER_COLUMNS "header_columns"

/* Members of an event that came from the WAL and is no copy of its row: where its transaction
 * commits, as PostgreSQL prints a pg_lsn, and a number that grows in it. What has no row is found
 * by them, such as a change. */
#define DEAD_LETTER_LSN     "lsn"
#define DEAD_LETTER_ORDINAL "ordinal"
/* Member of the event of a change that tells which row it is about: oid, schema and table, and in
 * key the texts of its columns. */
#define DEAD_LETTER_ROW "row"

#define DEAD_LETTER_COLUMNS                                                                        \
    "pipeline, seq, event_id, event, topic, record_key, record_value, record_headers,"             \
    " record_timestamp, reason, error_class, error_code, attempts, event_large,"                   \
    " event_large_values, event_whole"

typedef struct DeadLetter {
    bool ascii_only;
    bool takes_bytes;
    bool foreign;
    char *sql;
    int count; /* of parameters */
    const char *values[DEAD_LETTER_PARAMS_MAX];
    int lengths[DEAD_LETTER_PARAMS_MAX];
    int formats[DEAD_LETTER_PARAMS_MAX];
    char *owned[DEAD_LETTER_PARAMS_MAX];
    /* Of those that stand apart. */
    char *names[DEAD_LETTER_PARAMS_MAX];
    bool hex[DEAD_LETTER_PARAMS_MAX]; /* a bytea as text */
    bool whole;                       /* event_whole */
} DeadLetter;

/** Whether the event's row can be copied by dead_letter_build_copy, if it is still there. */
bool dead_letter_has_row(const Event *event, const OutboxTable *outbox, bool takes_bytes);

/** An INSERT ... SELECT from the event's row, by seq and event id: no row is written when it is not
 * there. Otherwise as dead_letter_build. */
void dead_letter_build_copy(DeadLetter *letter, const char *table, const OutboxTable *outbox,
                            const Event *event, const Record *record, const Error *reason);

/** Builds the statement with its parameters, from the bytes of the event. Borrows the bytes of
 * event and record until dead_letter_release. table is the name as SQL. An event of which values
 * never came is marked: event_whole is false.
 *
 * The columns of type text and jsonb hold valid UTF-8: what is none, and NUL, is U+FFFD there; key
 * and value, which are bytea, keep their bytes. letter->ascii_only, set before: the database is
 * encoded otherwise, so what did not come from it as text (reason, headers) has "?" for what is not
 * ASCII. letter->takes_bytes, set before: it is in SQL_ASCII. letter->foreign, set before: a
 * message may have characters that it lacks: what is not ASCII stands apart. */
void dead_letter_build(DeadLetter *letter, const char *table, const PipelineConfig *pipeline,
                       const Event *event, const Record *record, const Error *reason);
void dead_letter_release(DeadLetter *letter);

/* Letters that the server copies by one statement: all of them, or none and it fails. */
typedef struct DeadLetterGroup {
    bool ascii_only; /* as of a letter */
    bool takes_bytes;
    VEC(DeadLetter) letters;
    char *sql;
    int param_count;
    const char **values;
    int *lengths;
    int *formats;
} DeadLetterGroup;

/** One more letter, of an event for which dead_letter_has_row(); borrows as dead_letter_build. */
void dead_letter_group_add(DeadLetterGroup *group, const PipelineConfig *pipeline,
                           const Event *event, const Record *record, const Error *reason);

/** Builds the statement: it brings one row, or fails. Letters are stored in their order. */
void dead_letter_group_build(DeadLetterGroup *group, const char *table, const OutboxTable *outbox);
void dead_letter_group_release(DeadLetterGroup *group);
