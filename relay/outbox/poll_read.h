/* What a fetch brings, row by row: rows that are known are left out, and the rest once the byte
 * budget is reached. */
#pragma once

#include <libpq-fe.h>

#include "flow/batch.h"
#include "outbox/known.h"

typedef struct Intake {
    Batch *batch; /* being filled; NULL: none is */
    bool header_read;
    bool cancelling;
    size_t budget_bytes;
    size_t rows;          /* that the server sent */
    size_t dropped_bytes; /* of those beyond the budget */
    size_t swept;         /* rows whose number was no gap */
    int64_t last_seq;
    KnownRow forgotten; /* of the fail point forget_row */
    Error error;        /* of an answer that cannot be read */
} Intake;

/** A fetch is sent. */
void intake_begin(Intake *intake, size_t budget_bytes);
void intake_release(Intake *intake);

/** Every file of a fetch: takes the header off the first row of a COPY. False: there is no row in
 * these bytes. */
bool intake_strip_header(bool *header_read, const char **bytes, size_t *length, Error *err);
/** Of PgQuery.row: a row of the table. */
void read_on_row(void *arg, const char *bytes, size_t length);
/** Of PgQuery.result, of every statement of a fetch: what is asked beside the rows. */
void read_on_result(void *arg, const PGresult *result);

const Batch *intake_batch(const Intake *intake);
/** The caller's from now on. */
Batch *intake_take_batch(Intake *intake);
size_t intake_rows(const Intake *intake);
size_t intake_swept(const Intake *intake);
int64_t intake_last_seq(const Intake *intake);
/** Rows were left out for the budget. */
bool intake_is_cut(const Intake *intake);
/** We asked the server to stop. */
bool intake_cancels(const Intake *intake);
/** Until the fetch ends. */
void intake_keep_error(Intake *intake, const Error *err);
/** Class ERROR_NONE: every answer could be read, and none is kept. */
const Error *intake_error(const Intake *intake);
/** The row that the fail point hides may be seen again. */
void intake_remember_forgotten(Intake *intake, Known *known);
