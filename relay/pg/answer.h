/* answer: what the server says to one question, and whether it is an answer to it (result.h,
 * PgQuery). For conn.c. */
#pragma once

#include "pg/conn.h"

typedef struct PgAnswer {
    char question[64]; /* how it begins */
    int rows_told;     /* results with a row */
    bool copy_told;
    bool garbled; /* it is none */
    Error error;  /* the first */
} PgAnswer;

void answer_begin(PgAnswer *answer, const PgQuery *query);
/** It is none: how, said of "the server's answer to ...". */
void answer_garble(PgAnswer *answer, const char *how);
/** A result without error goes to its reader. What that asks for and the answer does not have
 * garbles it. */
void answer_hand_on(PgAnswer *answer, const PgQuery *query, const PGresult *result);
/** The end: what an answer without error lacks. */
void answer_judge(PgAnswer *answer, const PgQuery *query);
