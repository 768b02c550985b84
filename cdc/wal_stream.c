/* The stream: reading it, telling the server what is confirmed, following an idle log.
 *
 * Status updates. "flushed" is the position that outbox.position holds, so it never goes backwards,
 * is never inside a transaction and never 0. */
#include "cdc/wal_stream.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/memory.h"
#include "base/timestamp.h"
#include "cdc/change_reader.h"
#include "cdc/wal_ask.h"
#include "cdc/wal_pace.h"
#include "cdc/wire.h"
#include "pg/message.h"
#include "pg/sqlstate.h"

enum {
    GATHER_US = 10000,    /* events wait so long for company while a backlog comes in */
    REPLY_EVERY_MS = 100, /* answers to a server that asks again and again */
};

struct Stream {
    StreamParts with;
    PgConn *walsender; /* NULL: there is no stream */
    Ask *ask;
    Pace *pace;
    bool paused;            /* no room, or a message is held: the socket is left alone */
    bool to_be_held;        /* at the end of the transaction that is read */
    bool held;              /* somebody reads the database meanwhile */
    uint64_t received;      /* WAL end that the server told */
    int64_t batch_since_us; /* the batch being filled has events since then; 0: it has none */
    int64_t status_us;      /* monotonic: last status update sent */
    int64_t storm_since_us; /* the server asks again and again: it is stopping; 0: no */
};

static PGconn *stream_raw(const Stream *stream)
{
    return stream->walsender != NULL ? pg_conn_raw(stream->walsender) : NULL;
}

/* The slot is ours as long as the server hears from us: it ends a walsender that was silent for
 * lease + PUBLISHER_MARGIN_MS. The lock is ours for lease_ms from each question it answered. */
bool stream_lease_holds(const Stream *stream)
{
    const WalContext *wal = stream->with.wal;
    int64_t now_us = clock_monotonic_us();
    int64_t lease_us = wal->pipeline->claim.lease_ms * 1000;
    return claim_lease_holds(wal->claim) ||
           (wal->state == WAL_ACTIVE && now_us - stream->status_us < lease_us);
}

void stream_send_status(Stream *stream, bool reply)
{
    const WalContext *wal = stream->with.wal;
    PGconn *pg = stream_raw(stream);
    uint64_t confirmed = marker_position(wal->marker).lsn;
    if (pg == NULL || wal->state != WAL_ACTIVE || confirmed == 0) {
        return;
    }
    if (!stream_lease_holds(stream)) {
        wal_lose_lease(wal); /* a sign of life now would not undo the silence before it */
        return;
    }
    char message[WIRE_STATUS_BYTES];
    uint64_t written = stream->received > confirmed ? stream->received : confirmed;
    wire_write_status(&(WireStatus){.written = written,
                                    .flushed = confirmed,
                                    .clock = clock_wall_us() - TIMESTAMP_POSTGRES_EPOCH_US,
                                    .reply = reply},
                      message);
    /* Never blocks: what the socket does not take stays in libpq's buffer. */
    AUTO_ERROR err = {0};
    if (PQputCopyData(pg, message, WIRE_STATUS_BYTES) != 1 || PQflush(pg) < 0) {
        AUTO_TEXT reason = pg_message(pg);
        error_set(&err, CODE_POSTGRES_CONNECTION_LOST, "%s", reason);
        claim_lose(wal->claim, &err);
        return;
    }
    stream->status_us = clock_monotonic_us();
    if (FAILPOINT_FAILS("feedback_sent", &err)) {
        claim_lose(wal->claim, &err);
    }
}

/* Nothing is outstanding: our position may follow what the server tells of its log. What it tells
 * is believed once the control connection saw that the log is that long.
 *
 * A stream that begins before what is done (a position that stays at the last look, or inside a
 * transaction) reads over it, and nothing is outstanding meanwhile. A position that followed it
 * there would forget what is done behind that place: the next stream would bring it once more. */
static void stream_advance_idle(Stream *stream)
{
    const MarkerPosition *acked = progress_acked(stream->with.progress);
    const Assembler *assembler = stream->with.assembler;
    ServerLog *log = stream->with.log;
    uint64_t position = marker_position(stream->with.wal->marker).lsn;
    uint64_t complete = assembler->complete_lsn;
    uint64_t told = assembler->told_lsn > complete ? assembler->told_lsn : complete;
    uint64_t proven = server_log_proven(log) > complete ? server_log_proven(log) : complete;
    if (!handover_is_idle(stream->with.handover) || told <= position) {
        return;
    }
    uint64_t until = server_log_until(log, position);
    if (told >= until && proven < until) {
        claim_ping(stream->with.wal->claim);
        return;
    }
    if (proven > position && proven >= until && proven > acked->tx_lsn) {
        server_log_confirmed(log);
        progress_follow(stream->with.progress, proven);
        verify_push(stream->with.verify, true);
    }
}

void stream_follow(Stream *stream)
{
    stream_advance_idle(stream);
    if (server_log_wants_confirming(stream->with.log) && handover_is_idle(stream->with.handover)) {
        stream_send_status(stream, true); /* how far is the stream? */
    }
}

/* A server that is stopping waits until everything it sent is confirmed, and asks for it as often
 * as it can. It is answered at a bounded rate, and after the grace we hang up: nothing is lost. */
static void stream_keepalive(Stream *stream, const WireMessage *message)
{
    const WalContext *wal = stream->with.wal;
    int64_t now_us = clock_monotonic_us();
    assembler_told(stream->with.assembler, message->end);
    stream_advance_idle(stream);
    if (!message->reply) {
        return;
    }
    if (now_us - stream->status_us >= REPLY_EVERY_MS * 1000) {
        if (now_us - stream->status_us >= 10 * REPLY_EVERY_MS * 1000) {
            stream->storm_since_us = 0;
        }
        stream_send_status(stream, false);
        return;
    }
    if (stream->storm_since_us == 0) {
        stream->storm_since_us = now_us;
    }
    if (now_us - stream->storm_since_us > wal->pipeline->wal.shutdown_grace_ms * 1000) {
        AUTO_ERROR err = {0};
        error_set(&err, CODE_SERVER_STOPPING,
                  "PostgreSQL is shutting down and waits for the relay; disconnecting");
        claim_lose(wal->claim, &err);
    }
}

/* The server ended the stream, or the connection broke. */
static void stream_ended(Stream *stream)
{
    const WalContext *wal = stream->with.wal;
    Gap *gap = stream->with.gap;
    PGconn *pg = stream_raw(stream);
    AUTO_ERROR err = {0};
    pg_message_check(PQerrorMessage(pg)); /* before the next call of libpq forgets it */
    error_set(&err, CODE_POSTGRES_CONNECTION_LOST, "the server ended the stream");
    for (PGresult *result; (result = PQgetResult(pg)) != NULL; PQclear(result)) {
        ExecStatusType status = PQresultStatus(result);
        if (status == PGRES_FATAL_ERROR) {
            sqlstate_error(result, &err);
            PQclear(result);
            break;
        }
        if (status == PGRES_COPY_BOTH || status == PGRES_COPY_IN) {
            PQclear(result);
            break;
        }
    }
    if (gap_cannot_decode(gap, &err)) {
        gap_lose_log(gap, &err);
        return;
    }
    if (sqlstate_is(&err, "58P01") || sqlstate_is(&err, "55000")) {
        err.class = ERROR_FATAL;
        err.exit_code = EXIT_GAP;
        err.code = CODE_SLOT_LOST;
    } else if (err.class == ERROR_FATAL && sqlstate_is(&err, "XX000")) {
        err.class = ERROR_RETRY; /* an internal error of decoding: may pass, and must be seen */
        claim_lose(wal->claim, &err);
        return;
    }
    gap_lose_log(gap, &err);
}

static void stream_deliver(Stream *stream)
{
    Batch *batch = assembler_finish(stream->with.assembler);
    stream->batch_since_us = 0;
    if (batch != NULL) {
        handover_deliver(stream->with.handover, batch);
    }
}

/* While a backlog comes in, what a read brought waits for company: a few events at a time would
 * make small requests to the broker, which cost both sides much more. */
static bool stream_batch_waits(Stream *stream, unsigned messages)
{
    const Batch *batch = stream->with.assembler->batch;
    int64_t read_us = pace_read_us(stream->pace);
    if (batch == NULL || batch->count == 0) {
        stream->batch_since_us = 0;
        return false;
    }
    if (stream->batch_since_us == 0) {
        stream->batch_since_us = read_us;
    }
    return pace_is_busy(stream->pace, messages) && read_us - stream->batch_since_us < GATHER_US;
}

static bool stream_batch_is_full(const Stream *stream)
{
    const PipelineConfig *pipeline = stream->with.wal->pipeline;
    const Batch *batch = stream->with.assembler->batch;
    return batch != NULL && (batch->count >= (size_t)pipeline->limits.batch_events ||
                             batch->bytes >= (size_t)pipeline->limits.batch_bytes);
}

/* For a whole batch: what a kill repeats stays within in_flight_events. The configuration refuses a
 * batch that is larger than the window. */
static bool stream_has_room(const Stream *stream)
{
    size_t events = 0;
    size_t bytes = 0;
    return handover_room(stream->with.handover, &events, &bytes) &&
           events >= (size_t)stream->with.wal->pipeline->limits.batch_events;
}

/* The furthest place that the message names. */
static uint64_t stream_furthest(const WireMessage *message)
{
    uint64_t furthest = message->end > message->start ? message->end : message->start;
    const unsigned char *data = (const unsigned char *)message->data.data;
    uint64_t places[2] = {0};
    if (message->data.length > 9 && data[0] == PGOUTPUT_BEGIN) {
        places[0] = bytes_load_u64(data + 1);
    } else if (message->data.length > 18 && data[0] == PGOUTPUT_COMMIT) {
        places[0] = bytes_load_u64(data + 2);
        places[1] = bytes_load_u64(data + 10);
    }
    for (int i = 0; i < 2; i++) {
        furthest = places[i] > furthest ? places[i] : furthest;
    }
    return furthest;
}

/* A relation whose place only the server knows. */
static bool stream_must_ask(const Stream *stream, const WireMessage *message, PgOutput *ret)
{
    const Assembler *assembler = stream->with.assembler;
    if (ask_is_answered(stream->ask) || message->data.length == 0 ||
        message->data.data[0] != PGOUTPUT_RELATION) {
        return false;
    }
    PgOutputReader reader = assembler->reader;
    AUTO_ERROR ignored = {0};
    return pgoutput_read(&reader, message->data, ret, &ignored) == OK &&
           assembler->reads->must_ask(assembler, &ret->relation);
}

/* False: the message waits for an answer, or the stream is lost. */
static bool stream_believe(Stream *stream, const WireMessage *message, const char *bytes,
                           size_t length)
{
    uint64_t furthest = stream_furthest(message);
    bool answered = ask_is_answered(stream->ask);
    bool far = server_log_is_far(stream->with.log, furthest, answered);
    PgOutput relation;
    if (far && answered) {
        AUTO_ERROR err = {0};
        server_log_refuse(stream->with.log, furthest, &err);
        claim_lose(stream->with.wal->claim, &err);
        return false;
    }
    if (far || stream_must_ask(stream, message, &relation)) {
        stream->paused = true;
        ask_hold(stream->ask, bytes, length, far ? NULL : &relation.relation);
        return false;
    }
    return true;
}

/* False: the stream is lost or paused. *bytes is NULL when somebody keeps them. */
static bool stream_take(Stream *stream, char **bytes, size_t length)
{
    const WalContext *wal = stream->with.wal;
    Assembler *assembler = stream->with.assembler;
    WireMessage message;
    AUTO_ERROR err = {0};
    if (wire_read(*bytes, length, &message, &err) != OK) {
        claim_lose(wal->claim, &err);
        return false;
    }
    if (!stream_believe(stream, &message, *bytes, length)) {
        return false;
    }
    if (message.kind != WIRE_KEEPALIVE &&
        tables_lie_elsewhere(stream->with.tables, stream->with.relations, message.data)) {
        /* It is held until what was read before is marked. */
        ask_keep(stream->ask, *bytes, length);
        stream->paused = true;
        claim_pulse_now(wal->claim);
        stream_deliver(stream);
        return false;
    }
    if (message.end > stream->received) {
        stream->received = message.end;
    }
    if (message.kind == WIRE_KEEPALIVE) {
        stream_keepalive(stream, &message);
        return wal->state == WAL_ACTIVE;
    }
    assembler->message = *bytes;
    assembler->message_lsn = message.start;
    bool answered = ask_is_answered(stream->ask) && assembler->reads->answered != NULL;
    Status taken = answered ? assembler->reads->answered(assembler, message.data, &err) : OK;
    taken = taken == OK ? assembler_take(assembler, message.data, &err) : FAILED;
    *bytes = assembler->message; /* NULL: the batch has it */
    assembler->message = NULL;
    if (taken != OK && err.code == CODE_CHANGE_SCHEMA_STALE && !answered) {
        stream->paused = true;
        ask_hold_change(stream->ask, *bytes, length, change_reader_relation(message.data));
        return false;
    }
    if (taken != OK) {
        gap_lose_log(stream->with.gap, &err);
        return false;
    }
    if (!stream_batch_is_full(stream)) {
        return true;
    }
    stream_deliver(stream);
    if (!stream_has_room(stream)) {
        stream->paused = true;
        return false;
    }
    return true;
}

/* True: it is held now. */
static bool stream_try_to_hold(Stream *stream)
{
    if (!stream->to_be_held || stream->with.wal->state != WAL_ACTIVE ||
        stream->with.assembler->in_transaction || ask_holds(stream->ask)) {
        return false;
    }
    stream_deliver(stream);
    if (stream->with.wal->state != WAL_ACTIVE) {
        return true; /* it was left */
    }
    stream->to_be_held = false;
    stream->held = stream->paused = true;
    pace_pause(stream->pace);
    wal_tell(stream->with.wal, NEWS_HELD);
    return true;
}

/* Everything that libpq has; the number of messages. */
static unsigned stream_drain_buffer(Stream *stream)
{
    PGconn *pg = stream_raw(stream);
    unsigned messages = 0;
    while (!stream_try_to_hold(stream)) {
        char *bytes = NULL;
        int length = PQgetCopyData(pg, &bytes, 1);
        if (length == 0) {
            return messages;
        }
        if (length < 0) {
            stream_deliver(stream); /* what was complete before */
            stream_ended(stream);
            return messages;
        }
        messages++;
        bool go_on = stream_take(stream, &bytes, (size_t)length);
        PQfreemem(bytes);
        if (!go_on) {
            return messages;
        }
    }
    return messages;
}

static void stream_read(void *arg)
{
    Stream *stream = arg;
    const WalContext *wal = stream->with.wal;
    PGconn *pg = stream_raw(stream);
    if (wal->state != WAL_ACTIVE || pg == NULL || stream->paused) {
        return;
    }
    if (PQconsumeInput(pg) == 0) {
        stream_ended(stream);
        return;
    }
    pace_note_read(stream->pace);
    unsigned messages = stream_drain_buffer(stream);
    if (wal->state != WAL_ACTIVE) {
        return;
    }
    if (!stream_batch_waits(stream, messages)) {
        stream_deliver(stream);
    }
    if (stream->paused || !stream_has_room(stream)) {
        stream->paused = true; /* until there is room again: stream_wake() */
        pace_pause(stream->pace);
        return;
    }
    marker_caught_up(wal->marker, !pace_is_coalescing(stream->pace));
    if (pace_wait(stream->pace, messages)) {
        stream_deliver(stream);
    }
}

/* In a batch of its own: what else waits for its topic does not stop it. */
void stream_beat(Stream *stream)
{
    if (stream->with.wal->state != WAL_ACTIVE || stream->paused ||
        progress_has_beat(stream->with.progress)) {
        return;
    }
    stream_deliver(stream);
    if (stream_has_room(stream)) {
        change_reader_beat(stream->with.assembler->changes, stream->with.assembler);
        stream_deliver(stream);
    }
}

static void stream_resume(Stream *stream)
{
    if (stream->held || ask_holds(stream->ask) || !stream_has_room(stream)) {
        return;
    }
    stream->paused = false;
    pace_resume(stream->pace); /* libpq may hold messages that no socket event tells of */
}

void stream_go_on(Stream *stream)
{
    if (!ask_holds(stream->ask)) {
        return;
    }
    size_t length = 0;
    char *bytes = ask_take(stream->ask, &length);
    bool go_on = stream_take(stream, &bytes, length);
    free(bytes);
    ask_end(stream->ask);
    if (go_on) {
        stream_resume(stream);
    }
}

void stream_wake(Stream *stream)
{
    if (stream->paused) {
        stream_resume(stream);
    }
}

void stream_hold(Stream *stream)
{
    stream->to_be_held = true;
    (void)stream_try_to_hold(stream);
}

void stream_release(Stream *stream)
{
    stream->to_be_held = stream->held = false;
    stream_wake(stream);
}

void stream_watch(Stream *stream)
{
    const WalContext *wal = stream->with.wal;
    int64_t silent_us = clock_monotonic_us() - pace_read_us(stream->pace);
    int64_t lease_us = wal->pipeline->claim.lease_ms * 1000;
    if (stream->paused) {
        silent_us = 0; /* we do not listen */
        pace_note_read(stream->pace);
    }
    if (silent_us > lease_us) {
        AUTO_ERROR err = {0};
        error_set(&err, CODE_POSTGRES_SILENT, "nothing came from PostgreSQL for %lld ms",
                  (long long)wal->pipeline->claim.lease_ms);
        claim_lose(wal->claim, &err);
        return;
    }
    stream_send_status(stream,
                       silent_us > lease_us / 2 || server_log_wants_confirming(stream->with.log));
}

uint64_t stream_received(const Stream *stream)
{
    return stream->received;
}

bool stream_is_caught_up(const Stream *stream)
{
    return stream->with.wal->state == WAL_ACTIVE && !stream->paused &&
           !pace_is_coalescing(stream->pace);
}

void stream_begin(Stream *stream, PgConn *walsender)
{
    stream->walsender = walsender;
    stream->received = 0;
    server_log_begin(stream->with.log);
    stream->paused = false;
    stream->storm_since_us = 0;
    pace_begin(stream->pace, PQsocket(pg_conn_raw(walsender)));
    stream->status_us = pace_read_us(stream->pace);
    stream_send_status(stream, true);
    if (stream->with.wal->state == WAL_ACTIVE) {
        stream_read(stream);
    }
}

void stream_stop(Stream *stream)
{
    pace_stop(stream->pace);
    ask_forget(stream->ask);
    stream->walsender = NULL;
    stream->paused = stream->to_be_held = stream->held = false;
}

Status stream_new(const StreamParts *parts, Stream **ret_stream, Error *err)
{
    Stream *stream = x_calloc(1, sizeof(*stream));
    stream->with = *parts;
    if (pace_new(parts->wal->options->base, stream_read, stream, &stream->pace, err) != OK) {
        free(stream);
        return FAILED;
    }
    Captured *captured = parts->assembler->changes != NULL
                             ? change_reader_captured(parts->assembler->changes)
                             : NULL;
    stream->ask =
        ask_new(parts->wal, parts->log, parts->tables, parts->verify, parts->relations, captured);
    *ret_stream = stream;
    return OK;
}

void stream_free(Stream **stream)
{
    if (*stream == NULL) {
        return;
    }
    ask_free(&(*stream)->ask);
    pace_free(&(*stream)->pace);
    free(*stream);
    *stream = NULL;
}
