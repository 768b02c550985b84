/* dead_print: dead letters as people and programs read them. The rows are those of dead_store. */
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/text.h"

enum {
    DEAD_TEXT_MAX = 2000,  /* bytes of one value on the screen */
    DEAD_HEX_MAX = 512,    /* bytes of one that is no text */
    DEAD_REASON_WIDTH = 60 /* characters, in the list */
};

/** Appends a table, the rows as they come; total: how many there are in all. */
void dead_print_list(const PGresult *rows, int64_t total, bool colours, bool whole, Text *out);
/** Appends {"dead_letters":[...],"total":n}. */
void dead_print_list_json(const PGresult *rows, int64_t total, Text *json);

/** Of a row of dead_store_find: false when the event could not be stored whole. */
bool dead_is_whole(const PGresult *row);

/** Appends everything about a row of dead_store_find; long values are cut, which is said. */
void dead_print_row(const PGresult *row, bool colours, Text *out);
/** Appends the same, uncut, as a JSON object. */
void dead_print_row_json(const PGresult *row, Text *json);

/** Appends "17 orders order.placed '4711' (event 0193...)" of a listed row. */
void dead_print_name(const PGresult *rows, int row, Text *out);
/** Appends the listed row as a JSON object. */
void dead_print_brief_json(const PGresult *rows, int row, Text *json);

/** Appends bytes as people read them: text, or hex in groups when they are none; cut at
 * DEAD_TEXT_MAX or DEAD_HEX_MAX. */
void dead_print_bytes(Slice bytes, Text *out);
/** Appends {"bytes":n,"text":"..."} or {"bytes":n,"hex":"..."}; null for the null slice. */
void dead_print_bytes_json(Slice bytes, Text *json);
