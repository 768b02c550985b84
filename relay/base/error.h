/* error: what went wrong, and what the caller shall do about it.
 *
 * Leaf code returns a Status and fills an Error; it does not log. The pipeline (or the command)
 * logs once and acts on the class, the code or the SQLSTATE, never on a text. Text is lower case,
 * names in single quotes, no full stop; the hint is a sentence with the remedy.
 *
 * The texts are whole (up to 64 KiB, of what others name in them), and shared: an Error owns a
 * reference to them. So it is no plain value. A local is an AUTO_ERROR, which lets go by itself; a
 * member is released with what holds it (error_clear). It is copied by error_copy() or error_of():
 * an assignment does not compile, and lint refuses what else would make two owners of one
 * reference. Zero is the empty Error. One thread at a time for each Error; copies may belong to
 * different threads. */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error_code.h"

typedef enum Status {
    OK = 0,
    FAILED = -1,
} Status;

/* What the caller does. */
typedef enum ErrorClass {
    ERROR_NONE = 0,
    ERROR_RETRY,  /* may heal by itself: back off, rewind, go on */
    ERROR_POISON, /* this event can never succeed: the on_poison policy decides */
    ERROR_FATAL,  /* a human must act: stop this pipeline, others go on */
} ErrorClass;

/* Exit codes of the program (users' scripts rely on them). */
typedef enum ExitCode {
    EXIT_OK = 0,
    EXIT_CONFIG = 1,
    EXIT_POSTGRES = 2,
    EXIT_KAFKA = 3,
    EXIT_GAP = 4,
    EXIT_DRAIN = 5,
    EXIT_INTERNAL = 70,
} ExitCode;

/* What is known of an error of the server besides its SQLSTATE. */
typedef enum ErrorOrigin {
    ORIGIN_FUNCTION = 1,    /* met in a function of the database: somebody's trigger, say */
    ORIGIN_PUBLICATION = 2, /* the object that is missing is the publication, not the slot */
    ORIGIN_SIZE = 4,        /* XX000 of memory: what is printed is larger than it can build */
    ORIGIN_LOGIN = 8,       /* the server refuses user and password: another password may do */
} ErrorOrigin;

typedef struct ErrorText ErrorText;

typedef struct Error {
    ErrorClass class;
    ExitCode exit_code;         /* of the program, should this error end it */
    ErrorCode code;             /* which fault it is */
    char sqlstate[6];           /* of the server; "": it did not say this */
    unsigned char origin;       /* of ErrorOrigin */
    const char *step;           /* the query that failed, PgQuery.step; static; NULL: none */
    ErrorText *text;            /* of error.c; NULL: none */
    const char not_assigned[0]; /* takes no room, and makes `*a = *b` an error of the compiler */
} Error;

static_assert(sizeof(Error) <= 128, "an Error is zeroed for each event");

/** Lets go of the texts: the empty Error. NULL is allowed. */
void error_clear(Error *err);
#define AUTO_ERROR __attribute__((cleanup(error_clear))) Error

/** Makes *to the same as *from, which may be *to, or the empty Error. */
void error_copy(Error *to, const Error *from);

/** The same as a value, for a declaration: AUTO_ERROR copy = error_of(err); */
Error error_of(const Error *from) __attribute__((warn_unused_result));

/** Fills *err (NULL is allowed) with the class and the exit code that the registry has for this
 * code, and returns FAILED, so that callers can `return error_set(...)`. *err holds an Error or
 * zeros; the arguments may be texts of it. */
Status error_set(Error *err, ErrorCode code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/** The same where the case decides what the caller does, or how the program ends. */
Status error_set_as(Error *err, ErrorClass class, ExitCode exit_code, ErrorCode code,
                    const char *format, ...) __attribute__((format(printf, 5, 6)));

/** Adds the remedy to *err (NULL is allowed) and returns FAILED. */
Status error_hint(Error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** Adds the remedy that the registry has for its code (NULL is allowed) and returns FAILED. */
Status error_advise(Error *err);

/** Puts "prefix: " before the message, to name the place, and returns FAILED. */
Status error_prefix(Error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** Copies what the server said about it, SQLSTATE, origin and step, to an error that tells of
 * *cause in words of our own. Returns FAILED. */
Status error_caused(Error *err, const Error *cause);

/** What is printed: one line, "" when there is none. Valid until *err changes. */
const char *error_message(const Error *err);
/** The remedy of this case alone, "" when there is none. Valid until *err changes. */
const char *error_own_hint(const Error *err);
/** What to do about it: its own hint, else the remedy of its code, else "". */
const char *error_remedy(const Error *err);

/** The class as users see it: "retry", "poison", "fatal" or "none". */
const char *error_class_name(ErrorClass class);

/** The same fault in the same words: nobody needs to be told again. */
bool error_same(const Error *a, const Error *b);

/** The same remedy in the same words, which may name the object at fault. */
bool error_same_hint(const Error *a, const Error *b);

/** A number for it, equal where error_same() and the class are; never 0. */
uint64_t error_hash(const Error *err);
