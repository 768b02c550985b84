/* What the files of the list share; nobody else includes this. */
#pragma once

#include "base/text.h"
#include "rows/precondition.h"

enum {
    POSTGRES_14 = 140000,
    POSTGRES_15 = 150000,
    POSTGRES_16 = 160000,
    POSTGRES_18 = 180000,
};

/* To which pipelines an entry applies, and who reads it. */
enum {
    FOR_POLL = 1 << 8,
    FOR_WAL = 1 << 9,
    FOR_TABLES = 1 << 15,
    FOR_BOTH = FOR_POLL | FOR_WAL,
    FOR_LOG = FOR_WAL | FOR_TABLES,
    FOR_ALL = FOR_BOTH | FOR_TABLES,
    BY_ALL = PRECONDITION_START | PRECONDITION_RUNNING | PRECONDITION_CHECK,
    BY_START = PRECONDITION_START,
    BY_CHECK = PRECONDITION_CHECK,
    ENDS = 1 << 10,    /* when broken, nothing behind it can be judged */
    REPEATS = 1 << 11, /* it may be broken in several ways at once: asked until it is not */
    FIRST = 1 << 12,   /* a warning that is said before the first event */
    LATER = 1 << 13,   /* while the relay runs it is a warning: only an event that needs it waits */
    ALARMS = 1 << 14,  /* a warning that makes the relay not ready */
    /* Of one mapped table: once the relay runs, a warning and an alarm, as the others go on. */
    OTHERS_GO_ON = 1 << 16,
};

typedef struct Facts {
    const PipelineConfig *pipeline;
    const OutboxTable *outbox; /* what is known of its columns */
    const PGresult *result;
    int row;
    unsigned reader;   /* of PreconditionReader */
    size_t nth;        /* of an entry that REPEATS: so many of its faults are said already */
    int version;       /* of the server; 0: not told */
    const char *table; /* as SQL writes it */
    const char *role;  /* likewise */
} Facts;

/* What an entry says when it is broken. Each judge fills both; heals: RETRY instead of FATAL. */
typedef struct Saying {
    Text message;
    Text remedy;
    const char *column; /* the one that is missing, of the configuration; NULL: none is */
    bool heals;
} Saying;

typedef struct Precondition {
    ErrorCode code;
    unsigned applies;
    bool warning;
    const char *columns; /* of the query, over precondition_from.c; NULL: of entries before it */
    bool (*broken)(const Facts *facts, Saying *say);
} Precondition;

/* The list, by subject, in this order. */
extern const Precondition PRECONDITIONS_SERVER[];
extern const size_t PRECONDITIONS_SERVER_COUNT;
extern const Precondition PRECONDITIONS_TABLE[];
extern const size_t PRECONDITIONS_TABLE_COUNT;
extern const Precondition PRECONDITIONS_RIGHTS[];
extern const size_t PRECONDITIONS_RIGHTS_COUNT;
extern const Precondition PRECONDITIONS_COLUMNS[];
extern const size_t PRECONDITIONS_COLUMNS_COUNT;
extern const Precondition PRECONDITIONS_COMPANIONS[];
extern const size_t PRECONDITIONS_COMPANIONS_COUNT;
extern const Precondition PRECONDITIONS_PATH[];
extern const size_t PRECONDITIONS_PATH_COUNT;
extern const Precondition PRECONDITIONS_PUBLICATION[];
extern const size_t PRECONDITIONS_PUBLICATION_COUNT;
extern const Precondition PRECONDITIONS_MAPPED[];
extern const size_t PRECONDITIONS_MAPPED_COUNT;
extern const Precondition PRECONDITIONS_SLOT[];
extern const size_t PRECONDITIONS_SLOT_COUNT;
extern const Precondition PRECONDITIONS_LOCK[];
extern const size_t PRECONDITIONS_LOCK_COUNT;

/** The value of a column of the answer; "" when it is NULL or not there. */
const char *facts_value(const Facts *facts, const char *column);
/** It is true; it is false (and told). */
bool facts_say(const Facts *facts, const char *column);
bool facts_deny(const Facts *facts, const char *column);

/** What is needed of the table's columns: its place in the configuration (NULL: an extra of
 * header_columns) and its name. */
typedef struct NeededColumn {
    const char *path;
    const char *name;
    size_t index; /* EventField, or FIELD_PUBLISHED_AT; COLUMN_COUNT: an extra */
} NeededColumn;

/** Those that the pipeline reads, published_at among them; malloc'd. */
NeededColumn *needed_columns(const PipelineConfig *pipeline, size_t *ret_count);

/** The columns that the table does not have and that the pipeline can do without, a bit for each:
 * TABLE_COLUMN. */
uint32_t columns_absent(const Facts *facts);

/** Appends what gives the role this right: membership in outbox_relay where that has it.
 * relay_has: column of the answer that says so. */
void remedy_add_grant(const Facts *facts, const char *relay_has, const char *right,
                      const char *object, bool ours, Text *remedy);

/** The publication does not exist, with what creates it; false: it does, or the relay creates it.
 */
bool publication_is_not_there(const Facts *facts, const char *create, Saying *say);

/** precondition_mapped_from.c: appends a join, what is asked of the mapped tables as "mapped". */
void precondition_add_mapped(const PipelineConfig *pipeline, int server_version, Text *sql);

/** precondition_from.c: the FROM clause that the columns of all entries stand on. */
void precondition_add_from(const PipelineConfig *pipeline, const OutboxTable *table,
                           int server_version, Text *sql);
