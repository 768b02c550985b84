#include "rows/dead_letter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "base/timestamp.h"
#include "base/utf8.h"

enum {
    PARAM_PIPELINE,
    PARAM_SEQ,
    PARAM_EVENT_ID,
    PARAM_EVENT,
    PARAM_TOPIC,
    PARAM_KEY,
    PARAM_VALUE,
    PARAM_HEADERS,
    PARAM_TIMESTAMP,
    PARAM_REASON,
    PARAM_CLASS,
    PARAM_CODE,
    PARAM_ATTEMPTS,
};

static void add_hex(Text *text, Slice bytes)
{
    if (slice_is_null(bytes)) {
        text_add(text, "null");
        return;
    }
    text_add(text, "\"\\\\x");
    for (size_t i = 0; i < bytes.length; i++) {
        text_printf(text, "%02x", (unsigned char)bytes.data[i]);
    }
    text_add_char(text, '"');
}

/* What a text column of any database can hold: bytes that are not UTF-8, and NUL, become U+FFFD, or
 * with ascii_only every character beyond ASCII "?". The caller's to free. */
static char *clean_text(Slice value, bool ascii_only)
{
    Text clean = TEXT_EMPTY;
    text_append(&clean, "", 0);
    for (size_t i = 0; i < value.length;) {
        size_t step = utf8_sequence(value.data + i, value.length - i);
        bool odd = step == 0 || value.data[i] == '\0';
        step = step > 0 ? step : 1;
        if (ascii_only && (odd || step > 1)) {
            text_add_char(&clean, '?');
        } else if (odd) {
            text_add(&clean, "\xEF\xBF\xBD");
        } else {
            text_append(&clean, value.data + i, step);
        }
        i += step;
    }
    return clean.data != NULL ? clean.data : x_strdup("");
}

/* As text_add_json, of what the database can hold. */
static void add_jsonb(Text *text, Slice value, bool ascii_only)
{
    if (slice_is_null(value)) {
        text_add(text, "null");
        return;
    }
    bool plain = value.length == 0 || (memchr(value.data, '\0', value.length) == NULL &&
                                       utf8_valid(value.data, value.length));
    if (plain && !ascii_only) {
        text_add_json(text, value);
        return;
    }
    AUTO_TEXT clean = clean_text(value, ascii_only);
    text_add_json(text, slice_of(clean));
}

/* Every column as text, exactly as PostgreSQL prints it, so that the event can be made again. */
static char *event_json(const PipelineConfig *pipeline, const Event *event)
{
    Text json = TEXT_EMPTY;
    if (event->seq == EVENT_NO_SEQ) {
        text_add(&json, "{\"seq\":null");
    } else {
        text_printf(&json, "{\"seq\":%lld", (long long)event->seq);
    }
    for (EventField field = FIELD_EVENT_ID; field < FIELD_OCCURRED_AT; field++) {
        text_printf(&json, ",\"%s\":", event_field_name(field));
        if (field == FIELD_PAYLOAD_BYTES) {
            add_hex(&json, event->field[field]);
        } else {
            add_jsonb(&json, event->field[field], false);
        }
    }
    char scratch[TIMESTAMP_TEXT_MAX];
    text_add(&json, ",\"occurred_at\":");
    add_jsonb(&json,
              event->occurred_at_us == EVENT_NO_TIME
                  ? SLICE_NULL
                  : timestamp_format(event->occurred_at_us, scratch),
              false);
    /* Apart: one may be called like a field. */
    for (size_t i = 0; i < pipeline->header_columns.count; i++) {
        text_add(&json, i > 0 ? "," : ",\"" DEAD_LETTER_HEADER_COLUMNS "\":{");
        add_jsonb(&json, slice_of(pipeline->header_columns.items[i]), false);
        text_add_char(&json, ':');
        add_jsonb(&json, event->extra[i], false);
    }
    text_add(&json, pipeline->header_columns.count > 0 ? "}}" : "}");
    return json.data;
}

static char *headers_json(const Record *record, bool ascii_only)
{
    Text json = TEXT_EMPTY;
    text_add_char(&json, '[');
    for (size_t i = 0; i < record->header_count; i++) {
        text_add(&json, i > 0 ? ",{\"name\":" : "{\"name\":");
        add_jsonb(&json, record->headers[i].name, ascii_only);
        text_add(&json, ",\"value\":");
        add_jsonb(&json, record->headers[i].value, ascii_only);
        text_add_char(&json, '}');
    }
    text_add_char(&json, ']');
    return json.data;
}

static void set_text(DeadLetter *letter, int param, char *owned)
{
    letter->owned[param] = owned;
    letter->values[param] = owned;
}

static void set_bytes(DeadLetter *letter, int param, Slice bytes)
{
    letter->values[param] = bytes.data;
    letter->lengths[param] = (int)bytes.length;
    letter->formats[param] = 1;
}

void dead_letter_build(DeadLetter *letter, const char *table, const PipelineConfig *pipeline,
                       const Event *event, const Record *record, const Error *reason)
{
    bool ascii_only = letter->ascii_only;
    *letter = (DeadLetter){0};
    letter->sql =
        x_format("INSERT INTO %s (pipeline, seq, event_id, event, topic, record_key, record_value,"
                 " record_headers, record_timestamp, reason, error_class, error_code, attempts)"
                 " VALUES ($1, $2::bigint, $3, $4::jsonb, $5, $6::bytea, $7::bytea, $8::jsonb,"
                 " to_timestamp($9::float8 / 1000), $10, $11, $12, $13::int)",
                 table);
    char reason_text[sizeof(reason->message) + sizeof(reason->hint) + 8];
    snprintf(reason_text, sizeof(reason_text), "%s%s%s", reason->message,
             reason->hint[0] != '\0' ? ". " : "", reason->hint);
    set_text(letter, PARAM_PIPELINE, x_strdup(pipeline->name));
    set_text(letter, PARAM_SEQ,
             event->seq != EVENT_NO_SEQ ? x_format("%lld", (long long)event->seq) : NULL);
    Slice id = event->field[FIELD_EVENT_ID];
    set_text(letter, PARAM_EVENT_ID, slice_is_null(id) ? NULL : clean_text(id, false));
    set_text(letter, PARAM_EVENT, event_json(pipeline, event));
    set_text(letter, PARAM_TOPIC, record->topic != NULL ? x_strdup(record->topic->name) : NULL);
    set_bytes(letter, PARAM_KEY, record->key);
    set_bytes(letter, PARAM_VALUE, record->value);
    set_text(letter, PARAM_HEADERS, headers_json(record, ascii_only));
    set_text(letter, PARAM_TIMESTAMP,
             record->timestamp_ms != 0 ? x_format("%lld", (long long)record->timestamp_ms) : NULL);
    /* A message that was too long ends anywhere, also inside of a character. */
    set_text(letter, PARAM_REASON, clean_text(slice_of(reason_text), ascii_only));
    set_text(letter, PARAM_CLASS, x_strdup(error_class_name(reason->class)));
    set_text(letter, PARAM_CODE, x_strdup(reason->code));
    set_text(letter, PARAM_ATTEMPTS, x_format("%d", event->attempts > 0 ? event->attempts : 1));
}

void dead_letter_release(DeadLetter *letter)
{
    for (int i = 0; i < DEAD_LETTER_PARAMS; i++) {
        free(letter->owned[i]);
    }
    free(letter->sql);
    *letter = (DeadLetter){0};
}
