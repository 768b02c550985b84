/* limits: what outbox.emit lets pass, so that whatever it accepts can be published.
 *
 * An event id of emit is a UUID; that of an adopted table takes at most REFUSAL_SMALL_BYTES
 * (flow/refusal.h).
 *
 * The same numbers stand in sql/0002_functions.up.sql (check_event, check_headers), in bytes of
 * UTF-8. The relay itself refuses only what concerns the row's headers: an adopted table has rules
 * of its own, and the topic's limit holds in any case. A record that emit accepts takes at most
 *   key twice (it is ce_subject, too) + value + types + ids + content type + traceparent + the text
 *   of the headers + LIMIT_ENVELOPE_BYTES
 * bytes; tests/unit/encode/test_encode.c and tests/fuzz/fuzz_encode.c hold the encoder to that. */
#pragma once

enum {
    LIMIT_TYPE_BYTES = 200,  /* event_type, aggregate_type */
    LIMIT_KEY_BYTES = 65536, /* aggregate_id */
    LIMIT_ID_BYTES = 1024,   /* correlation_id, causation_id */
    LIMIT_CONTENT_TYPE_BYTES = 255,
    LIMIT_TRACEPARENT_BYTES = 512,
    LIMIT_HEADERS_BYTES = 65536, /* the text of the JSON object */
    LIMIT_HEADERS_DEPTH = 32,    /* objects and arrays, one in the other, below a member */
    LIMIT_ENVELOPE_BYTES = 1024, /* names, lengths, source, times, versions, position headers */
    LIMIT_SOURCE_BYTES = 512,    /* the option `source` */
};
