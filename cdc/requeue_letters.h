/* requeue_letters: dead letters of changes that were asked for, and the statements about them.
 *
 * A letter names its row in member "row" of its event (change_made.h): its table by OID and name,
 * and the columns of its key with their texts. One round is about the letters of one table, which
 * may have another name by now. */
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>

#include "base/text.h"
#include "base/vec.h"
#include "cdc/keyed_sql.h"

enum { REQUEUE_ROUND = 20 /* letters at a time: their rows are in memory together */ };

typedef struct RequeueLetter {
    int64_t id;
    char *key;     /* as JSON, for people, too */
    Slice *values; /* of the table's columns: those of the key; NULL: it is not asked about */
    char *texts;   /* that the values are in */
    bool other;    /* its key is of other columns than that of the first: another round */
    size_t found;  /* rows that have its key */
} RequeueLetter;

typedef struct RequeueLetters {
    VEC(RequeueLetter) items;
    uint32_t table; /* 0: it is gone */
    char *schema;   /* as the first letter has them */
    char *relation;
    char *name; /* both, for people */
} RequeueLetters;

void requeue_letters_clear(RequeueLetters *letters);

/* Letters that a look does not bring first, or not at all. */
typedef struct RequeueLater {
    int64_t put_off;     /* up to this one, rows could not be read: they come behind all others */
    const int64_t *kept; /* these are done with, and cannot be deleted */
    size_t kept_count;
} RequeueLater;

/** Appends the question: which letters of the pipeline were asked for? */
void requeue_add_look(const char *dead_letter, const char *pipeline, const RequeueLater *later,
                      Text *sql);
/** Reads the answer: the letters of one table. False: it is none. */
bool requeue_read_look(const PGresult *result, RequeueLetters *letters);

/** Finds the columns of each letter's key in the table, and makes the question about its rows: all
 * that have a key of the same columns as the first. */
void requeue_ask(RequeueLetters *letters, const ChangeTable *table, KeyedTable *ret_asked);

/* Letters that are done with. */
typedef struct RequeueEnds {
    const int64_t *over; /* these are deleted */
    size_t over_count;
    const int64_t *refused; /* these are let go of */
    size_t refused_count;
} RequeueEnds;

/** Appends the statements that end them; a last one tells which are still asked for: a row for
 * each, with its number in column REQUEUE_KEPT_ID. */
void requeue_add_ends(const char *dead_letter, const RequeueEnds *ends, Text *sql);
#define REQUEUE_KEPT_ID "kept_id"
