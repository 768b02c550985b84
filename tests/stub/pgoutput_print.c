#include "stub/pgoutput_print.h"

#include <inttypes.h>
#include <stdlib.h>

enum { FIRST_USER_OID = 16384, QUOTED_MAX = 64 };

static uint64_t number_of(PrintNames *names, PrintCategory category, uint64_t value)
{
    size_t count = names->category[category].count;
    for (size_t i = 0; i < count; i++) {
        if (names->category[category].values[i] == value) {
            return i + 1;
        }
    }
    if (count == PRINT_VALUES_MAX) {
        abort();
    }
    names->category[category].values[count] = value;
    names->category[category].count++;
    return count + 1;
}

static void print_number(const char *label, PrintCategory category, uint64_t value,
                         PrintNames *names, Text *text)
{
    bool fixed = category == PRINT_OID && value < FIRST_USER_OID;
    if (value == 0) {
        return;
    }
    if (names != NULL && !fixed) {
        text_printf(text, " %s=#%" PRIu64, label, number_of(names, category, value));
    } else {
        text_printf(text, " %s=%" PRIu64, label, value);
    }
}

static uint32_t crc32_of(Slice bytes)
{
    static const uint32_t NIBBLES[16] = {0x00000000, 0x1DB71064, 0x3B6E20C8, 0x26D930AC,
                                         0x76DC4190, 0x6B6B51F4, 0x4DB26158, 0x5005713C,
                                         0xEDB88320, 0xF00F9344, 0xD6D6A3E8, 0xCB61B38C,
                                         0x9B64C2B0, 0x86D3D2D4, 0xA00AE278, 0xBDBDF21C};
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < bytes.length; i++) {
        crc ^= (unsigned char)bytes.data[i];
        crc = crc >> 4 ^ NIBBLES[crc & 15];
        crc = crc >> 4 ^ NIBBLES[crc & 15];
    }
    return ~crc;
}

/* Printable ASCII as it is, other bytes in hexadecimal, long values by their sum. */
static void print_bytes(Slice bytes, Text *text)
{
    if (bytes.length > QUOTED_MAX) {
        text_printf(text, "<%zu bytes, crc32 %08" PRIx32 ">", bytes.length, crc32_of(bytes));
        return;
    }
    text_add_char(text, '\'');
    for (size_t i = 0; i < bytes.length; i++) {
        unsigned char c = (unsigned char)bytes.data[i];
        if (c < 0x20 || c > 0x7E || c == '\'' || c == '\\') {
            text_printf(text, "\\x%02x", c);
        } else {
            text_add_char(text, (char)c);
        }
    }
    text_add_char(text, '\'');
}

static void print_labelled(const char *label, Slice bytes, Text *text)
{
    text_printf(text, " %s=", label);
    print_bytes(bytes, text);
}

static void print_tuple(const char *label, PgOutputTuple tuple, Text *text)
{
    if (slice_is_null(tuple.bytes)) {
        return;
    }
    text_printf(text, " %s=(", label);
    ByteReader rest = bytes_reader(tuple.bytes.data, tuple.bytes.length);
    for (unsigned i = 0; i < tuple.columns; i++) {
        PgOutputValue value = pgoutput_value(&rest);
        text_add(text, i > 0 ? ", " : "");
        if (value.kind == VALUE_NULL || value.kind == VALUE_UNCHANGED) {
            text_add(text, value.kind == VALUE_NULL ? "null" : "unchanged");
        } else {
            text_add(text, value.kind == VALUE_BINARY ? "b" : "");
            print_bytes(value.bytes, text);
        }
    }
    if (!bytes_complete(&rest) || pgoutput_value(&rest).kind != VALUE_NULL) {
        abort(); /* the reader said that it is whole */
    }
    text_add_char(text, ')');
}

static void print_relation(const PgOutputRelation *relation, PrintNames *names, Text *text)
{
    print_number("xid", PRINT_XID, relation->xid, names, text);
    print_number("id", PRINT_OID, relation->id, names, text);
    print_labelled("schema", relation->schema, text);
    print_labelled("name", relation->name, text);
    text_printf(text, " identity=%c columns=(", relation->replica_identity);
    ByteReader rest = bytes_reader(relation->bytes.data, relation->bytes.length);
    for (unsigned i = 0; i < relation->columns; i++) {
        PgOutputColumn column = pgoutput_column(&rest);
        text_add(text, i > 0 ? ", " : "");
        text_add(text, column.key ? "key " : "");
        print_bytes(column.name, text);
        print_number("type", PRINT_OID, column.type, names, text);
        text_printf(text, " modifier=%" PRId32, column.type_modifier);
    }
    if (!bytes_complete(&rest) || !slice_is_null(pgoutput_column(&rest).name)) {
        abort();
    }
    text_add_char(text, ')');
}

static void print_truncate(const PgOutputTruncate *truncate, PrintNames *names, Text *text)
{
    print_number("xid", PRINT_XID, truncate->xid, names, text);
    text_add(text, truncate->cascade ? " cascade" : "");
    text_add(text, truncate->restart_identity ? " restart_identity" : "");
    ByteReader rest = bytes_reader(truncate->bytes.data, truncate->bytes.length);
    for (uint32_t i = 0; i < truncate->relations; i++) {
        print_number("relation", PRINT_OID, bytes_u32(&rest), names, text);
    }
    if (!bytes_complete(&rest)) {
        abort();
    }
}

static void print_message(const PgOutputLogicalMessage *message, PrintNames *names, Text *text)
{
    print_number("xid", PRINT_XID, message->xid, names, text);
    text_add(text, message->transactional ? " transactional" : "");
    print_number("lsn", PRINT_LSN, message->lsn, names, text);
    print_labelled("prefix", message->prefix, text);
    print_labelled("content", message->content, text);
}

static void print_stream(const PgOutputStream *stream, PrintNames *names, Text *text)
{
    print_number("xid", PRINT_XID, stream->xid, names, text);
    print_number("subxid", PRINT_XID, stream->subxid, names, text);
    text_add(text, stream->first ? " first" : "");
    print_number("lsn", PRINT_LSN, stream->lsn, names, text);
    print_number("end", PRINT_LSN, stream->end_lsn, names, text);
    print_number("at", PRINT_TIME, (uint64_t)stream->at, names, text);
}

static void print_prepared(const PgOutputPrepared *prepared, PrintNames *names, Text *text)
{
    print_number("lsn", PRINT_LSN, prepared->lsn, names, text);
    print_number("end", PRINT_LSN, prepared->end_lsn, names, text);
    print_number("rollback_end", PRINT_LSN, prepared->rollback_end_lsn, names, text);
    print_number("at", PRINT_TIME, (uint64_t)prepared->at, names, text);
    print_number("rolled_back_at", PRINT_TIME, (uint64_t)prepared->rolled_back_at, names, text);
    print_number("xid", PRINT_XID, prepared->xid, names, text);
    print_labelled("gid", prepared->gid, text);
}

static void print_change(const PgOutputChange *change, PrintNames *names, Text *text)
{
    print_number("xid", PRINT_XID, change->xid, names, text);
    print_number("relation", PRINT_OID, change->relation, names, text);
    print_tuple(change->old_is_key ? "key" : "old", change->old_tuple, text);
    print_tuple("new", change->new_tuple, text);
}

void pgoutput_print(const PgOutput *message, PrintNames *names, Text *text)
{
    text_add(text, pgoutput_kind_name(message->kind));
    switch (message->kind) {
    case PGOUTPUT_BEGIN:
        print_number("lsn", PRINT_LSN, message->begin.final_lsn, names, text);
        print_number("at", PRINT_TIME, (uint64_t)message->begin.committed_at, names, text);
        print_number("xid", PRINT_XID, message->begin.xid, names, text);
        return;
    case PGOUTPUT_COMMIT:
        print_number("lsn", PRINT_LSN, message->commit.commit_lsn, names, text);
        print_number("end", PRINT_LSN, message->commit.end_lsn, names, text);
        print_number("at", PRINT_TIME, (uint64_t)message->commit.committed_at, names, text);
        return;
    case PGOUTPUT_MESSAGE:
        print_message(&message->message, names, text);
        return;
    case PGOUTPUT_ORIGIN:
        print_number("lsn", PRINT_LSN, message->origin.lsn, names, text);
        print_labelled("name", message->origin.name, text);
        return;
    case PGOUTPUT_RELATION:
        print_relation(&message->relation, names, text);
        return;
    case PGOUTPUT_TYPE:
        print_number("xid", PRINT_XID, message->type.xid, names, text);
        print_number("id", PRINT_OID, message->type.id, names, text);
        print_labelled("schema", message->type.schema, text);
        print_labelled("name", message->type.name, text);
        return;
    case PGOUTPUT_INSERT:
    case PGOUTPUT_UPDATE:
    case PGOUTPUT_DELETE:
        print_change(&message->change, names, text);
        return;
    case PGOUTPUT_TRUNCATE:
        print_truncate(&message->truncate, names, text);
        return;
    case PGOUTPUT_STREAM_START:
    case PGOUTPUT_STREAM_STOP:
    case PGOUTPUT_STREAM_COMMIT:
    case PGOUTPUT_STREAM_ABORT:
        print_stream(&message->stream, names, text);
        return;
    case PGOUTPUT_BEGIN_PREPARE:
    case PGOUTPUT_PREPARE:
    case PGOUTPUT_COMMIT_PREPARED:
    case PGOUTPUT_ROLLBACK_PREPARED:
    case PGOUTPUT_STREAM_PREPARE:
        print_prepared(&message->prepared, names, text);
        return;
    }
}
