/* The stream: reading it, telling the server what is confirmed, following an idle log.
 *
 * Coalesced reads. The walsender sends each message of a small transaction by itself; a reader that
 * wakes for every one costs both sides a system call and a context switch per message, and on the
 * loopback the kernel acknowledges every packet. While bytes come in thick and fast the socket is
 * therefore read on a timer, a portion of libpq's buffer at a time, at a pace that follows the
 * server's: just so slow that the receive buffer stays full. Then what the server sends piles up on
 * its side and travels in large segments, at half the cost. Ticks that bring next to nothing end
 * that. At low rates each message is read as it comes.
 *
 * Status updates. "flushed" is the position that outbox.position holds, so it never goes backwards,
 * is never inside a transaction and never 0. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/timestamp.h"
#include "cdc/wal_internal.h"
#include "pg/message.h"
#include "pg/sqlstate.h"

enum {
    TICK_US = 150,      /* between two reads, at first */
    TICK_MAX_US = 1000, /* longest */
    TICK_SHORTER = 32,  /* by a 32nd while the buffer is full */
    TICK_LONGER = 8,    /* by an 8th while it is not */
    FULL_BYTES = 30000, /* left in the socket after a read: the server is ahead */
    GATHER_US = 10000,  /* events wait so long for company while a backlog comes in: */
    BUSY_MESSAGES = 48, /* the buffer is full, or a read brings so many */
    BURST_READS = 16,   /* so many reads ... */
    BURST_US = 2000,    /* ... within this: a backlog is coming in */
    QUIET_MESSAGES = 4,
    QUIET_TICKS = 3,
    REPLY_EVERY_MS = 100, /* answers to a server that asks again and again */
    IDLE_BYTES = 8 * 1024 * 1024,
};

static void stream_read(WalSource *wal);

static void stream_on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    stream_read(arg);
}

static void stream_on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    WalSource *wal = arg;
    if (wal->state == WAL_ACTIVE && wal->stream.coalescing && !wal->stream.paused) {
        stream_read(wal);
    }
}

static void stream_arm_tick(WalSource *wal)
{
    int64_t left_us = wal->stream.read_us + wal->stream.tick_us - clock_monotonic_us();
    struct itimerspec spec = {.it_value = {.tv_nsec = left_us > 0 ? (long)left_us * 1000 : 1}};
    (void)timerfd_settime(wal->stream.tick_fd, 0, &spec, NULL);
}

/* The pace of the reads follows the server's. */
static void stream_pace(WalSource *wal)
{
    Stream *stream = &wal->stream;
    int waiting = 0;
    if (ioctl(PQsocket(pg_conn_raw(wal->walsender)), FIONREAD, &waiting) != 0) {
        waiting = FULL_BYTES;
    }
    if (waiting >= FULL_BYTES) {
        stream->tick_us -= stream->tick_us / TICK_SHORTER + 1;
        stream->tick_us = stream->tick_us < 0 ? 0 : stream->tick_us;
    } else {
        stream->tick_us += stream->tick_us / TICK_LONGER + 1;
        stream->tick_us = stream->tick_us > TICK_MAX_US ? TICK_MAX_US : stream->tick_us;
    }
}

void stream_send_status(WalSource *wal, bool reply)
{
    PGconn *pg = pg_conn_raw(wal->walsender);
    uint64_t confirmed = marker_position(wal->marker).lsn;
    if (pg == NULL || wal->state != WAL_ACTIVE || confirmed == 0) {
        return;
    }
    if (!wal_lease_holds(wal)) {
        wal_lose_lease(wal); /* a sign of life now would not undo the silence before it */
        return;
    }
    char message[WIRE_STATUS_BYTES];
    uint64_t written = wal->stream.received > confirmed ? wal->stream.received : confirmed;
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
    wal->stream.status_us = clock_monotonic_us();
    if (FAILPOINT_FAILS("feedback_sent", &err)) {
        claim_lose(wal->claim, &err);
    }
}

/* Nothing is outstanding: our position may follow what the server tells of its log. What it tells
 * is believed once the control connection saw that the log is that long. */
void stream_advance_idle(WalSource *wal)
{
    uint64_t position = marker_position(wal->marker).lsn;
    uint64_t complete = wal->assembler.complete_lsn;
    uint64_t told = wal->assembler.told_lsn > complete ? wal->assembler.told_lsn : complete;
    uint64_t proven = wal->idle.proven > complete ? wal->idle.proven : complete;
    if (!wal_is_idle(wal) || told <= position) {
        return;
    }
    uint64_t until = wal->idle.wanted ? wal->idle.until : position + IDLE_BYTES;
    if (told >= until && proven < until) {
        claim_ping(wal->claim);
        return;
    }
    if (proven > position && proven >= until) {
        wal->idle.wanted = false;
        wal->acked = (MarkerPosition){.lsn = proven};
        wal->verify.idle = true;
        verify_push(wal, true);
    }
}

/* A server that is stopping waits until everything it sent is confirmed, and asks for it as often
 * as it can. It is answered at a bounded rate, and after the grace we hang up: nothing is lost. */
static void stream_keepalive(WalSource *wal, const WireMessage *message)
{
    Stream *stream = &wal->stream;
    int64_t now_us = clock_monotonic_us();
    assembler_told(&wal->assembler, message->end);
    stream_advance_idle(wal);
    if (!message->reply) {
        return;
    }
    if (now_us - stream->status_us >= REPLY_EVERY_MS * 1000) {
        if (now_us - stream->status_us >= 10 * REPLY_EVERY_MS * 1000) {
            stream->storm_since_us = 0;
        }
        stream_send_status(wal, false);
        return;
    }
    if (stream->storm_since_us == 0) {
        stream->storm_since_us = now_us;
    }
    if (now_us - stream->storm_since_us > wal->options.pipeline->wal.shutdown_grace_ms * 1000) {
        AUTO_ERROR err = {0};
        error_set(&err, CODE_SERVER_STOPPING,
                  "PostgreSQL is shutting down and waits for the relay; disconnecting");
        claim_lose(wal->claim, &err);
    }
}

/* The server ended the stream, or the connection broke. */
static void stream_ended(WalSource *wal)
{
    PGconn *pg = pg_conn_raw(wal->walsender);
    AUTO_ERROR err = {0};
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
    if (wal_cannot_decode(wal, &err)) {
        wal_lose_log(wal, &err);
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
    wal_lose_log(wal, &err);
}

static void stream_deliver(WalSource *wal)
{
    Batch *batch = assembler_finish(&wal->assembler);
    wal->stream.batch_since_us = 0;
    if (batch != NULL) {
        wal_deliver(wal, batch);
    }
}

/* While a backlog comes in, what a read brought waits for company: a few events at a time would
 * make small requests to the broker, which cost both sides much more. */
static bool stream_batch_waits(WalSource *wal, unsigned messages)
{
    Stream *stream = &wal->stream;
    const Batch *batch = wal->assembler.batch;
    if (batch == NULL || batch->count == 0) {
        stream->batch_since_us = 0;
        return false;
    }
    if (stream->batch_since_us == 0) {
        stream->batch_since_us = stream->read_us;
    }
    bool backlog = stream->tick_us < TICK_MAX_US || messages >= BUSY_MESSAGES;
    return stream->coalescing && backlog && stream->read_us - stream->batch_since_us < GATHER_US;
}

static bool stream_batch_is_full(const WalSource *wal)
{
    const Batch *batch = wal->assembler.batch;
    return batch != NULL && (batch->count >= (size_t)wal->options.pipeline->limits.batch_events ||
                             batch->bytes >= (size_t)wal->options.pipeline->limits.batch_bytes);
}

/* For a whole batch: what a kill repeats stays within in_flight_events. The configuration refuses a
 * batch that is larger than the window. */
static bool stream_has_room(WalSource *wal)
{
    size_t events = 0;
    size_t bytes = 0;
    return wal_room(wal, &events, &bytes) &&
           events >= (size_t)wal->options.pipeline->limits.batch_events;
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
static bool stream_must_ask(const WalSource *wal, const WireMessage *message, PgOutput *ret)
{
    if (wal->held.answered || message->data.length == 0 ||
        message->data.data[0] != PGOUTPUT_RELATION) {
        return false;
    }
    PgOutputReader reader = wal->assembler.reader;
    AUTO_ERROR ignored = {0};
    return pgoutput_read(&reader, message->data, ret, &ignored) == OK &&
           (relations_must_ask(&wal->assembler.relations, &ret->relation) ||
            relations_told_before(&wal->assembler.relations, &ret->relation));
}

/* False: the message waits for an answer, or the stream is lost. */
static bool stream_believe(WalSource *wal, const WireMessage *message, const char *bytes,
                           size_t length)
{
    uint64_t furthest = stream_furthest(message);
    PgOutput relation;
    if (ask_is_far(wal, furthest)) {
        if (!wal->held.answered) {
            ask_hold(wal, bytes, length, NULL);
            return false;
        }
        char a[24];
        char b[24];
        AUTO_ERROR err = {0};
        error_set(
            &err, CODE_PG_PROTOCOL,
            "a message of the stream gives position %s, beyond the end of the server's WAL, %s",
            lsn_format(furthest, a), lsn_format(wal->log_end, b));
        claim_lose(wal->claim, &err);
        return false;
    }
    if (stream_must_ask(wal, message, &relation)) {
        ask_hold(wal, bytes, length, &relation.relation);
        return false;
    }
    return true;
}

/* False: the stream is lost or paused. *bytes is NULL when somebody keeps them. */
static bool stream_take(WalSource *wal, char **bytes, size_t length)
{
    WireMessage message;
    AUTO_ERROR err = {0};
    if (wire_read(*bytes, length, &message, &err) != OK) {
        claim_lose(wal->claim, &err);
        return false;
    }
    if (!stream_believe(wal, &message, *bytes, length)) {
        return false;
    }
    if (message.kind != WIRE_KEEPALIVE && tables_hold(wal, *bytes, length, message.data)) {
        stream_deliver(wal);
        return false;
    }
    if (message.end > wal->stream.received) {
        wal->stream.received = message.end;
    }
    if (message.kind == WIRE_KEEPALIVE) {
        stream_keepalive(wal, &message);
        return wal->state == WAL_ACTIVE;
    }
    wal->assembler.message = *bytes;
    Status taken = assembler_take(&wal->assembler, message.data, &err);
    *bytes = wal->assembler.message; /* NULL: the batch has it */
    wal->assembler.message = NULL;
    if (taken != OK) {
        wal_lose_log(wal, &err);
        return false;
    }
    if (!stream_batch_is_full(wal)) {
        return true;
    }
    stream_deliver(wal);
    if (!stream_has_room(wal)) {
        wal->stream.paused = true;
        return false;
    }
    return true;
}

/* Everything that libpq has; the number of messages. */
static unsigned stream_drain_buffer(WalSource *wal)
{
    PGconn *pg = pg_conn_raw(wal->walsender);
    unsigned messages = 0;
    for (;;) {
        char *bytes = NULL;
        int length = PQgetCopyData(pg, &bytes, 1);
        if (length == 0) {
            return messages;
        }
        if (length < 0) {
            stream_deliver(wal); /* what was complete before */
            stream_ended(wal);
            return messages;
        }
        messages++;
        bool go_on = stream_take(wal, &bytes, (size_t)length);
        PQfreemem(bytes);
        if (!go_on) {
            return messages;
        }
    }
}

/* How to wait for the next bytes. */
static void stream_wait(WalSource *wal, unsigned messages)
{
    Stream *stream = &wal->stream;
    int64_t now_us = stream->read_us;
    if (stream->coalescing) {
        stream->quiet_ticks = messages < QUIET_MESSAGES ? stream->quiet_ticks + 1 : 0;
        if (stream->quiet_ticks < QUIET_TICKS) {
            stream_pace(wal);
            stream_arm_tick(wal);
            return;
        }
        stream->coalescing = false;
        stream->burst = 0;
        stream_deliver(wal);
        event_add(stream->readable, NULL);
        return;
    }
    if (now_us - stream->burst_since_us > BURST_US) {
        stream->burst_since_us = now_us;
        stream->burst = 0;
    }
    if (++stream->burst >= BURST_READS) {
        stream->coalescing = true;
        stream->quiet_ticks = 0;
        stream->tick_us = TICK_US;
        event_del(stream->readable);
        stream_arm_tick(wal);
    }
}

static void stream_read(WalSource *wal)
{
    PGconn *pg = pg_conn_raw(wal->walsender);
    if (wal->state != WAL_ACTIVE || pg == NULL) {
        return;
    }
    if (PQconsumeInput(pg) == 0) {
        stream_ended(wal);
        return;
    }
    wal->stream.read_us = clock_monotonic_us();
    unsigned messages = stream_drain_buffer(wal);
    if (wal->state != WAL_ACTIVE) {
        return;
    }
    if (!stream_batch_waits(wal, messages)) {
        stream_deliver(wal);
    }
    if (wal->stream.paused || !stream_has_room(wal)) {
        wal->stream.paused = true; /* until there is room again: stream_resume() */
        event_del(wal->stream.readable);
        return;
    }
    marker_caught_up(wal->marker, !wal->stream.coalescing);
    stream_wait(wal, messages);
}

void stream_go_on(WalSource *wal)
{
    Held held = wal->held;
    wal->held.bytes = NULL; /* `answered` holds for this message */
    bool go_on = stream_take(wal, &held.bytes, held.length);
    free(held.bytes);
    if (wal->held.bytes == NULL) {
        wal->held = (Held){0};
    }
    if (go_on) {
        stream_resume(wal);
    }
}

void stream_resume(WalSource *wal)
{
    if (wal->held.bytes != NULL || !stream_has_room(wal)) {
        return;
    }
    wal->stream.paused = false;
    wal->stream.coalescing = true; /* libpq may hold messages that no socket event tells of */
    wal->stream.quiet_ticks = 0;
    stream_arm_tick(wal);
}

/* Each pulse: says that we are there; after half a lease of silence wants an answer. */
void stream_watch(WalSource *wal)
{
    int64_t silent_us = clock_monotonic_us() - wal->stream.read_us;
    int64_t lease_us = wal->options.pipeline->claim.lease_ms * 1000;
    if (wal->stream.paused) {
        silent_us = 0; /* we do not listen */
        wal->stream.read_us = clock_monotonic_us();
    }
    if (silent_us > lease_us) {
        AUTO_ERROR err = {0};
        error_set(&err, CODE_POSTGRES_SILENT, "nothing came from PostgreSQL for %lld ms",
                  (long long)wal->options.pipeline->claim.lease_ms);
        claim_lose(wal->claim, &err);
        return;
    }
    stream_send_status(wal, silent_us > lease_us / 2 || wal->idle.wanted);
}

void stream_begin(WalSource *wal)
{
    Stream *stream = &wal->stream;
    stream->received = 0;
    wal->idle.asked = 0;
    wal->idle.proven = 0;
    stream->read_us = clock_monotonic_us();
    stream->status_us = stream->read_us;
    stream->paused = false;
    stream->coalescing = false;
    stream->tick_us = TICK_US;
    stream->burst = 0;
    stream->storm_since_us = 0;
    stream->readable = event_new(wal->options.base, PQsocket(pg_conn_raw(wal->walsender)),
                                 EV_READ | EV_PERSIST, stream_on_readable, wal);
    event_add(stream->readable, NULL);
    stream_send_status(wal, true);
    if (wal->state == WAL_ACTIVE) {
        stream_read(wal);
    }
}

void stream_stop(WalSource *wal)
{
    if (wal->stream.readable != NULL) {
        event_free(wal->stream.readable);
        wal->stream.readable = NULL;
    }
    wal->stream.coalescing = false;
    wal->stream.paused = false;
}

Status stream_init(WalSource *wal, Error *err)
{
    wal->stream.tick_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (wal->stream.tick_fd < 0) {
        char reason[128];
        return error_set(err, CODE_TIMER, "cannot make a timer: %s",
                         strerror_r(errno, reason, sizeof(reason)));
    }
    /* Edge-triggered: setting the timer anew is enough, nothing has to be read. */
    wal->stream.tick = event_new(wal->options.base, wal->stream.tick_fd,
                                 EV_READ | EV_PERSIST | EV_ET, stream_on_tick, wal);
    event_add(wal->stream.tick, NULL);
    return OK;
}

void stream_release(WalSource *wal)
{
    stream_stop(wal);
    if (wal->stream.tick != NULL) {
        event_free(wal->stream.tick);
    }
    if (wal->stream.tick_fd > 0) {
        close(wal->stream.tick_fd);
    }
}
