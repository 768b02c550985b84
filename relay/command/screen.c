#include "command/screen.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"

static const char *const COLOUR_CODES[] = {"", "\x1b[32m", "\x1b[33m", "\x1b[1;31m", "\x1b[2m"};

bool screen_wants_colour(FILE *out)
{
    const char *no_color = getenv("NO_COLOR"); // NOLINT(concurrency-mt-unsafe): never set
    const char *term = getenv("TERM");         // NOLINT(concurrency-mt-unsafe): never set
    return isatty(fileno(out)) == 1 && (no_color == NULL || no_color[0] == '\0') && term != NULL &&
           strcmp(term, "dumb") != 0;
}

void screen_add(Text *out, bool colours, Colour colour, const char *text)
{
    bool coloured = colours && colour != COLOUR_NONE;
    text_add(out, coloured ? COLOUR_CODES[colour] : "");
    text_add_shown(out, text != NULL ? text : "", false);
    text_add(out, coloured ? "\x1b[0m" : "");
}

int64_t screen_whole(double number)
{
    double rounded = number > 0 ? number + 0.5 : number - 0.5;
    if (rounded >= 0x1p63) {
        return INT64_MAX;
    }
    return rounded > -0x1p63 ? (int64_t)rounded : INT64_MIN;
}

void screen_add_count(Text *out, int64_t count)
{
    char digits[32];
    int length = snprintf(digits, sizeof(digits), "%" PRId64, count);
    int first = digits[0] == '-';
    for (int i = 0; i < length; i++) {
        if (i > first && (length - i) % 3 == 0) {
            text_add_char(out, ',');
        }
        text_add_char(out, digits[i]);
    }
}

static void screen_add_two(Text *out, int64_t large, const char *large_unit, int64_t small,
                           const char *small_unit)
{
    text_printf(out, "%" PRId64 " %s", large, large_unit);
    if (small > 0) {
        text_printf(out, " %" PRId64 " %s", small, small_unit);
    }
}

void screen_add_duration(Text *out, double seconds)
{
    if (!(seconds > 0)) {
        seconds = 0;
    }
    if (seconds < 0.9995) {
        text_printf(out, "%.0f ms", seconds * 1000);
        return;
    }
    if (seconds < 9.95) {
        text_printf(out, "%.1f s", seconds);
        return;
    }
    int64_t whole = screen_whole(seconds < 9e15 ? seconds : 9e15);
    if (whole < 120) {
        text_printf(out, "%" PRId64 " s", whole);
    } else if (whole < 7200) {
        text_printf(out, "%" PRId64 " min", whole / 60);
    } else if (whole < INT64_C(172800)) {
        screen_add_two(out, whole / 3600, "h", whole % 3600 / 60, "min");
    } else {
        screen_add_two(out, whole / 86400, "d", whole % 86400 / 3600, "h");
    }
}

void screen_add_bytes(Text *out, double bytes)
{
    static const char *const UNITS[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;
    double value = bytes > 0 ? bytes : 0;
    while (value >= 1023.5 && unit + 1 < sizeof(UNITS) / sizeof(UNITS[0])) {
        value /= 1024;
        unit++;
    }
    text_printf(out, value < 9.95 && unit > 0 ? "%.1f %s" : "%.0f %s", value, UNITS[unit]);
}

void screen_table_add(ScreenTable *table, bool right, Colour colour, const char *text)
{
    assert(table->columns > 0 && table->columns <= SCREEN_COLUMNS_MAX);
    AUTO_BUFFER safe = TEXT_EMPTY;
    text_add_shown(&safe, text, false);
    table->cells = x_realloc(table->cells, (table->count + 1) * sizeof(table->cells[0]));
    struct ScreenCell *cell = &table->cells[table->count++];
    cell->text = x_strdup(text_string(&safe));
    cell->colour = colour;
    cell->right = right;
}

/* Characters, not bytes; wide ones are not looked after. */
static size_t screen_width(const char *text)
{
    size_t width = 0;
    for (; *text != '\0'; text++) {
        width += ((unsigned char)*text & 0xC0) != 0x80;
    }
    return width;
}

static void screen_add_spaces(Text *out, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        text_add_char(out, ' ');
    }
}

void screen_table_print(const ScreenTable *table, bool colours, Text *out)
{
    size_t widths[SCREEN_COLUMNS_MAX] = {0};
    for (size_t i = 0; i < table->count; i++) {
        size_t width = screen_width(table->cells[i].text);
        size_t column = i % table->columns;
        widths[column] = width > widths[column] ? width : widths[column];
    }
    for (size_t i = 0; i < table->count; i++) {
        const struct ScreenCell *cell = &table->cells[i];
        size_t column = i % table->columns;
        bool last = column + 1 == table->columns;
        size_t padding = widths[column] - screen_width(cell->text);
        screen_add_spaces(out, cell->right ? padding : 0);
        screen_add(out, colours, cell->colour, cell->text);
        if (last) {
            text_add_char(out, '\n');
        } else {
            screen_add_spaces(out, (cell->right ? 0 : padding) + 2);
        }
    }
}

void screen_table_free(ScreenTable *table)
{
    for (size_t i = 0; i < table->count; i++) {
        free(table->cells[i].text);
    }
    free(table->cells);
    *table = (ScreenTable){0};
}

int screen_write(const char *command, const Text *text, int code, bool *ret_closed)
{
    errno = 0;
    bool written = fputs(text_string(text), stdout) >= 0 && fflush(stdout) == 0;
    bool closed = !written && errno == EPIPE;
    if (ret_closed != NULL) {
        *ret_closed = closed;
    }
    if (written || closed) {
        return code;
    }
    perror(command);
    return EXIT_INTERNAL;
}

/* The bytes of the character or escape sequence that begins here; *ret_width is 0 or 1. */
static size_t screen_piece(const char *at, size_t *ret_width)
{
    if (*at == '\x1b') {
        *ret_width = 0;
        size_t length = strcspn(at, "m");
        return at[length] == '\0' ? length : length + 1;
    }
    *ret_width = 1;
    size_t length = 1;
    while (((unsigned char)at[length] & 0xC0) == 0x80) {
        length++;
    }
    return length;
}

/* Appends one line, broken at `columns` (0: never) or cut there; returns its rows. */
static size_t screen_fit_line(const char *line, size_t length, size_t columns, bool cut, Text *out)
{
    size_t rows = 1;
    size_t used = 0;
    for (size_t at = 0, bytes = 0; at < length; at += bytes) {
        size_t width = 0;
        bytes = screen_piece(line + at, &width);
        if (columns > 0 && used + width > columns) {
            if (cut) {
                continue; /* escape sequences, which end a colour, still count */
            }
            text_add_char(out, '\n');
            rows++;
            used = 0;
        }
        text_append(out, line + at, bytes);
        used += width;
    }
    return rows;
}

/* Of a table: columns are two spaces apart, and what explains begins with a space. */
static bool screen_is_row(const char *line, size_t length)
{
    return *line != ' ' && memmem(line, length, "  ", 2) != NULL;
}

static bool screen_fit_try(const char *screen, size_t rows, size_t columns, bool cut, Text *out)
{
    size_t used = 0;
    for (const char *line = screen; *line != '\0';) {
        size_t length = strcspn(line, "\n");
        bool cuts = (cut && line == screen) || screen_is_row(line, length);
        AUTO_BUFFER fitted = TEXT_EMPTY;
        used += screen_fit_line(line, length, columns, cuts, &fitted);
        if (rows > 0 && used > rows) {
            return false;
        }
        text_add(out, line == screen ? "" : "\n");
        text_add(out, text_string(&fitted));
        line += length + (line[length] == '\n');
    }
    return true;
}

void screen_fit(const char *screen, size_t rows, size_t columns, Text *out)
{
    AUTO_BUFFER whole = TEXT_EMPTY;
    if (screen_fit_try(screen, rows, columns, false, &whole)) {
        text_add(out, text_string(&whole));
        return;
    }
    (void)screen_fit_try(screen, rows, columns, true, out);
}
