/* source: the text of a configuration file with its includes, and where each line came from.
 *
 * libconfig 1.5 resolves includes against the working directory, wraps integer literals that do not
 * fit in silence, and is vague about the line of a string in a list. So we read the files
 * ourselves: includes are put in place (relative to the file that includes them), `[ { } ]` becomes
 * what libconfig takes, each flat line
 * remembers its file, literals are measured, strings are counted; libconfig parses the flat text.
 */
#pragma once

#include "base/error.h"
#include "base/text.h"
#include "config/config.h"

typedef struct SourceLine {
    size_t file; /* index into files */
    int line;    /* from 1 */
} SourceLine;

typedef struct Source {
    Text text;
    StringList files;  /* the main file first */
    SourceLine *lines; /* of flat line 1, 2, ... */
    size_t line_count;
    int *strings; /* flat lines on which string literals begin, in order; "a" "b" counts once */
    size_t string_count;
    bool *numbers; /* of each number literal, in order: does it fit? */
    size_t number_count;
} Source;

/** Reads path and what it includes; whatever is wrong (unreadable, include cycle, a literal that
 * does not fit) is added to problems. Fails when there is no text to parse, or more than 4 MiB, 100
 * files or 20,000 names and values in all. Free in any case. */
Status source_read(Source *source, const char *path, Problems *problems);
void source_free(Source *source);

/** "file:line" of a flat line from 1; the caller frees it. */
char *source_place(const Source *source, int flat_line);

/** The directory of the main file, "." when it has none; the caller frees it. */
char *source_directory(const char *path);
