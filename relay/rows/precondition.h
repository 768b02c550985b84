/* precondition: what must hold of server, table, rights, publication and slot so that nothing is
 * lost and nothing is silent. Each is written once: what it asks, how it is judged, what mends it.
 *
 * Three readers: the start of `run` (the sources, before the first event), the running relay (the
 * watch, every monitor.interval and when something hints at a change), and `outboxd check`. One
 * query for each pipeline; several go in one round trip. It names no table of the user, so that no
 * missing right makes it fail, and asks nothing of the search_path but for an unqualified table.
 *
 * A fact that the answer does not hold is not judged. Any thread; owns what it returns. */
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"
#include "config/config.h"
#include "rows/table.h"

/* What the relay can still make by itself is no fault at its first start. A source that begins
 * again is both: PRECONDITION_START | PRECONDITION_RUNNING. */
typedef enum PreconditionReader {
    PRECONDITION_START = 1 << 0,
    PRECONDITION_RUNNING = 1 << 1,
    PRECONDITION_CHECK = 1 << 2,
} PreconditionReader;

/* One that does not hold. */
typedef struct PreconditionFault {
    bool warning;       /* it will hurt, and does not stop */
    bool first;         /* a warning that is worth something only before the first event */
    bool alarm;         /* a warning that the relay is not ready for as long as it lasts */
    const char *column; /* the one that is missing, of the configuration; NULL: none is */
    Error error; /* FATAL: a human must act; RETRY: may heal by itself. The hint is the remedy. */
} PreconditionFault;

enum { PRECONDITION_NAME_MAX = 264, PRECONDITION_IDENTITY_MAX = 256 };

typedef struct PreconditionLook {
    bool taken;       /* the server answered, and may be believed */
    bool pending;     /* a transaction that is still open, or not yet seen, changes the publication:
                         what holds now may have ended before wal_end */
    uint64_t wal_end; /* insert position of the server from before the look; 0: not told */
    uint32_t absent;  /* columns, as OutboxTable has them */
    uint32_t table_oid;                      /* 0: there is no such table */
    char schema[64];                         /* of the table, not quoted */
    char name[64];                           /* likewise */
    char dead_letter[PRECONDITION_NAME_MAX]; /* as SQL; "": there is none */
    char position[PRECONDITION_NAME_MAX];    /* likewise: outbox.position */
    /* Likewise: of an outbox outbox.publisher, of tables outbox.captured_table. */
    char memory[PRECONDITION_NAME_MAX];
    char migrations[PRECONDITION_NAME_MAX]; /* likewise, if it may be read: outbox.migration */
    /* Of publication and table: differs when one of them was dropped and put back, or changed. */
    char identity[PRECONDITION_IDENTITY_MAX];
    PreconditionFault *faults; /* in the order of the list: the first is the first to mend */
    size_t fault_count;
} PreconditionLook;

/** Appends the statement that says wal_end; it comes before those of precondition_add_query in the
 * same string, so that its value is a lower bound of what they see. */
void precondition_add_wal_end(Text *sql);

/** Appends the statement for one pipeline: one row, with `index` in its column "i". */
void precondition_add_query(const PipelineConfig *pipeline, const OutboxTable *table, size_t index,
                            int server_version, Text *sql);

/** The wal_end of a result; false when it is none of precondition_add_wal_end. */
bool precondition_read_wal_end(const PGresult *result, uint64_t *ret_end);

/** Judges one row of precondition_add_query. reader: bits of PreconditionReader. ret_look must be
 * zero, or released; wal_end is the caller's to fill in. A column that the table had at an earlier
 * look and has no more is missing, whether somebody named it or not. */
void precondition_read(const OutboxTable *table, const PGresult *result, int row, unsigned reader,
                       PreconditionLook *ret_look);

/** Takes the columns of a look into the table. True when it has one that it did not have at an
 * earlier look. */
bool precondition_take_columns(const PreconditionLook *look, OutboxTable *table);

/** What a source says of the columns that are absent, after its first look. */
void precondition_say_absent(const OutboxTable *table);

/** Writes a warning to the log. */
void precondition_say(const PipelineConfig *pipeline, const PreconditionFault *fault);

/** What a source does with its first look, *said being false: those that come first. */
void precondition_say_first(const PipelineConfig *pipeline, const PreconditionLook *look,
                            bool *said);

/** Frees the faults and makes it zero. */
void precondition_release(PreconditionLook *look);

/** The first that is broken, or NULL. */
const Error *precondition_broken(const PreconditionLook *look);
/** The first warning that is an alarm, or NULL. */
const Error *precondition_alarm(const PreconditionLook *look);

enum { PRECONDITION_REFUSALS_MAX = 5 };

/** An error that takes a source's connections. True when the server refused a statement of a source
 * that has begun to work: it is then waited for (RETRY) until whoever changed something mends it,
 * up to PRECONDITION_REFUSALS_MAX times in a row: then nothing that we know explains it. */
bool precondition_soften(Error *err, bool begun, unsigned *count);
