/* Messages of pgoutput. The first byte of the input says the protocol (1 to 4) and whether
 * streaming is parallel; then a stream: an int16 length before each message. */
#include <stdlib.h>
#include <string.h>

#include "cdc/pgoutput.h"
#include "stub/pgoutput_print.h"
#include "target.h"

static bool same_reader(const PgOutputReader *a, const PgOutputReader *b)
{
    return a->protocol == b->protocol && a->parallel == b->parallel &&
           a->in_stream_segment == b->in_stream_segment;
}

/* A message that was read is whole: a byte less, and it is not. */
static void check_end(const PgOutputReader *before, Slice bytes)
{
    PgOutputReader reader = *before;
    PgOutput message;
    Slice shorter = {.data = bytes.data, .length = bytes.length - 1};
    if (pgoutput_read(&reader, shorter, &message, NULL) == OK || !same_reader(&reader, before)) {
        abort();
    }
}

static void check_message(PgOutputReader *reader, Slice bytes)
{
    PgOutputReader before = *reader;
    PgOutput message;
    AUTO_ERROR err = {0};
    if (pgoutput_read(reader, bytes, &message, &err) != OK) {
        if (err.class != ERROR_RETRY || error_message(&err)[0] == '\0' ||
            !same_reader(reader, &before)) {
            abort();
        }
        return;
    }
    Text text = TEXT_EMPTY;
    pgoutput_print(&message, NULL, &text);
    if (text.length == 0) {
        abort();
    }
    text_free(&text);
    check_end(&before, bytes);
}

/* In memory of exactly that length, so that a read behind it is found. */
static void check_copy(PgOutputReader *reader, Slice bytes)
{
    char *exact = malloc(bytes.length > 0 ? bytes.length : 1);
    if (exact != NULL) {
        memcpy(exact, bytes.data, bytes.length);
        check_message(reader, (Slice){.data = exact, .length = bytes.length});
        free(exact);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    PgOutputReader reader = {.protocol = 1 + (data[0] & 3), .parallel = (data[0] & 4) != 0};
    ByteReader in = bytes_reader((const char *)data + 1, size - 1);
    while (bytes_left(&in) > 2 && !in.failed) {
        size_t length = bytes_u16(&in);
        Slice message = bytes_slice(&in, length);
        if (!in.failed) {
            check_copy(&reader, message);
        }
    }
    return 0;
}
