#include "dead/dead_print.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/log_codes.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "command/screen.h"
#include "dead/dead_store.h"
#include "pg/result.h"
#include "rows/dead_letter.h"

static const char *value(const PGresult *rows, int row, int column)
{
    return pg_is_null(rows, row, column) ? NULL : pg_value(rows, row, column);
}

static const char *shown(const PGresult *rows, int row, int column)
{
    const char *text = value(rows, row, column);
    return text != NULL ? text : "-";
}

/* Code and message, cut in DEAD_REASON_WIDTH characters or whole. */
static void print_reason(const PGresult *rows, int row, bool cut, Text *out)
{
    const char *code = value(rows, row, DEAD_CODE);
    AUTO_TEXT whole = x_format("%s%s%s", code != NULL ? code : "", code != NULL ? ": " : "",
                               shown(rows, row, DEAD_REASON));
    size_t width = 0;
    const char *end = whole;
    for (; *end != '\0'; end++) {
        bool begins = ((unsigned char)*end & 0xC0) != 0x80;
        if (cut && begins && width++ == DEAD_REASON_WIDTH) {
            break;
        }
    }
    text_append(out, whole, (size_t)(end - whole));
    text_add(out, *end != '\0' ? "..." : "");
}

/* Of one that is listed only a place in the WAL tells where it came from. */
static bool list_has_places(const PGresult *rows)
{
    for (int row = 0; row < PQntuples(rows); row++) {
        if (value(rows, row, DEAD_LSN) != NULL) {
            return true;
        }
    }
    return false;
}

static void print_headings(ScreenTable *table, bool placed)
{
    static const struct {
        const char *name;
        bool number;
    } HEADINGS[] = {{"id", true},          {"stored at", false}, {"pipeline", false},
                    {"event type", false}, {"key", false},       {"lsn", false},
                    {"tried", true},       {"reason", false}};
    for (size_t i = 0; i < sizeof(HEADINGS) / sizeof(HEADINGS[0]); i++) {
        if (placed || strcmp(HEADINGS[i].name, "lsn") != 0) {
            screen_table_add(table, HEADINGS[i].number, COLOUR_DIM, HEADINGS[i].name);
        }
    }
}

void dead_print_list(const PGresult *rows, int64_t total, bool colours, bool whole, Text *out)
{
    int count = PQntuples(rows);
    if (count == 0) {
        text_add(out, "no dead letters\n");
        return;
    }
    bool placed = list_has_places(rows);
    ScreenTable table = {.columns = placed ? 8 : 7};
    print_headings(&table, placed);
    for (int row = 0; row < count; row++) {
        AUTO_BUFFER reason = TEXT_EMPTY;
        print_reason(rows, row, !whole, &reason);
        screen_table_add(&table, true, COLOUR_NONE, shown(rows, row, DEAD_ID));
        screen_table_add(&table, false, COLOUR_NONE, shown(rows, row, DEAD_AT));
        screen_table_add(&table, false, COLOUR_NONE, shown(rows, row, DEAD_PIPELINE));
        screen_table_add(&table, false, COLOUR_NONE, shown(rows, row, DEAD_EVENT_TYPE));
        screen_table_add(&table, false, COLOUR_NONE, shown(rows, row, DEAD_KEY));
        if (placed) {
            screen_table_add(&table, false, COLOUR_NONE, shown(rows, row, DEAD_LSN));
        }
        screen_table_add(&table, true, COLOUR_NONE, shown(rows, row, DEAD_ATTEMPTS));
        screen_table_add(&table, false, COLOUR_WARN, text_string(&reason));
    }
    screen_table_print(&table, colours, out);
    screen_table_free(&table);
    if (total > count) {
        text_add(out, "and ");
        screen_add_count(out, total - count);
        text_add(out, " older dead letters are not shown; to see more, use --limit N\n");
    }
}

static void add_json_number(Text *json, const char *name, const char *number)
{
    text_printf(json, "\"%s\":%s", name, number != NULL ? number : "null");
}

static void add_json_text(Text *json, const char *name, const char *text)
{
    text_printf(json, "\"%s\":", name);
    text_add_json(json, slice_of(text));
}

/* The server's own JSON. */
static void add_foreign(Text *json, const char *name, const char *member)
{
    text_printf(json, "\"%s\":", name);
    text_add_foreign_json(json, member != NULL ? member : "null");
}

static void add_brief(const PGresult *rows, int row, Text *json)
{
    static const struct {
        const char *name;
        int column;
    } TEXTS[] = {{"at", DEAD_AT},
                 {"pipeline", DEAD_PIPELINE},
                 {"event_type", DEAD_EVENT_TYPE},
                 {"key", DEAD_KEY},
                 {"code", DEAD_CODE},
                 {"reason", DEAD_REASON},
                 {"event_id", DEAD_EVENT_ID},
                 {"lsn", DEAD_LSN}};
    add_json_number(json, "id", value(rows, row, DEAD_ID));
    for (size_t i = 0; i < sizeof(TEXTS) / sizeof(TEXTS[0]); i++) {
        text_add_char(json, ',');
        add_json_text(json, TEXTS[i].name, value(rows, row, TEXTS[i].column));
    }
    text_add_char(json, ',');
    add_json_number(json, "attempts", value(rows, row, DEAD_ATTEMPTS));
}

void dead_print_brief_json(const PGresult *rows, int row, Text *json)
{
    text_add_char(json, '{');
    add_brief(rows, row, json);
    text_add_char(json, '}');
}

void dead_print_list_json(const PGresult *rows, int64_t total, Text *json)
{
    text_add(json, "{\"dead_letters\":[");
    for (int row = 0; row < PQntuples(rows); row++) {
        text_add(json, row > 0 ? "," : "");
        dead_print_brief_json(rows, row, json);
    }
    text_printf(json, "],\"total\":%lld}\n", (long long)total);
}

void dead_print_name(const PGresult *rows, int row, Text *out)
{
    const char *key = value(rows, row, DEAD_KEY);
    const char *event_id = value(rows, row, DEAD_EVENT_ID);
    AUTO_TEXT name =
        x_format("%s %s %s%s%s%s%s%s%s", shown(rows, row, DEAD_ID), shown(rows, row, DEAD_PIPELINE),
                 shown(rows, row, DEAD_EVENT_TYPE), key != NULL ? " '" : "", key != NULL ? key : "",
                 key != NULL ? "'" : "", event_id != NULL ? " (event " : "",
                 event_id != NULL ? event_id : "", event_id != NULL ? ")" : "");
    screen_add(out, false, COLOUR_NONE, name);
}

/* Text that a screen can show: UTF-8 without control characters but line ends and tabs. What steers
 * in other ways is '?' then. */
static bool bytes_are_text(Slice bytes)
{
    for (size_t i = 0; i < bytes.length; i++) {
        unsigned char c = (unsigned char)bytes.data[i];
        if ((c < ' ' && c != '\n' && c != '\t' && c != '\r') || c == 0x7F) {
            return false;
        }
    }
    return bytes.length == 0 || utf8_valid(bytes.data, bytes.length);
}

static void add_rest(Text *out, size_t length, size_t printed)
{
    if (length > printed) {
        text_add(out, "... (");
        screen_add_count(out, (int64_t)(length - printed));
        text_add(out, " more bytes: --json)");
    }
}

void dead_print_bytes(Slice bytes, Text *out)
{
    if (slice_is_null(bytes)) {
        text_add(out, "NULL");
        return;
    }
    bool text = bytes_are_text(bytes);
    size_t limit = text ? DEAD_TEXT_MAX : DEAD_HEX_MAX;
    size_t length = bytes.length < limit ? bytes.length : limit;
    if (text) {
        while (length < bytes.length && ((unsigned char)bytes.data[length] & 0xC0) == 0x80) {
            length--; /* not in the middle of a character */
        }
        AUTO_TEXT copy = x_strndup(bytes.data, length);
        screen_add(out, false, COLOUR_NONE, copy);
    } else {
        text_add(out, "hex ");
        for (size_t i = 0; i < length; i++) {
            text_printf(out, "%s%02x", i > 0 && i % 4 == 0 ? " " : "",
                        (unsigned char)bytes.data[i]);
        }
    }
    add_rest(out, bytes.length, length);
}

void dead_print_bytes_json(Slice bytes, Text *json)
{
    if (slice_is_null(bytes)) {
        text_add(json, "null");
        return;
    }
    text_printf(json, "{\"bytes\":%zu,", bytes.length);
    if (bytes.length == 0 || utf8_valid(bytes.data, bytes.length)) {
        text_add(json, "\"text\":");
        text_add_json(json, bytes);
    } else {
        text_add(json, "\"hex\":\"");
        for (size_t i = 0; i < bytes.length; i++) {
            text_printf(json, "%02x", (unsigned char)bytes.data[i]);
        }
        text_add_char(json, '"');
    }
    text_add_char(json, '}');
}

/* A bytea of the row; *ret_owned is freed with PQfreemem. */
static Slice row_bytes(const PGresult *row, int column, unsigned char **ret_owned)
{
    *ret_owned = NULL;
    size_t length = 0;
    if (!pg_is_null(row, 0, column)) {
        *ret_owned = PQunescapeBytea((const unsigned char *)pg_value(row, 0, column), &length);
    }
    return (Slice){.data = (const char *)*ret_owned, .length = length};
}

static void add_line(Text *out, const char *name, const char *text)
{
    text_printf(out, "  %-18s", name);
    dead_print_bytes(slice_of(text), out);
    text_add_char(out, '\n');
}

static void add_json_value_line(Text *out, const char *name, const json_t *member)
{
    char number[32];
    if (json_is_integer(member)) {
        snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(member));
        add_line(out, name, number);
    } else {
        add_line(out, name, json_string_value(member));
    }
}

bool dead_is_whole(const PGresult *row)
{
    return strcmp(shown(row, 0, DEAD_WHOLE), "f") != 0;
}

/* A value that stands apart of the JSON is told by its size. */
static void add_member_line(Text *out, const char *name, const json_t *member, const json_t *octets)
{
    if (!json_is_integer(octets)) {
        add_json_value_line(out, name, member);
        return;
    }
    text_printf(out, "  %-18s", name);
    screen_add_count(out, json_integer_value(octets));
    text_add(out, " bytes, in event_large_values\n");
}

/* In the WAL. */
static void add_place(const json_t *event, Text *out)
{
    const json_t *lsn = json_object_get(event, DEAD_LETTER_LSN);
    if (lsn != NULL) {
        add_json_value_line(out, DEAD_LETTER_LSN, lsn);
        add_json_value_line(out, DEAD_LETTER_ORDINAL, json_object_get(event, DEAD_LETTER_ORDINAL));
    }
}

static void add_event(const PGresult *row, Text *out)
{
    text_add(out, "\nevent\n");
    if (!dead_is_whole(row)) {
        text_add(out,
                 "  incomplete: the event could not be stored completely and cannot be requeued\n");
    }
    json_t *event = json_loads(shown(row, 0, DEAD_EVENT), 0, NULL);
    if (event == NULL) {
        text_add(out, "  no event is stored\n");
        return;
    }
    json_t *large = json_loads(shown(row, 0, DEAD_LARGE), 0, NULL);
    add_json_value_line(out, "seq", json_object_get(event, "seq"));
    add_place(event, out);
    for (EventField field = FIELD_EVENT_ID; field < FIELD_COUNT; field++) {
        const char *name = event_field_name(field);
        add_member_line(out, name, json_object_get(event, name), json_object_get(large, name));
    }
    const char *name = NULL;
    json_t *member = NULL;
    json_t *extra = json_object_get(event, DEAD_LETTER_HEADER_COLUMNS);
    json_object_foreach(extra, name, member)
    {
        AUTO_BUFFER safe = TEXT_EMPTY;
        screen_add(&safe, false, COLOUR_NONE, name);
        AUTO_TEXT apart = x_format(DEAD_LETTER_HEADER_COLUMNS ".%s", name);
        add_member_line(out, text_string(&safe), member, json_object_get(large, apart));
    }
    json_decref(large);
    json_decref(event);
}

static const struct {
    const char *name;
    int column;
} BYTES[] = {{"key", DEAD_RECORD_KEY}, {"value", DEAD_RECORD_VALUE}};

static void add_record(const PGresult *row, Text *out)
{
    text_add(out, "\n"
                  "record, as far as it was built\n");
    add_line(out, "topic", value(row, 0, DEAD_TOPIC));
    add_line(out, "timestamp", value(row, 0, DEAD_RECORD_TIMESTAMP));
    for (size_t i = 0; i < 2; i++) {
        unsigned char *owned = NULL;
        Slice bytes = row_bytes(row, BYTES[i].column, &owned);
        text_printf(out, "  %-18s", BYTES[i].name);
        dead_print_bytes(bytes, out);
        text_add_char(out, '\n');
        PQfreemem(owned);
    }
    json_t *headers = json_loads(shown(row, 0, DEAD_RECORD_HEADERS), 0, NULL);
    size_t index = 0;
    json_t *header = NULL;
    json_array_foreach(headers, index, header)
    {
        const char *name = json_string_value(json_object_get(header, "name"));
        const char *text = json_string_value(json_object_get(header, "value"));
        text_add(out, index == 0 ? "  headers           " : "                    ");
        screen_add(out, false, COLOUR_NONE, name);
        text_add(out, ": ");
        dead_print_bytes(slice_of(text), out);
        text_add_char(out, '\n');
    }
    json_decref(headers);
}

/* NULL: not one of this version. */
static const LogCode *dead_code(const PGresult *row)
{
    const char *name = value(row, 0, DEAD_CODE);
    ErrorCode code = name != NULL ? error_code_find(name) : CODE_NONE;
    return code != CODE_NONE ? log_code_of(code) : NULL;
}

void dead_print_row(const PGresult *row, bool colours, Text *out)
{
    const LogCode *known = dead_code(row);
    text_printf(out, "dead letter %s of pipeline ", shown(row, 0, DEAD_ID));
    screen_add(out, false, COLOUR_NONE, shown(row, 0, DEAD_PIPELINE));
    text_printf(out, ", stored %s (", shown(row, 0, DEAD_AT));
    screen_add_duration(out, strtod(shown(row, 0, DEAD_AGE), NULL));
    text_printf(out, " ago), %s attempt%s\n", shown(row, 0, DEAD_ATTEMPTS),
                strcmp(shown(row, 0, DEAD_ATTEMPTS), "1") == 0 ? "" : "s");
    if (!pg_is_null(row, 0, DEAD_ASKED_AT)) {
        text_printf(out, "\n  requeued          %s; the relay reads its row again\n",
                    shown(row, 0, DEAD_ASKED_AT));
    }
    text_add(out, "\n  reason            ");
    screen_add(out, colours, COLOUR_BAD, shown(row, 0, DEAD_REASON));
    text_add(out, "\n  code              ");
    screen_add(out, false, COLOUR_NONE, shown(row, 0, DEAD_CODE));
    text_add(out, " (");
    screen_add(out, false, COLOUR_NONE, shown(row, 0, DEAD_CLASS));
    text_add(out, ")\n");
    if (known != NULL) {
        text_printf(out, "  meaning           %s\n", known->meaning);
        text_printf(out, "  remedy            %s\n", known->remedy);
    }
    add_event(row, out);
    add_record(row, out);
}

void dead_print_row_json(const PGresult *row, Text *json)
{
    const LogCode *known = dead_code(row);
    text_add_char(json, '{');
    add_brief(row, 0, json);
    text_add_char(json, ',');
    add_json_text(json, "class", value(row, 0, DEAD_CLASS));
    text_add_char(json, ',');
    add_json_text(json, "meaning", known != NULL ? known->meaning : NULL);
    text_add_char(json, ',');
    add_json_text(json, "remedy", known != NULL ? known->remedy : NULL);
    text_add_char(json, ',');
    add_json_text(json, "requeued_at", value(row, 0, DEAD_ASKED_AT));
    text_add_char(json, ',');
    add_json_number(json, "seq", value(row, 0, DEAD_SEQ));
    text_add_char(json, ',');
    add_foreign(json, "event", value(row, 0, DEAD_EVENT));
    text_add_char(json, ',');
    add_foreign(json, "event_large", value(row, 0, DEAD_LARGE));
    text_printf(json, ",\"event_whole\":%s", dead_is_whole(row) ? "true" : "false");
    text_add(json, ",\"record\":{");
    add_json_text(json, "topic", value(row, 0, DEAD_TOPIC));
    text_add_char(json, ',');
    add_json_text(json, "timestamp", value(row, 0, DEAD_RECORD_TIMESTAMP));
    for (size_t i = 0; i < 2; i++) {
        unsigned char *owned = NULL;
        Slice bytes = row_bytes(row, BYTES[i].column, &owned);
        text_printf(json, ",\"%s\":", BYTES[i].name);
        dead_print_bytes_json(bytes, json);
        PQfreemem(owned);
    }
    text_add_char(json, ',');
    add_foreign(json, "headers", value(row, 0, DEAD_RECORD_HEADERS));
    text_add(json, "}}\n");
}
