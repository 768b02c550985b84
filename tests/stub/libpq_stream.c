/* CopyBoth: what a walsender streams, and what it is told. CopyIn: what a server is fed with. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stub/libpq_internal.h"

static StubReceiver receiver;

void stub_stream_receive(StubReceiver receive)
{
    receiver = receive;
}

void stub_reply_copy_both(StubReply *reply)
{
    stub_reply_no_row(reply);
    reply->items[reply->count - 1].result->status = PGRES_COPY_BOTH;
}

static PGconn *stream_find(int connection)
{
    for (size_t i = 0; i < sizeof(stub.list) / sizeof(stub.list[0]); i++) {
        if (stub.list[i] != NULL && stub.list[i]->number == connection) {
            return stub.list[i];
        }
    }
    abort(); /* it is closed: the test's mistake */
}

static void stream_make_readable(PGconn *conn)
{
    if (write(conn->socket[1], "x", 1) != 1) {
        abort();
    }
}

void stub_stream_send(int connection, const char *bytes, size_t length)
{
    PGconn *conn = stream_find(connection);
    stub_reply_copy_row(conn->reply, bytes, length);
    stream_make_readable(conn);
}

void stub_stream_end(int connection, const char *state, const char *message)
{
    PGconn *conn = stream_find(connection);
    stub_reply_error(conn->reply, state, message);
    stream_make_readable(conn);
}

void stub_reply_copy_in(StubReply *reply)
{
    stub_reply_no_row(reply);
    reply->items[reply->count - 1].result->status = PGRES_COPY_IN;
    stub_reply_hang(reply);
}

int PQputCopyData(PGconn *conn, const char *bytes, int length)
{
    if (conn->feeding && stub_call_fails()) {
        return -1;
    }
    if (receiver != NULL) {
        receiver(stub.arg, conn->number, bytes, (size_t)length);
    }
    return 1;
}

int PQputCopyEnd(PGconn *conn, const char *why)
{
    if (!conn->feeding) {
        abort(); /* the caller's mistake */
    }
    if (stub_call_fails()) {
        return -1;
    }
    conn->feeding = false;
    if (why != NULL) {
        StubReply *reply = conn->reply;
        while (reply->count > reply->arrived) {
            Item *item = &reply->items[--reply->count];
            free(item->bytes);
            PQclear(item->result);
        }
        stub_reply_error(reply, "57014", why);
        stream_make_readable(conn);
    } else {
        stub_continue();
    }
    return 1;
}
