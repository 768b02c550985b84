/* screen: building blocks of what commands print for people: safe text, counts and durations with
 * units, tables whose columns fit their content, colour where it is wanted. Writes into a Text. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/text.h"

typedef enum Colour { COLOUR_NONE, COLOUR_GOOD, COLOUR_WARN, COLOUR_BAD, COLOUR_DIM } Colour;

/** True when `out` is a terminal and neither NO_COLOR is set nor TERM is "dumb". */
bool screen_wants_colour(FILE *out);

/** Appends the text in a colour, as text_add_shown does. NULL counts as "". */
void screen_add(Text *out, bool colours, Colour colour, const char *text);

/** The whole number next to a foreign one: the least or the greatest where it is beyond those. */
int64_t screen_whole(double number);

/** Appends "41,203,118". */
void screen_add_count(Text *out, int64_t count);

/** Appends two units at most: "3 ms", "2.1 s", "45 s", "14 min", "3 h 10 min", "3 d 4 h"; negative
 * counts as 0. */
void screen_add_duration(Text *out, double seconds);

/** Appends "96 B", "512 KiB", "212 MiB", "3.1 GiB"; negative counts as 0. */
void screen_add_bytes(Text *out, double bytes);

/** Writes the text to stdout and returns code. A pipe that nobody reads any more (`| head`) is no
 * error and makes no line; *ret_closed (or NULL) says so. Other errors are told on stderr under the
 * name of the command, and return EXIT_INTERNAL. */
int screen_write(const char *command, const Text *text, int code, bool *ret_closed);

/** Appends the screen as it fits a pane of so many rows and columns (0: any): longer lines are
 * broken, those of tables are cut, and what is below the last row is left out; the first line is
 * cut, too, before that. Escape sequences take no room. */
void screen_fit(const char *screen, size_t rows, size_t columns, Text *out);

enum { SCREEN_COLUMNS_MAX = 10 };

/* Rows of cells; the first row is the heading. Zero-initialised, and freed with screen_table_free.
 */
typedef struct ScreenTable {
    struct ScreenCell {
        char *text;
        Colour colour;
        bool right; /* aligned to the right */
    } * cells;
    size_t count;
    size_t columns;
} ScreenTable;

/** Adds a cell in reading order; columns must be set before. Control characters become '?'. */
void screen_table_add(ScreenTable *table, bool right, Colour colour, const char *text);
/** Appends the table, a line each row, two spaces between columns. */
void screen_table_print(const ScreenTable *table, bool colours, Text *out);
void screen_table_free(ScreenTable *table);
