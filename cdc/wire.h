/* wire: the messages inside CopyData while a walsender streams.
 *
 * Source: PostgreSQL documentation, "Streaming Replication Protocol": XLogData ('w'), Primary
 * keepalive message ('k'), Standby status update ('r'). Times are microseconds since 2000-01-01.
 * LSNs are byte positions in the WAL; 0 is no position. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/slice.h"

enum { WIRE_STATUS_BYTES = 34 };

typedef enum WireKind { WIRE_DATA = 'w', WIRE_KEEPALIVE = 'k' } WireKind;

typedef struct WireMessage {
    WireKind kind;
    uint64_t
        start;    /* of the data; 0 for Relation and other messages without a place: no progress */
    uint64_t end; /* WAL end of the server as far as it was sent */
    int64_t sent_at; /* by the server's clock */
    bool reply;      /* keepalive: the server wants an answer now */
    Slice data;      /* one pgoutput message; borrowed */
} WireMessage;

/** Takes one CopyData message apart; *ret borrows from bytes. RETRY / PG_PROTOCOL when it is
 * truncated, too long or of unknown kind. */
Status wire_read(const char *bytes, size_t length, WireMessage *ret, Error *err);

typedef struct WireStatus {
    uint64_t written; /* received so far, as the byte after it */
    uint64_t flushed; /* confirmed: never 0, never inside a transaction */
    int64_t clock;    /* now, microseconds since 2000-01-01 */
    bool reply;       /* ask the server to answer at once */
} WireStatus;

/** Writes a status update into out (WIRE_STATUS_BYTES); "applied" equals flushed. */
void wire_write_status(const WireStatus *status, char *out);

/** "16/B374D848" into scratch (at least 20 bytes), as PostgreSQL prints a pg_lsn. */
const char *lsn_format(uint64_t lsn, char *scratch);

/** Reads what PostgreSQL prints for a pg_lsn; false when text is no such thing. */
bool lsn_parse(const char *text, uint64_t *ret_lsn);
