#include "status/status_groups.h"

#include <math.h>

#include "command/screen.h"

static const char *groups_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

/* "+180", "-2.5": with a digit after the point while it is small. */
static void groups_add_rate(Text *out, double rate)
{
    if (fabs(rate) < 9.95) {
        text_printf(out, "%+.1f/s", rate);
        return;
    }
    text_add_char(out, rate > 0 ? '+' : '-');
    screen_add_count(out, screen_whole(fabs(rate)));
    text_add(out, "/s");
}

static void groups_add_row(ScreenTable *table, const json_t *row, double objective)
{
    const json_t *seconds = json_object_get(row, "lag_seconds");
    double behind = json_number_value(json_object_get(row, "lag_events"));
    double change = json_number_value(json_object_get(row, "change_per_second"));
    bool grows = json_is_true(json_object_get(row, "grows"));
    bool late = json_number_value(seconds) > objective;
    Colour colour = grows || late ? COLOUR_WARN : COLOUR_NONE;
    AUTO_BUFFER cell = TEXT_EMPTY;
    screen_table_add(table, false, COLOUR_NONE, groups_text(row, "group"));
    screen_table_add(table, false, COLOUR_NONE, groups_text(row, "topic"));
    screen_add_count(&cell, screen_whole(behind));
    screen_table_add(table, true, colour, text_string(&cell));

    text_clear(&cell);
    if (!json_is_number(seconds)) {
        text_add_char(&cell, '?');
    } else if (behind > 0) {
        screen_add_duration(&cell, json_number_value(seconds));
    } else {
        text_add_char(&cell, '-');
    }
    screen_table_add(table, true, late ? colour : COLOUR_NONE, text_string(&cell));

    text_clear(&cell);
    if (!json_is_true(json_object_get(row, "committed"))) {
        text_add(&cell, "no offsets committed yet");
    } else if (grows || (late && change < 0)) {
        text_add(&cell, grows ? "falling behind (" : "catching up (");
        groups_add_rate(&cell, change);
        text_add_char(&cell, ')');
    }
    screen_table_add(table, false, grows ? colour : COLOUR_NONE, text_string(&cell));
}

void status_groups_add(const json_t *groups, bool colours, Text *out)
{
    const json_t *rows = json_object_get(groups, "groups");
    double objective = json_number_value(json_object_get(groups, "objective_seconds"));
    if (json_array_size(rows) > 0) {
        static const char *const HEADINGS[] = {"consumer groups", "topic", "behind", "oldest", ""};
        ScreenTable table = {.columns = sizeof(HEADINGS) / sizeof(HEADINGS[0])};
        for (size_t i = 0; i < table.columns; i++) {
            screen_table_add(&table, i == 2 || i == 3, COLOUR_DIM, HEADINGS[i]);
        }
        size_t index = 0;
        const json_t *row = NULL;
        json_array_foreach(rows, index, row)
        {
            groups_add_row(&table, row, objective);
        }
        text_add_char(out, '\n');
        screen_table_print(&table, colours, out);
        screen_table_free(&table);
    }
    int64_t left_out = json_integer_value(json_object_get(groups, "groups_left_out"));
    if (left_out > 0) {
        text_add_char(out, '\n');
        screen_add_count(out, left_out);
        text_add(out,
                 " more consumer groups match monitor.consumer_groups; use narrower patterns\n");
    }
    if (*groups_text(groups, "error") != '\0') {
        text_add(out, json_array_size(rows) > 0 ? "\n"
                                                  "some consumer groups cannot be seen: "
                                                : "\n"
                                                  "consumer groups cannot be seen: ");
        screen_add(out, colours, COLOUR_WARN, groups_text(groups, "error"));
        text_add_char(out, '\n');
    }
}
