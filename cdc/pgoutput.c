/* Layouts after PostgreSQL's documentation, "Logical Replication Message Formats"; integers are
 * big-endian, strings end with a NUL, [xid] is an int32 that is there between 'S' and 'E' only:
 *
 *   B begin              int64 final LSN  int64 time  int32 xid
 *   M message            [xid]  byte flags (1 transactional)  int64 LSN  string prefix
 *                        int32 length  content
 *   C commit             byte flags (0)  int64 LSN  int64 end LSN  int64 time
 *   O origin             int64 LSN  string name
 *   R relation           [xid]  int32 OID  string schema  string name  byte replica identity
 *                        int16 columns, each: byte flags (1 key)  string name  int32 type
 *                        int32 type modifier
 *   Y type               [xid]  int32 OID  string schema  string name
 *   I insert             [xid]  int32 relation  'N' tuple
 *   U update             [xid]  int32 relation  (nothing | 'K' tuple | 'O' tuple)  'N' tuple
 *   D delete             [xid]  int32 relation  ('K' | 'O') tuple
 *   T truncate           [xid]  int32 relations  byte options (1 cascade, 2 restart identity)
 *                        int32 each relation
 *   S stream start       int32 xid  byte first segment
 *   E stream stop
 *   c stream commit      int32 xid  then as C
 *   A stream abort       int32 xid  int32 subtransaction  and, only when streaming is parallel,
 *                        int64 LSN  int64 time
 *   b begin prepare      int64 LSN  int64 end LSN  int64 time  int32 xid  string gid
 *   P prepare, p stream prepare, K commit prepared
 *                        byte flags (0)  then as b
 *   r rollback prepared  byte flags (0)  int64 end LSN of the prepare  int64 end LSN of the
 *                        rollback  int64 time of the prepare  int64 time of the rollback
 *                        int32 xid  string gid
 *   tuple                int16 columns, each: 'n' | 'u' | ('t' | 'b') int32 length  bytes
 *
 * Origin has no xid: in a streamed transaction it follows stream start. */
#include "cdc/pgoutput.h"

#include <string.h>

/* Where in the stream a message may be: with regard to the segments of streamed transactions. */
typedef enum Place { NOWHERE, ANYWHERE, OUTSIDE, INSIDE } Place;

typedef struct KindRule {
    const char *name;
    Place place;
    int protocol; /* the first that has it */
} KindRule;

static const KindRule KIND_RULES[128] = {
    [PGOUTPUT_BEGIN] = {"begin", OUTSIDE, 1},
    [PGOUTPUT_MESSAGE] = {"message", ANYWHERE, 1},
    [PGOUTPUT_COMMIT] = {"commit", OUTSIDE, 1},
    [PGOUTPUT_ORIGIN] = {"origin", ANYWHERE, 1},
    [PGOUTPUT_RELATION] = {"relation", ANYWHERE, 1},
    [PGOUTPUT_TYPE] = {"type", ANYWHERE, 1},
    [PGOUTPUT_INSERT] = {"insert", ANYWHERE, 1},
    [PGOUTPUT_UPDATE] = {"update", ANYWHERE, 1},
    [PGOUTPUT_DELETE] = {"delete", ANYWHERE, 1},
    [PGOUTPUT_TRUNCATE] = {"truncate", ANYWHERE, 1},
    [PGOUTPUT_STREAM_START] = {"stream start", OUTSIDE, 2},
    [PGOUTPUT_STREAM_STOP] = {"stream stop", INSIDE, 2},
    [PGOUTPUT_STREAM_COMMIT] = {"stream commit", OUTSIDE, 2},
    [PGOUTPUT_STREAM_ABORT] = {"stream abort", OUTSIDE, 2},
    [PGOUTPUT_BEGIN_PREPARE] = {"begin prepare", OUTSIDE, 3},
    [PGOUTPUT_PREPARE] = {"prepare", OUTSIDE, 3},
    [PGOUTPUT_COMMIT_PREPARED] = {"commit prepared", OUTSIDE, 3},
    [PGOUTPUT_ROLLBACK_PREPARED] = {"rollback prepared", OUTSIDE, 3},
    [PGOUTPUT_STREAM_PREPARE] = {"stream prepare", OUTSIDE, 3},
};

static const KindRule UNKNOWN_KIND = {"unknown", NOWHERE, 0};

static const KindRule *kind_rule(PgOutputKind kind)
{
    size_t index = (size_t)kind;
    bool known = index < sizeof(KIND_RULES) / sizeof(*KIND_RULES) && KIND_RULES[index].name;
    return known ? &KIND_RULES[index] : &UNKNOWN_KIND;
}

const char *pgoutput_kind_name(PgOutputKind kind)
{
    return kind_rule(kind)->name;
}

/* One message on its way through the reader. */
typedef struct Parse {
    ByteReader in;
    bool streamed;       /* changes carry an xid */
    const char *problem; /* when more is known than that the message ends too early */
} Parse;

static void parse_fail(Parse *parse, const unsigned char *at, const char *problem)
{
    if (!parse->in.failed) {
        parse->in.at = at;
        parse->in.failed = true;
        parse->problem = problem;
    }
}

static uint32_t read_xid(Parse *parse)
{
    return parse->streamed ? bytes_u32(&parse->in) : 0;
}

/* A byte that the protocol keeps for later: PostgreSQL's own subscriber refuses others, too. */
static void read_no_flags(Parse *parse)
{
    const unsigned char *at = parse->in.at;
    if (bytes_u8(&parse->in) != 0) {
        parse_fail(parse, at, "flags that no known version has");
    }
}

/* The hot path: each value is looked at here once, and never again checked. */
static PgOutputTuple read_tuple(Parse *parse)
{
    const unsigned char *count_at = parse->in.at;
    uint16_t columns = bytes_u16(&parse->in);
    const unsigned char *first = parse->in.at;
    const unsigned char *at = first;
    const unsigned char *end = parse->in.end;
    if (columns > PGOUTPUT_COLUMNS_MAX) {
        parse_fail(parse, count_at, "more columns than a table can have");
    }
    if (parse->in.failed) {
        return (PgOutputTuple){0};
    }
    for (unsigned left = columns; left > 0; left--) {
        const unsigned char *kind = at;
        if (at == end) {
            parse_fail(parse, at, NULL);
            return (PgOutputTuple){0};
        }
        at++;
        if (*kind == VALUE_TEXT || *kind == VALUE_BINARY) {
            uint32_t length = end - at >= 4 ? bytes_load_u32(at) : 0;
            if (length > INT32_MAX) {
                parse_fail(parse, at, "a negative length");
                return (PgOutputTuple){0};
            }
            if ((size_t)(end - at) < (size_t)length + 4) {
                parse_fail(parse, at, NULL);
                return (PgOutputTuple){0};
            }
            at += (size_t)length + 4;
        } else if (*kind != VALUE_NULL && *kind != VALUE_UNCHANGED) {
            parse_fail(parse, kind, "a value of unknown kind");
            return (PgOutputTuple){0};
        }
    }
    parse->in.at = at;
    return (PgOutputTuple){.columns = columns,
                           .bytes = {.data = (const char *)first, .length = (size_t)(at - first)}};
}

static void read_change(Parse *parse, PgOutputKind kind, PgOutputChange *change)
{
    *change = (PgOutputChange){.xid = read_xid(parse), .relation = bytes_u32(&parse->in)};
    const unsigned char *at = parse->in.at;
    uint8_t tuple = bytes_u8(&parse->in);
    if (kind != PGOUTPUT_INSERT && (tuple == 'K' || tuple == 'O')) {
        change->old_is_key = tuple == 'K';
        change->old_tuple = read_tuple(parse);
        if (kind == PGOUTPUT_DELETE) {
            return;
        }
        at = parse->in.at;
        tuple = bytes_u8(&parse->in);
    }
    if (tuple != 'N' || kind == PGOUTPUT_DELETE) {
        parse_fail(parse, at, "a tuple of another kind than this message has");
    }
    change->new_tuple = read_tuple(parse);
}

static void read_message(Parse *parse, PgOutputLogicalMessage *message)
{
    message->xid = read_xid(parse);
    message->transactional = bytes_u8(&parse->in) & 1;
    message->lsn = bytes_u64(&parse->in);
    message->prefix = bytes_string(&parse->in);
    const unsigned char *at = parse->in.at;
    uint32_t length = bytes_u32(&parse->in);
    if (length > INT32_MAX) {
        parse_fail(parse, at, "a negative length");
    }
    message->content = bytes_slice(&parse->in, length);
}

static PgOutputColumn read_column(ByteReader *in)
{
    PgOutputColumn column = {.key = bytes_u8(in) & 1};
    column.name = bytes_string(in);
    column.type = bytes_u32(in);
    column.type_modifier = bytes_i32(in);
    return column;
}

PgOutputColumn pgoutput_column(ByteReader *rest)
{
    return read_column(rest);
}

/* Of a table or a type. A longer one is no name of any server, whatever its NAMEDATALEN. */
static Slice read_name(Parse *parse)
{
    const unsigned char *at = parse->in.at;
    Slice name = bytes_string(&parse->in);
    if (name.length > PGOUTPUT_NAME_MAX) {
        parse_fail(parse, at, "a name longer than any can be");
    }
    return name;
}

static void read_relation(Parse *parse, PgOutputRelation *relation)
{
    relation->xid = read_xid(parse);
    relation->id = bytes_u32(&parse->in);
    relation->schema = read_name(parse);
    relation->name = read_name(parse);
    const unsigned char *at = parse->in.at;
    relation->replica_identity = (char)bytes_u8(&parse->in);
    if (strchr("dnfi", relation->replica_identity) == NULL || relation->replica_identity == '\0') {
        parse_fail(parse, at, "a replica identity of unknown kind");
    }
    at = parse->in.at;
    relation->columns = bytes_u16(&parse->in);
    if (relation->columns > PGOUTPUT_COLUMNS_MAX) {
        parse_fail(parse, at, "more columns than a table can have");
    }
    const unsigned char *first = parse->in.at;
    for (unsigned left = relation->columns; left > 0 && !parse->in.failed; left--) {
        read_column(&parse->in);
    }
    relation->bytes =
        (Slice){.data = (const char *)first, .length = (size_t)(parse->in.at - first)};
}

static void read_type(Parse *parse, PgOutputType *type)
{
    type->xid = read_xid(parse);
    type->id = bytes_u32(&parse->in);
    type->schema = read_name(parse);
    type->name = read_name(parse);
}

static void read_truncate(Parse *parse, PgOutputTruncate *truncate)
{
    truncate->xid = read_xid(parse);
    truncate->relations = bytes_u32(&parse->in);
    uint8_t options = bytes_u8(&parse->in);
    truncate->cascade = options & 1;
    truncate->restart_identity = options & 2;
    truncate->bytes = bytes_slice(&parse->in, (size_t)truncate->relations * 4);
}

static void read_commit(Parse *parse, uint64_t *lsn, uint64_t *end_lsn, int64_t *time)
{
    read_no_flags(parse);
    *lsn = bytes_u64(&parse->in);
    *end_lsn = bytes_u64(&parse->in);
    *time = bytes_i64(&parse->in);
}

static void read_stream_abort(Parse *parse, bool parallel, PgOutputStream *stream)
{
    stream->xid = bytes_u32(&parse->in);
    stream->subxid = bytes_u32(&parse->in);
    if (parallel) {
        stream->lsn = bytes_u64(&parse->in);
        stream->at = bytes_i64(&parse->in);
    }
}

static void read_prepared(Parse *parse, PgOutputKind kind, PgOutputPrepared *prepared)
{
    if (kind != PGOUTPUT_BEGIN_PREPARE) {
        read_no_flags(parse);
    }
    if (kind == PGOUTPUT_ROLLBACK_PREPARED) {
        prepared->end_lsn = bytes_u64(&parse->in);
        prepared->rollback_end_lsn = bytes_u64(&parse->in);
        prepared->at = bytes_i64(&parse->in);
        prepared->rolled_back_at = bytes_i64(&parse->in);
    } else {
        prepared->lsn = bytes_u64(&parse->in);
        prepared->end_lsn = bytes_u64(&parse->in);
        prepared->at = bytes_i64(&parse->in);
    }
    prepared->xid = bytes_u32(&parse->in);
    prepared->gid = bytes_string(&parse->in);
}

static void read_begin(Parse *parse, PgOutputBegin *begin)
{
    begin->final_lsn = bytes_u64(&parse->in);
    begin->committed_at = bytes_i64(&parse->in);
    begin->xid = bytes_u32(&parse->in);
}

static void read_origin(Parse *parse, PgOutputOrigin *origin)
{
    origin->lsn = bytes_u64(&parse->in);
    origin->name = bytes_string(&parse->in);
}

static void read_body(Parse *parse, const PgOutputReader *reader, PgOutput *output)
{
    switch (output->kind) {
    case PGOUTPUT_INSERT:
    case PGOUTPUT_UPDATE:
    case PGOUTPUT_DELETE:
        read_change(parse, output->kind, &output->change);
        return;
    case PGOUTPUT_BEGIN:
        read_begin(parse, &output->begin);
        return;
    case PGOUTPUT_COMMIT:
        read_commit(parse, &output->commit.commit_lsn, &output->commit.end_lsn,
                    &output->commit.committed_at);
        return;
    case PGOUTPUT_MESSAGE:
        read_message(parse, &output->message);
        return;
    case PGOUTPUT_RELATION:
        read_relation(parse, &output->relation);
        return;
    case PGOUTPUT_TYPE:
        read_type(parse, &output->type);
        return;
    case PGOUTPUT_ORIGIN:
        read_origin(parse, &output->origin);
        return;
    case PGOUTPUT_TRUNCATE:
        read_truncate(parse, &output->truncate);
        return;
    case PGOUTPUT_STREAM_START:
        output->stream.xid = bytes_u32(&parse->in);
        output->stream.first = bytes_u8(&parse->in) == 1;
        return;
    case PGOUTPUT_STREAM_STOP:
        return;
    case PGOUTPUT_STREAM_COMMIT:
        output->stream.xid = bytes_u32(&parse->in);
        read_commit(parse, &output->stream.lsn, &output->stream.end_lsn, &output->stream.at);
        return;
    case PGOUTPUT_STREAM_ABORT:
        read_stream_abort(parse, reader->parallel, &output->stream);
        return;
    case PGOUTPUT_BEGIN_PREPARE:
    case PGOUTPUT_PREPARE:
    case PGOUTPUT_COMMIT_PREPARED:
    case PGOUTPUT_ROLLBACK_PREPARED:
    case PGOUTPUT_STREAM_PREPARE:
        read_prepared(parse, output->kind, &output->prepared);
        return;
    }
}

/* NULL when a message of this kind may come now. */
static const char *kind_problem(const PgOutputReader *reader, PgOutputKind kind)
{
    const KindRule *rule = kind_rule(kind);
    if (rule->place == NOWHERE) {
        return "it is of unknown kind";
    }
    if (rule->protocol > reader->protocol) {
        return "it belongs to a later protocol than requested";
    }
    if (rule->place == (reader->in_stream_segment ? OUTSIDE : INSIDE)) {
        return reader->in_stream_segment ? "it cannot be inside a streamed segment"
                                         : "it cannot be outside a streamed segment";
    }
    return NULL;
}

static Status refuse(const Parse *parse, Slice bytes, const char *problem, Error *err)
{
    unsigned kind = bytes.length > 0 ? (unsigned char)bytes.data[0] : 0;
    size_t offset = bytes.length - bytes_left(&parse->in);
    return error_set(err, CODE_PG_PROTOCOL,
                     "malformed '%s' message (kind 0x%02x) of pgoutput, byte %zu of %zu: %s",
                     pgoutput_kind_name((PgOutputKind)kind), kind, offset, bytes.length, problem);
}

Status pgoutput_read(PgOutputReader *reader, Slice bytes, PgOutput *ret, Error *err)
{
    Parse parse = {.in = bytes_reader(bytes.data, bytes.length),
                   .streamed = reader->in_stream_segment};
    if (bytes.length == 0) {
        return refuse(&parse, bytes, "it is empty", err);
    }
    PgOutput output = {.kind = (PgOutputKind)*parse.in.at};
    const char *problem = kind_problem(reader, output.kind);
    if (problem != NULL) {
        return refuse(&parse, bytes, problem, err);
    }
    parse.in.at++;
    read_body(&parse, reader, &output);
    if (parse.in.failed) {
        return refuse(&parse, bytes, parse.problem ? parse.problem : "it ends too early", err);
    }
    if (!bytes_complete(&parse.in)) {
        return refuse(&parse, bytes, "it continues after its end", err);
    }
    if (output.kind == PGOUTPUT_STREAM_START || output.kind == PGOUTPUT_STREAM_STOP) {
        reader->in_stream_segment = output.kind == PGOUTPUT_STREAM_START;
    }
    *ret = output;
    return OK;
}
