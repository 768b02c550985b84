#include "pg/answer.h"

#include <string.h>

#include "pg/result.h"

/* The beginning of a statement says enough: which one it is, and so where its answer was garbled.
 */
void answer_begin(PgAnswer *answer, const PgQuery *query)
{
    answer->rows_told = 0;
    answer->copy_told = answer->garbled = false;
    error_clear(&answer->error);
    const char *text = query->statement != NULL ? query->statement : query->sql;
    size_t length = strnlen(text, sizeof(answer->question) - 1);
    while (length > 0 && ((unsigned char)text[length] & 0xC0) == 0x80) {
        length--; /* not in the middle of a character */
    }
    memcpy(answer->question, text, length);
    answer->question[length] = '\0';
}

void answer_garble(PgAnswer *answer, const char *how)
{
    answer->garbled = true;
    if (answer->error.class == ERROR_NONE) {
        error_set(&answer->error, CODE_PG_PROTOCOL, "the server's answer to '%s' %s",
                  answer->question, how);
    }
}

void answer_hand_on(PgAnswer *answer, const PgQuery *query, const PGresult *result)
{
    AUTO_ERROR lacking = {0};
    answer->rows_told += PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) > 0;
    pg_result_begin();
    if (query->result != NULL) {
        query->result(query->arg, result);
    }
    if (pg_result_end(answer->question, &lacking) != OK) {
        answer->garbled = true;
        if (answer->error.class == ERROR_NONE) {
            error_copy(&answer->error, &lacking);
        }
    }
}

void answer_judge(PgAnswer *answer, const PgQuery *query)
{
    if (answer->error.class != ERROR_NONE) {
        return;
    }
    if (query->copy_both != NULL) {
        answer_garble(answer, "is not a stream");
    } else if ((query->row != NULL || query->feed != NULL) && !answer->copy_told) {
        answer_garble(answer, "does not start a COPY");
    } else if (answer->rows_told < query->rows_wanted) {
        answer_garble(answer, "lacks a row that it should have");
    }
}
