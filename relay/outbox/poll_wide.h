/* A fetch that chooses its rows by number: see poll_wide.c. */
#pragma once

#include "base/vec.h"
#include "outbox/known.h"
#include "outbox/poll_internal.h"

typedef struct Wide {
    VEC(KnownRow) wanted; /* rows that are not known, by seq */
    VEC(int64_t) present; /* numbers of the known rows that it saw, ascending */
    size_t page_limit;    /* of the page of keys, and so many came */
    size_t page_rows;
    int64_t page_from; /* its first number may be this */
    int64_t page_end;  /* its last */
    bool header_read;
    Error error; /* of a page */
    void (*failed)(Poll *poll, const Error *err);
    void (*done)(void *arg, const Error *err); /* of the statement that brings the rows */
} Wide;

/** A fetch is sent, of whatever kind: done and failed, when it is a wide one. */
void wide_begin(Wide *wide, void (*done)(void *arg, const Error *err),
                void (*failed)(Poll *poll, const Error *err));
void wide_release(Wide *wide);

/** Sends the first page of keys. */
void wide_send(Poll *poll, bool with_fence, int64_t now_us);
/** Sends for one row that cannot be read whole. */
void wide_send_lean(Poll *poll, KnownRow row, TableLean lean);

/** So many rows are asked for; the first of them. */
size_t wide_wanted(const Wide *wide);
const KnownRow *wide_first(const Wide *wide);
/** Known rows that were there: their numbers, ascending. */
const int64_t *wide_present(const Wide *wide, size_t *ret_count);
