/* COPY in binary: a head, one tuple, an end. Each field is its length and what the receive function
 * of its type reads (PostgreSQL's documentation: sql-copy, "Binary Format"; arrays: array_recv in
 * src/backend/utils/adt/arrayfuncs.c). The server does not care where one message of COPY ends and
 * the next begins. */
#include "rows/dead_letter_feed.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "base/timestamp.h"

enum {
    SLICE_BYTES = 256 * 1024,
    COLUMNS = DEAD_LETTER_PARAMS + 3,
    HEX_BEGIN = 2, /* "\x" */
    OID_BYTEA = 17,
    OID_TEXT = 25,
    /* Of each value that stands apart its length and its bytes; before and behind them the rest. */
    PIECES_MAX = 2 + 2 * (DEAD_LETTER_PARAMS_MAX - DEAD_LETTER_PARAMS),
};

typedef enum Kind { AS_TEXT, AS_BYTES, AS_JSONB, AS_INT4, AS_INT8, AS_TIME } Kind;

/* Of the parameters, in the order of DEAD_LETTER_COLUMNS. */
static const Kind KINDS[DEAD_LETTER_PARAMS] = {
    AS_TEXT,  /* pipeline */
    AS_INT8,  /* seq */
    AS_TEXT,  /* event_id */
    AS_JSONB, /* event */
    AS_TEXT,  /* topic */
    AS_BYTES, /* record_key */
    AS_BYTES, /* record_value */
    AS_JSONB, /* record_headers */
    AS_TIME,  /* record_timestamp */
    AS_TEXT,  /* reason */
    AS_TEXT,  /* error_class */
    AS_TEXT,  /* error_code */
    AS_INT4,  /* attempts */
};

typedef struct Piece {
    Slice bytes;
    bool hex; /* digits of a bytea as text, behind its "\x" */
} Piece;

struct DeadLetterFeed {
    char *sql;
    Text before;
    char lengths[DEAD_LETTER_PARAMS_MAX][4];
    Text behind;
    Piece pieces[PIECES_MAX];
    size_t count;
    size_t at;   /* piece, and ... */
    size_t sent; /* ... how much of it */
    char decoded[SLICE_BYTES];
};

static void store_be(char *at, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        at[i] = (char)(value >> 8 * (bytes - 1 - i));
    }
}

static void add_be(Text *text, uint64_t value, size_t bytes)
{
    char big[8];
    store_be(big, value, bytes);
    text_append(text, big, bytes);
}

static void add_number(Text *text, uint64_t value, size_t bytes)
{
    add_be(text, bytes, 4);
    add_be(text, value, bytes);
}

static void add_param(Text *text, const DeadLetter *letter, int param)
{
    const char *value = letter->values[param];
    if (value == NULL) {
        add_be(text, UINT32_MAX, 4);
        return;
    }
    size_t length = letter->formats[param] == 1 ? (size_t)letter->lengths[param] : strlen(value);
    switch (KINDS[param]) {
    case AS_JSONB:
        add_be(text, length + 1, 4);
        text_add_char(text, 1); /* version */
        text_append(text, value, length);
        return;
    case AS_INT4:
        add_number(text, (uint64_t)strtoll(value, NULL, 10), 4);
        return;
    case AS_INT8:
        add_number(text, (uint64_t)strtoll(value, NULL, 10), 8);
        return;
    case AS_TIME:
        add_number(text, (uint64_t)(strtoll(value, NULL, 10) * 1000 - TIMESTAMP_POSTGRES_EPOCH_US),
                   8);
        return;
    case AS_TEXT:
    case AS_BYTES:
        add_be(text, length, 4);
        text_append(text, value, length);
        return;
    }
}

/* The length of an array's field, and what stands before its elements. */
static void add_array(Text *text, uint32_t type, size_t elements, size_t bytes)
{
    add_be(text, 20 + 4 * elements + bytes, 4);
    add_be(text, 1, 4); /* dimensions */
    add_be(text, 0, 4); /* no NULL in it */
    add_be(text, type, 4);
    add_be(text, elements, 4);
    add_be(text, 1, 4); /* lower bound */
}

static size_t apart_bytes(const DeadLetter *letter, int param)
{
    size_t length = (size_t)letter->lengths[param];
    return letter->hex[param] ? (length - HEX_BEGIN) / 2 : length;
}

static void feed_add(DeadLetterFeed *feed, Slice bytes, bool hex)
{
    feed->pieces[feed->count++] = (Piece){.bytes = bytes, .hex = hex};
}

DeadLetterFeed *dead_letter_feed_new(const DeadLetter *letter, const char *table)
{
    size_t elements = (size_t)(letter->count - DEAD_LETTER_PARAMS);
    size_t bytes = 0;
    size_t name_bytes = 0;
    for (int param = DEAD_LETTER_PARAMS; param < letter->count; param++) {
        bytes += apart_bytes(letter, param);
        name_bytes += strlen(letter->names[param]);
    }
    if (bytes < DEAD_LETTER_FEED_BYTES) {
        return NULL;
    }
    DeadLetterFeed *feed = x_malloc(sizeof(*feed));
    memset(feed, 0, offsetof(DeadLetterFeed, decoded));
    feed->sql = x_format("COPY %s (" DEAD_LETTER_COLUMNS ") FROM STDIN (FORMAT binary)", table);
    Text *before = &feed->before;
    text_append(before, "PGCOPY\n\377\r\n\0", 11);
    add_be(before, 0, 4); /* flags */
    add_be(before, 0, 4); /* bytes of more head */
    add_be(before, COLUMNS, 2);
    for (int param = 0; param < DEAD_LETTER_PARAMS; param++) {
        add_param(before, letter, param);
    }
    add_array(before, OID_TEXT, elements, name_bytes);
    for (int param = DEAD_LETTER_PARAMS; param < letter->count; param++) {
        add_be(before, strlen(letter->names[param]), 4);
        text_add(before, letter->names[param]);
    }
    add_array(before, OID_BYTEA, elements, bytes);
    feed_add(feed, (Slice){.data = before->data, .length = before->length}, false);
    for (int param = DEAD_LETTER_PARAMS; param < letter->count; param++) {
        char *length = feed->lengths[param];
        size_t skip = letter->hex[param] ? HEX_BEGIN : 0;
        store_be(length, apart_bytes(letter, param), 4);
        feed_add(feed, (Slice){.data = length, .length = 4}, false);
        feed_add(feed,
                 (Slice){.data = letter->values[param] + skip,
                         .length = (size_t)letter->lengths[param] - skip},
                 letter->hex[param]);
    }
    add_be(&feed->behind, 1, 4);
    text_add_char(&feed->behind, letter->whole ? 1 : 0);
    add_be(&feed->behind, UINT16_MAX, 2); /* no more tuples */
    feed_add(feed, (Slice){.data = feed->behind.data, .length = feed->behind.length}, false);
    return feed;
}

void dead_letter_feed_free(DeadLetterFeed **feed)
{
    if (*feed != NULL) {
        free((*feed)->sql);
        text_free(&(*feed)->before);
        text_free(&(*feed)->behind);
        free(*feed);
        *feed = NULL;
    }
}

const char *dead_letter_feed_sql(const DeadLetterFeed *feed)
{
    return feed->sql;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; /* as bytea_output prints it */
}

static Slice feed_decode(DeadLetterFeed *feed, Slice digits, const char **ret_why)
{
    size_t bytes = (digits.length + 1) / 2;
    for (size_t i = 0; i < bytes; i++) {
        int high = hex_digit(digits.data[2 * i]);
        int low = 2 * i + 1 < digits.length ? hex_digit(digits.data[2 * i + 1]) : -1;
        if (high < 0 || low < 0) {
            *ret_why = "a bytea that the server sent is not in hexadecimal digits";
            return SLICE_NULL;
        }
        feed->decoded[i] = (char)(high << 4 | low);
    }
    return (Slice){.data = feed->decoded, .length = bytes};
}

Slice dead_letter_feed_next(DeadLetterFeed *feed, const char **ret_why)
{
    while (feed->at < feed->count && feed->sent >= feed->pieces[feed->at].bytes.length) {
        feed->at++;
        feed->sent = 0;
    }
    if (feed->at == feed->count) {
        return SLICE_NULL;
    }
    const Piece *piece = &feed->pieces[feed->at];
    size_t left = piece->bytes.length - feed->sent;
    size_t most = piece->hex ? 2 * SLICE_BYTES : SLICE_BYTES;
    Slice slice = {.data = piece->bytes.data + feed->sent, .length = left < most ? left : most};
    feed->sent += slice.length;
    return piece->hex ? feed_decode(feed, slice, ret_why) : slice;
}
