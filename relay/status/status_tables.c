#include "status/status_tables.h"

#include <string.h>

#include "base/memory.h"
#include "command/screen.h"

enum { TIME_OF_DAY = 8 }; /* of "2026-11-29T10:47:50.123Z", behind the T */

static const char *tables_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static double tables_number(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

static const json_t *tables_find(const json_t *list, const char *name)
{
    size_t index = 0;
    const json_t *item = NULL;
    json_array_foreach(list, index, item)
    {
        if (strcmp(tables_text(item, "table"), name) == 0) {
            return item;
        }
    }
    return NULL;
}

static void add_number(ScreenTable *table, double number, bool bytes)
{
    AUTO_BUFFER cell = TEXT_EMPTY;
    if (bytes) {
        screen_add_bytes(&cell, number);
    } else {
        screen_add_count(&cell, screen_whole(number));
    }
    screen_table_add(table, true, COLOUR_NONE, text_string(&cell));
}

/* read: what the stream brought of it; snapshot: how far that is with it; NULL: nothing. */
static void add_row(ScreenTable *table, const char *name, const json_t *read,
                    const json_t *snapshot)
{
    const char *last = strchr(tables_text(read, "last_change"), 'T');
    AUTO_TEXT when = x_format("%.*s", TIME_OF_DAY, last != NULL ? last + 1 : "-");
    AUTO_BUFFER state = TEXT_EMPTY;
    screen_table_add(table, false, COLOUR_NONE, name);
    add_number(table, tables_number(read, "changes"), false);
    add_number(table, tables_number(read, "bytes"), true);
    screen_table_add(table, true, COLOUR_NONE, when);
    if (snapshot != NULL) {
        text_printf(&state, "%s, ", tables_text(snapshot, "state"));
        screen_add_count(&state, screen_whole(tables_number(snapshot, "rows")));
        text_add(&state, " rows");
        if (strcmp(tables_text(snapshot, "state"), "running") == 0) {
            text_printf(&state, " (%.0f %%)", tables_number(snapshot, "percent"));
        }
    }
    screen_table_add(table, false, COLOUR_NONE, text_string(&state));
}

/* What it costs the server. */
static void add_wal(const json_t *snapshot, Text *out)
{
    const json_t *now = json_object_get(snapshot, "retained_wal_bytes");
    const json_t *end = json_object_get(snapshot, "retained_wal_bytes_expected");
    if (!json_is_number(now)) {
        return;
    }
    text_add(out, "; the slot holds ");
    screen_add_bytes(out, json_number_value(now));
    text_add(out, " of WAL");
    if (json_is_number(end)) {
        text_add(out, ", about ");
        screen_add_bytes(out, json_number_value(end));
        text_add(out, " at the end");
    }
}

static void add_snapshot(const json_t *pipeline, const json_t *snapshot, Text *out)
{
    const json_t *left = json_object_get(snapshot, "seconds_left");
    if (strcmp(tables_text(snapshot, "state"), "running") != 0) {
        return;
    }
    text_add_char(out, '\n');
    screen_add(out, false, COLOUR_NONE, tables_text(pipeline, "name"));
    text_printf(out,
                ": the first snapshot is read to %.0f %%: ", tables_number(snapshot, "percent"));
    screen_add_count(out, screen_whole(tables_number(snapshot, "rows")));
    text_add(out, " rows");
    if (json_is_number(left)) {
        text_add(out, ", about ");
        screen_add_duration(out, json_number_value(left));
        text_add(out, " left");
    }
    add_wal(snapshot, out);
    text_add_char(out, '\n');
}

void status_tables_add(const json_t *pipeline, bool colours, Text *out)
{
    const json_t *read = json_object_get(pipeline, "tables");
    const json_t *snapshot = json_object_get(pipeline, "snapshot");
    const json_t *states = json_object_get(snapshot, "tables");
    size_t all = 0;
    size_t index = 0;
    const json_t *item = NULL;
    if (json_array_size(read) + json_array_size(states) == 0) {
        return;
    }
    add_snapshot(pipeline, snapshot, out);
    ScreenTable table = {.columns = 5};
    static const char *const HEADINGS[] = {"TABLE", "CHANGES", "BYTES", "LAST CHANGE", "SNAPSHOT"};
    for (size_t i = 0; i < table.columns; i++) {
        screen_table_add(&table, i > 0 && i < table.columns - 1, COLOUR_NONE, HEADINGS[i]);
    }
    json_array_foreach(states, index, item)
    {
        const char *name = tables_text(item, "table");
        if (all++ < STATUS_TABLES_MAX) {
            add_row(&table, name, tables_find(read, name), item);
        }
    }
    json_array_foreach(read, index, item)
    {
        const char *name = tables_text(item, "table");
        if (tables_find(states, name) == NULL && all++ < STATUS_TABLES_MAX) {
            add_row(&table, name, item, NULL);
        }
    }
    text_add_char(out, '\n');
    screen_table_print(&table, colours, out);
    screen_table_free(&table);
    if (all > STATUS_TABLES_MAX) {
        text_printf(out, "and %zu more tables: outboxd status --json\n", all - STATUS_TABLES_MAX);
    }
}
