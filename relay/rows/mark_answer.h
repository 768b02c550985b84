/* mark_answer: what a mark statement brought. */
#pragma once

#include <libpq-fe.h>

#include "rows/mark_queue.h"
#include "rows/mark_sql.h"

typedef struct MarkAnswer {
    size_t rows; /* with a row that the statement named; its sender's word */
    size_t hit;
    MarkMissing missing; /* with a position: which were not hit */
    size_t not_hit;      /* without: how many were not, and are no other events */
    size_t replaced;     /* ... and are */
    size_t ignored;      /* rows that are there as they were: something swallows our writes */
    bool owned;          /* the row that proves the history is ours still */
    bool beyond;         /* the position is not in the server's log: it did not move */
    bool same_table;     /* has the name still */
} MarkAnswer;

/** Of the statement before; rows and same_table are told anew anyway. */
void answer_forget(MarkAnswer *answer);

/** Reads one result of a mark. The place to which the row that proves the history moves with the
 * commit, of the result; NULL: it does not tell. */
const char *answer_read(MarkAnswer *answer, const MarkSql *sql, const PGresult *result);

/** Polling: some rows were not hit. Reads what became of them (mark_sql_add_replaced_query). */
void answer_read_replaced(MarkAnswer *answer, const PGresult *result);
