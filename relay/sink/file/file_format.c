#include "sink/file/file_format.h"

#include <string.h>

#include "base/timestamp.h"
#include "base/utf8.h"

/* RFC 4648, section 4. */
static void add_base64(Text *text, Slice bytes)
{
    static const char LETTERS[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < bytes.length; i += 3) {
        size_t left = bytes.length - i;
        unsigned bits = (unsigned)(unsigned char)bytes.data[i] << 16;
        bits |= left > 1 ? (unsigned)(unsigned char)bytes.data[i + 1] << 8 : 0;
        bits |= left > 2 ? (unsigned)(unsigned char)bytes.data[i + 2] : 0;
        const char four[4] = {LETTERS[bits >> 18], LETTERS[bits >> 12 & 63],
                              left > 1 ? LETTERS[bits >> 6 & 63] : '=',
                              left > 2 ? LETTERS[bits & 63] : '='};
        text_append(text, four, sizeof(four));
    }
}

static bool is_text(Slice bytes)
{
    return slice_is_null(bytes) || utf8_valid(bytes.data, bytes.length);
}

static void add_bytes(Text *text, Slice bytes, bool text_bytes)
{
    if (text_bytes) {
        text_add_json(text, bytes);
        return;
    }
    text_add_char(text, '"');
    add_base64(text, bytes);
    text_add_char(text, '"');
}

static void add_member(Text *text, const char *name, Slice bytes)
{
    bool text_bytes = is_text(bytes);
    text_add_char(text, '"');
    text_add(text, name);
    text_add(text, text_bytes ? "\":" : "_base64\":");
    add_bytes(text, bytes, text_bytes);
}

/* Those that are text, or those that are not. */
static size_t add_headers(Text *text, const Record *record, bool texts)
{
    size_t count = 0;
    for (size_t i = 0; i < record->header_count; i++) {
        const RecordHeader *header = &record->headers[i];
        if (is_text(header->value) == texts) {
            text_add(text, count++ > 0 ? "," : "");
            text_add_json(text, header->name);
            text_add_char(text, ':');
            add_bytes(text, header->value, texts);
        }
    }
    return count;
}

static void add_json(const Record *record, const Event *event, int64_t now_us, Text *text)
{
    text_add(text, FILE_FORMAT_JSON_BEGINS);
    text_add_json(text, slice_of(record->topic->name));
    text_add_char(text, ',');
    add_member(text, "key", record->key);
    text_add_char(text, ',');
    add_member(text, "value", record->value);
    text_add(text, ",\"headers\":{");
    size_t texts = add_headers(text, record, true);
    text_add_char(text, '}');
    if (texts < record->header_count) {
        text_add(text, ",\"headers_base64\":{");
        (void)add_headers(text, record, false);
        text_add_char(text, '}');
    }
    char scratch[TIMESTAMP_TEXT_MAX];
    int64_t time_us = record->timestamp_ms != 0 ? record->timestamp_ms * 1000 : now_us;
    text_add_char(text, ',');
    add_member(text, "id", event_field(event, FIELD_EVENT_ID));
    text_add(text, ",\"time\":");
    text_add_json(text, timestamp_format(time_us, scratch));
    text_add(text, "}\n");
}

Status file_format_add(FileFormat format, const Record *record, const Event *event, int64_t now_us,
                       Text *text, Error *err)
{
    if (format == FILE_FORMAT_JSON) {
        add_json(record, event, now_us, text);
        return OK;
    }
    if (record->value.length > 0 && memchr(record->value.data, '\n', record->value.length)) {
        error_set(
            err, CODE_FILE_LINE_END,
            "the value holds a line end, which file.format = \"raw\" cannot tell from the end "
            "of the event");
        return error_advise(err);
    }
    text_add_slice(text, record->value);
    text_add_char(text, '\n');
    return OK;
}
