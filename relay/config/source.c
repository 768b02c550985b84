#include "config/source.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "config/lists.h"

enum { INCLUDE_DEPTH_MAX = 10, FILE_BYTES_MAX = 4 * 1024 * 1024 };

/* What the scanner is inside of at the end of a line. */
typedef enum ScanState { SCAN_PLAIN, SCAN_COMMENT, SCAN_STRING } ScanState;

typedef struct Scan {
    Source *source;
    Problems *problems;
    ScanState state;
    bool after_string; /* the next string literal continues the last one */
    int depth;
    char name[64]; /* the setting that was named last */
} Scan;

char *source_directory(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL) {
        return x_strdup(".");
    }
    return slash == path ? x_strdup("/") : x_strndup(path, (size_t)(slash - path));
}

char *source_place(const Source *source, int flat_line)
{
    if (source->line_count == 0) {
        return x_strdup(source->files.count > 0 ? source->files.items[0] : "configuration");
    }
    size_t index = flat_line < 1 ? 0 : (size_t)flat_line - 1;
    if (index >= source->line_count) {
        index = source->line_count - 1;
    }
    const SourceLine *line = &source->lines[index];
    return x_format("%s:%d", source->files.items[line->file], line->line);
}

void source_free(Source *source)
{
    text_free(&source->text);
    string_list_free(&source->files);
    free(source->lines);
    free(source->strings);
    free(source->numbers);
    *source = (Source){0};
}

static int scan_line_number(const Scan *scan)
{
    return (int)scan->source->line_count;
}

static void scan_problem(Scan *scan, const char *remedy, const char *message)
{
    AUTO_TEXT place = source_place(scan->source, scan_line_number(scan));
    problems_add(scan->problems, false, place, remedy, "%s", message);
}

/* [-+]digits with an optional L or LL, or 0x and hex digits with the same: does libconfig keep it?
 */
static bool scan_number_fits(Scan *scan, const char *literal, size_t length)
{
    AUTO_TEXT number = x_strndup(literal, length);
    bool hex = strncasecmp(number, "0x", 2) == 0;
    if (strchr(number, '.') != NULL || (!hex && strpbrk(number, "eE") != NULL)) {
        return true; /* a float: libconfig keeps it as a double */
    }
    char *end;
    errno = 0;
    bool fits;
    bool wide = number[length - 1] == 'L';
    if (hex) {
        unsigned long long value = strtoull(number, &end, 16);
        fits = errno == 0 && value <= (wide ? INT64_MAX : INT32_MAX);
    } else {
        long long value = strtoll(number, &end, 10);
        fits = errno == 0 && (wide || (value >= INT32_MIN && value <= INT32_MAX));
    }
    if (!fits) {
        AUTO_TEXT message = x_format("\"%s\" cannot be %s: it does not fit into a %d-bit integer",
                                     scan->name, number, wide ? 64 : 32);
        scan_problem(
            scan,
            wide ? "give a smaller number"
                 : "sizes and durations are strings with a unit, such as \"4GiB\"; no plain "
                   "number of this file may be that large",
            message);
    }
    return fits;
}

static void scan_note_number(Scan *scan, const char *literal, size_t length)
{
    Source *source = scan->source;
    source->numbers =
        x_realloc(source->numbers, (source->number_count + 1) * sizeof(*source->numbers));
    source->numbers[source->number_count++] = scan_number_fits(scan, literal, length);
}

/* The token that begins at c, which is neither in a comment nor in a string; returns what is after
 * it. */
static const char *scan_word(Scan *scan, const char *c)
{
    const char *start = c;
    if (isalpha((unsigned char)*c) || *c == '*') { /* a setting's name, true, false */
        while (isalnum((unsigned char)*c) || strchr("-_*", *c) != NULL) {
            if (*c == '\0') {
                break;
            }
            c++;
        }
        snprintf(scan->name, sizeof(scan->name), "%.*s", (int)(c - start), start);
        return c;
    }
    const char *digits = *c == '-' || *c == '+' ? c + 1 : c;
    if (!isdigit((unsigned char)*digits)) {
        return c + 1;
    }
    c = digits;
    while (isalnum((unsigned char)*c) || *c == '.' ||
           ((*c == '-' || *c == '+') && (c[-1] == 'e' || c[-1] == 'E'))) {
        c++;
    }
    scan_note_number(scan, start, (size_t)(c - start));
    return c;
}

static const char *scan_string_begin(Scan *scan, const char *c)
{
    Source *source = scan->source;
    if (!scan->after_string) {
        source->strings =
            x_realloc(source->strings, (source->string_count + 1) * sizeof(*source->strings));
        source->strings[source->string_count++] = scan_line_number(scan);
    }
    scan->state = SCAN_STRING;
    return c + 1;
}

static const char *scan_plain(Scan *scan, const char *c)
{
    if (isspace((unsigned char)*c)) {
        return c + 1;
    }
    if (*c == '#' || (c[0] == '/' && c[1] == '/')) {
        return c + strlen(c);
    }
    if (c[0] == '/' && c[1] == '*') {
        scan->state = SCAN_COMMENT;
        return c + 2;
    }
    if (*c == '"') {
        return scan_string_begin(scan, c);
    }
    scan->after_string = false;
    return scan_word(scan, c);
}

/* One line, NUL-terminated, already noted in source->lines. */
static void scan_text(Scan *scan, const char *c)
{
    while (*c != '\0') {
        if (scan->state == SCAN_COMMENT) {
            const char *end = strstr(c, "*/");
            if (end == NULL) {
                return;
            }
            scan->state = SCAN_PLAIN;
            c = end + 2;
        } else if (scan->state == SCAN_STRING) {
            if (*c == '"') {
                scan->state = SCAN_PLAIN;
                scan->after_string = true;
                c++;
            } else {
                c += c[0] == '\\' && c[1] != '\0' ? 2 : 1;
            }
        } else {
            c = scan_plain(scan, c);
        }
    }
}

static void scan_note_line(Scan *scan, size_t file, int line)
{
    Source *source = scan->source;
    if (source->line_count % 64 == 0) {
        source->lines =
            x_realloc(source->lines, (source->line_count + 64) * sizeof(*source->lines));
    }
    source->lines[source->line_count++] = (SourceLine){.file = file, .line = line};
}

/* The whole file as NUL-terminated text, or NULL with a message. */
static char *source_slurp(const char *path, char **ret_message)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        *ret_message = x_format("cannot read \"%s\": %s", path, strerror(errno)); // NOLINT
        return NULL;
    }
    AUTO_BUFFER text = TEXT_EMPTY;
    text_add(&text, "");
    char chunk[4096];
    size_t count;
    while ((count = fread(chunk, 1, sizeof(chunk), file)) > 0 && text.length <= FILE_BYTES_MAX) {
        text_append(&text, chunk, count);
    }
    int failure = ferror(file) ? errno : 0;
    (void)fclose(file);
    if (failure != 0) {
        *ret_message = x_format("cannot read \"%s\": %s", path, strerror(failure)); // NOLINT
        return NULL;
    }
    if (text.length > FILE_BYTES_MAX || strlen(text.data) != text.length) {
        *ret_message =
            x_format("\"%s\" is no configuration file: it %s", path,
                     text.length > FILE_BYTES_MAX ? "is larger than 4 MiB" : "contains a NUL byte");
        return NULL;
    }
    char *whole = text.data;
    text = TEXT_EMPTY;
    return whole;
}

/* The path between the quotes of `@include "path"`, or NULL when the line is no include. */
static char *source_include_path(const char *line)
{
    line += strspn(line, " \t");
    if (strncmp(line, "@include", 8) != 0 || (line[8] != ' ' && line[8] != '\t')) {
        return NULL;
    }
    line += 8 + strspn(line + 8, " \t");
    const char *end = *line == '"' ? strchr(line + 1, '"') : NULL;
    return end != NULL ? x_strndup(line + 1, (size_t)(end - line - 1)) : NULL;
}

static Status source_add_file(Scan *scan, const char *path);

static void source_include(Scan *scan, const char *from, const char *path)
{
    AUTO_TEXT directory = source_directory(from);
    bool beside = *path == '/' || strcmp(directory, ".") == 0;
    AUTO_TEXT full = beside ? x_strdup(path) : x_format("%s/%s", directory, path);
    if (scan->depth >= INCLUDE_DEPTH_MAX) {
        scan_problem(scan, "does a file include itself?", "includes are nested too deeply");
        return;
    }
    scan->depth++;
    (void)source_add_file(scan, full); /* its problems are noted */
    scan->depth--;
}

/* NOLINTNEXTLINE(misc-no-recursion): bounded by INCLUDE_DEPTH_MAX */
static Status source_add_file(Scan *scan, const char *path)
{
    Source *source = scan->source;
    AUTO_TEXT message = NULL;
    AUTO_TEXT whole = source_slurp(path, &message);
    if (whole == NULL) {
        if (source->files.count == 0) {
            string_list_add(&source->files, path);
        }
        scan_problem(scan, NULL, message);
        return FAILED;
    }
    size_t file = source->files.count;
    string_list_add(&source->files, path);
    char *rest = whole;
    for (int line = 1; rest != NULL; line++) {
        char *text = strsep(&rest, "\n");
        if (rest == NULL && *text == '\0') {
            break; /* after the last newline */
        }
        scan_note_line(scan, file, line);
        AUTO_TEXT included = scan->state == SCAN_PLAIN ? source_include_path(text) : NULL;
        if (included == NULL) {
            scan_text(scan, text);
            text_add(&source->text, text);
        }
        text_add_char(&source->text, '\n');
        if (included != NULL) {
            source_include(scan, path, included);
        }
    }
    return OK;
}

Status source_read(Source *source, const char *path, Problems *problems)
{
    *source = (Source){0};
    Scan scan = {.source = source, .problems = problems};
    return source_add_file(&scan, path);
}
