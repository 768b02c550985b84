/* pgoutput: the messages of PostgreSQL's logical decoding plug-in, protocol 1 to 4.
 *
 * Source of every layout: PostgreSQL documentation, "Logical Replication Message Formats". Nothing
 * is copied: slices borrow from the message. Reads are bounds-checked with a sticky error; a
 * message that is truncated, too long or malformed is refused as a whole. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/slice.h"

enum {
    PGOUTPUT_COLUMNS_MAX = 1600, /* of a table: MaxHeapAttributeNumber */
    PGOUTPUT_NAME_MAX = 1023,    /* bytes; 63 as PostgreSQL is built */
};

typedef enum PgOutputKind {
    PGOUTPUT_BEGIN = 'B',
    PGOUTPUT_MESSAGE = 'M',
    PGOUTPUT_COMMIT = 'C',
    PGOUTPUT_ORIGIN = 'O',
    PGOUTPUT_RELATION = 'R',
    PGOUTPUT_TYPE = 'Y',
    PGOUTPUT_INSERT = 'I',
    PGOUTPUT_UPDATE = 'U',
    PGOUTPUT_DELETE = 'D',
    PGOUTPUT_TRUNCATE = 'T',
    PGOUTPUT_STREAM_START = 'S',  /* 2 */
    PGOUTPUT_STREAM_STOP = 'E',   /* 2 */
    PGOUTPUT_STREAM_COMMIT = 'c', /* 2 */
    PGOUTPUT_STREAM_ABORT = 'A',  /* 2; with LSN and time from 4, when streaming is parallel */
    PGOUTPUT_BEGIN_PREPARE = 'b', /* 3 */
    PGOUTPUT_PREPARE = 'P',       /* 3 */
    PGOUTPUT_COMMIT_PREPARED = 'K',
    PGOUTPUT_ROLLBACK_PREPARED = 'r',
    PGOUTPUT_STREAM_PREPARE = 'p',
} PgOutputKind;

/* What a column of a tuple holds: four different states. */
typedef enum PgOutputValueKind {
    VALUE_NULL = 'n',
    VALUE_UNCHANGED = 'u', /* TOAST that the change did not touch: not sent */
    VALUE_TEXT = 't',
    VALUE_BINARY = 'b',
} PgOutputValueKind;

typedef struct PgOutputValue {
    PgOutputValueKind kind;
    Slice bytes; /* null slice unless TEXT or BINARY */
} PgOutputValue;

/* A row: `columns` values, read one by one with pgoutput_value(). Checked when the message was
 * read: walking it cannot fail. */
typedef struct PgOutputTuple {
    uint16_t columns;
    Slice bytes; /* null slice: this tuple was not sent */
} PgOutputTuple;

typedef struct PgOutputBegin {
    uint64_t final_lsn; /* start of the commit record: equals Commit.commit_lsn */
    int64_t committed_at;
    uint32_t xid;
} PgOutputBegin;

typedef struct PgOutputCommit {
    uint64_t commit_lsn;
    uint64_t end_lsn; /* what may be confirmed once everything before it is acknowledged */
    int64_t committed_at;
} PgOutputCommit;

typedef struct PgOutputLogicalMessage {
    uint32_t xid; /* of the subtransaction; 0 unless streamed */
    bool transactional;
    uint64_t lsn;
    Slice prefix;
    Slice content;
} PgOutputLogicalMessage;

typedef struct PgOutputRelation {
    uint32_t xid; /* 0 unless streamed */
    uint32_t id;
    Slice schema; /* empty: pg_catalog */
    Slice name;
    char replica_identity; /* d, n, f, i */
    uint16_t columns;      /* read one by one with pgoutput_column() */
    Slice bytes;
} PgOutputRelation;

typedef struct PgOutputColumn {
    bool key;
    Slice name;
    uint32_t type; /* OID */
    int32_t type_modifier;
} PgOutputColumn;

typedef struct PgOutputChange { /* insert, update, delete */
    uint32_t xid;               /* 0 unless streamed */
    uint32_t relation;
    bool old_is_key; /* the old tuple holds the replica identity's columns alone ('K', not 'O') */
    PgOutputTuple old_tuple;
    PgOutputTuple new_tuple;
} PgOutputChange;

typedef struct PgOutputTruncate {
    uint32_t xid;
    uint32_t relations; /* OIDs in bytes, read with a ByteReader */
    bool cascade;
    bool restart_identity;
    Slice bytes;
} PgOutputTruncate;

typedef struct PgOutputOrigin {
    uint64_t lsn;
    Slice name;
} PgOutputOrigin;

typedef struct PgOutputType {
    uint32_t xid;
    uint32_t id;
    Slice schema;
    Slice name;
} PgOutputType;

typedef struct PgOutputStream { /* start, commit, abort */
    uint32_t xid;
    uint32_t subxid; /* abort */
    bool first;      /* start: first segment of this transaction */
    uint64_t lsn;    /* commit: of the commit record; abort in parallel mode */
    uint64_t end_lsn;
    int64_t at;
} PgOutputStream;

typedef struct PgOutputPrepared { /* begin prepare, prepare, commit/rollback prepared, stream
                                     prepare */
    uint64_t lsn;                 /* of the prepare; commit prepared: of the commit */
    uint64_t end_lsn;
    uint64_t rollback_end_lsn; /* rollback prepared */
    int64_t at;
    int64_t rolled_back_at;
    uint32_t xid;
    Slice gid;
} PgOutputPrepared;

typedef struct PgOutput {
    PgOutputKind kind;
    union {
        PgOutputBegin begin;
        PgOutputCommit commit;
        PgOutputLogicalMessage message;
        PgOutputRelation relation;
        PgOutputChange change;
        PgOutputTruncate truncate;
        PgOutputOrigin origin;
        PgOutputType type;
        PgOutputStream stream;
        PgOutputPrepared prepared;
    };
} PgOutput;

/* What the reader must know of the stream. Between STREAM_START and STREAM_STOP the messages of
 * changes carry an xid: the reader keeps track of that by itself. Zeroed at the start of a stream.
 */
typedef struct PgOutputReader {
    int protocol;  /* 1 to 4, as asked for in START_REPLICATION */
    bool parallel; /* protocol 4 with streaming 'parallel': STREAM_ABORT carries LSN and time */
    bool in_stream_segment;
} PgOutputReader;

/** Reads one message; *ret borrows from bytes. RETRY / PG_PROTOCOL, with kind and offset, when it
 * is malformed, of a later protocol, or in a place where it cannot be; the reader stays as it was.
 */
Status pgoutput_read(PgOutputReader *reader, Slice bytes, PgOutput *ret, Error *err);

/** The next value of a tuple; *rest starts as bytes_reader(tuple.bytes.data, tuple.bytes.length).
 * Behind the last one: null. */
static inline PgOutputValue pgoutput_value(ByteReader *rest)
{
    PgOutputValue value = {.kind = VALUE_NULL};
    if (rest->at == rest->end) {
        return value;
    }
    value.kind = (PgOutputValueKind)*rest->at++;
    if (value.kind == VALUE_TEXT || value.kind == VALUE_BINARY) {
        value.bytes.length = bytes_load_u32(rest->at);
        value.bytes.data = (const char *)rest->at + 4;
        rest->at += 4 + value.bytes.length;
    }
    return value;
}

/** The next column of a relation; *rest starts as bytes_reader(relation.bytes...). Behind the last
 * one: a null name. */
PgOutputColumn pgoutput_column(ByteReader *rest);

/** "insert", "commit", ... for messages to people; "unknown". */
const char *pgoutput_kind_name(PgOutputKind kind);
