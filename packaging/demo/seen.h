/* seen.h - what a consumer that knows only the documented envelope reads from one Kafka record.
 *
 * The headers are those of CloudEvents' Kafka binary mode. Nothing here is shared with the relay.
 */
#ifndef DEMO_SEEN_H
#define DEMO_SEEN_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SEEN_TEXT_MAX = 128 };

/* Texts are NUL-terminated, cut to fit, and safe to print: control characters became '?'. */
typedef struct Seen {
    char topic[SEEN_TEXT_MAX];
    char key[SEEN_TEXT_MAX];
    char type[SEEN_TEXT_MAX];
    char id[SEEN_TEXT_MAX];
    char correlation[SEEN_TEXT_MAX];
    char causation[SEEN_TEXT_MAX];
    bool has_time;
    int64_t lag_us; /* from occurred-at to 'now_us'; valid when 'has_time' */
    const char
        *payload; /* the record's own bytes, as long as the record lives; NULL for a tombstone */
    size_t payload_bytes;
} Seen;

/* Reads 'record', received at 'now_us' (wall clock, microseconds since 1970), into 'ret_seen'; a
 * header that is missing gives an empty text. */
void seen_read(const rd_kafka_message_t *record, int64_t now_us, Seen *ret_seen);

/* Parses "2026-11-21T09:12:44.120034Z" into microseconds since 1970; false when 'text' is not such
 * a time, 'ret_us' is then untouched. */
bool seen_parse_time(const char *text, int64_t *ret_us);

/* Copies 'bytes' bytes of 'from' so that they are safe to print on a terminal, and terminates them;
 * what does not fit 'size' is cut. */
void seen_copy_printable(char *to, size_t size, const void *from, size_t bytes);

#endif
