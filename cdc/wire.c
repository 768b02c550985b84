/* CopyData while a walsender streams, after PostgreSQL's documentation, "Streaming Replication
 * Protocol"; integers are big-endian:
 *
 *   XLogData               'w'  int64 start  int64 WAL end  int64 sent at  data to the end
 *   Primary keepalive      'k'  int64 WAL end  int64 sent at  byte reply wanted
 *   Standby status update  'r'  int64 written  int64 flushed  int64 applied  int64 now  byte reply
 */
#include "cdc/wire.h"

#include <endian.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"

Status wire_read(const char *bytes, size_t length, WireMessage *ret, Error *err)
{
    ByteReader in = bytes_reader(bytes, length);
    WireMessage message = {.kind = (WireKind)bytes_u8(&in)};
    if (message.kind == WIRE_DATA) {
        message.start = bytes_u64(&in);
        message.end = bytes_u64(&in);
        message.sent_at = bytes_i64(&in);
        message.data = bytes_slice(&in, bytes_left(&in));
    } else if (message.kind == WIRE_KEEPALIVE) {
        message.end = bytes_u64(&in);
        message.sent_at = bytes_i64(&in);
        message.reply = bytes_u8(&in) != 0;
    } else if (!in.failed) {
        return error_set(err, CODE_PG_PROTOCOL,
                         "unknown message of kind 0x%02x (%zu bytes) in the replication stream",
                         (unsigned)message.kind, length);
    }
    if (!bytes_complete(&in)) {
        return error_set(err, CODE_PG_PROTOCOL,
                         "malformed message '%c' in the replication stream: %s %zu bytes",
                         length > 0 ? (char)message.kind : ' ',
                         in.failed ? "it ends after" : "it should end before its", length);
    }
    *ret = message;
    return OK;
}

static char *put_u64(char *out, uint64_t value)
{
    uint64_t big_endian = htobe64(value);
    memcpy(out, &big_endian, sizeof(big_endian));
    return out + sizeof(big_endian);
}

void wire_write_status(const WireStatus *status, char *out)
{
    *out++ = 'r';
    out = put_u64(out, status->written);
    out = put_u64(out, status->flushed);
    out = put_u64(out, status->flushed);
    out = put_u64(out, (uint64_t)status->clock);
    *out = status->reply ? 1 : 0;
}

const char *lsn_format(uint64_t lsn, char *scratch)
{
    snprintf(scratch, 20, "%X/%X", (unsigned)(lsn >> 32), (unsigned)(lsn & UINT32_MAX));
    return scratch;
}

/* One to eight hexadecimal digits, as pg_lsn_in() takes them. */
static const char *parse_half(const char *text, uint32_t *ret_value)
{
    uint32_t value = 0;
    const char *at = text;
    for (; at < text + 8; at++) {
        char c = *at;
        if (c >= '0' && c <= '9') {
            value = value << 4 | (uint32_t)(c - '0');
        } else if ((c >= 'A' && c <= 'F') || (c >= 'a' && c <= 'f')) {
            value = value << 4 | (uint32_t)((c | 0x20) - 'a' + 10);
        } else {
            break;
        }
    }
    *ret_value = value;
    return at > text ? at : NULL;
}

bool lsn_parse(const char *text, uint64_t *ret_lsn)
{
    uint32_t high = 0;
    uint32_t low = 0;
    const char *at = text != NULL ? parse_half(text, &high) : NULL;
    if (at == NULL || *at++ != '/') {
        return false;
    }
    at = parse_half(at, &low);
    if (at == NULL || *at != '\0') {
        return false;
    }
    *ret_lsn = (uint64_t)high << 32 | low;
    return true;
}
