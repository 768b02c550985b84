#include "rows/mark_answer.h"

#include <stdlib.h>

#include "base/memory.h"
#include "pg/result.h"

void answer_forget(MarkAnswer *answer)
{
    free(answer->missing.rows);
    free((char *)answer->missing.snapshot);
    *answer = (MarkAnswer){.rows = answer->rows, .same_table = answer->same_table};
}

/* Each row but a lonely one names a row that was not hit, all with the same snapshot. */
static void answer_read_missing(MarkAnswer *answer, const PGresult *result)
{
    MarkMissing *missing = &answer->missing;
    int count = PQntuples(result);
    missing->rows = x_malloc((size_t)count * sizeof(*missing->rows));
    for (int i = 0; i < count; i++) {
        const char *seq = pg_field_or_null(result, i, "seq");
        const char *replaced = pg_field_or_null(result, i, "replaced");
        if (seq != NULL) {
            missing->rows[missing->count++] = (MarkMiss){
                .seq = strtoll(seq, NULL, 10), .replaced = replaced != NULL && *replaced == 't'};
            const char *ignored = pg_field_or_null(result, i, "ignored");
            answer->ignored += ignored != NULL && *ignored == 't';
        }
    }
    const char *snapshot = pg_field_or_null(result, 0, "snapshot");
    missing->snapshot = x_strdup(snapshot != NULL ? snapshot : "");
}

/* Without a position there are two: the command tag of the mark, then the row of ours, if there is
 * one. With a position, and after a mark that no row of ours follows, the first is the last. */
const char *answer_read(MarkAnswer *answer, const MarkSql *sql, const PGresult *result)
{
    bool rows = PQresultStatus(result) == PGRES_TUPLES_OK;
    if (!rows || sql->with_position) {
        answer_forget(answer);
    }
    if (!rows) {
        answer->hit = (size_t)strtoull(PQcmdTuples((PGresult *)result), NULL, 10);
        answer->owned = mark_sql_then(sql) == NULL; /* no row proves it, or the next will */
        return NULL;
    }
    const char *ctid = PQntuples(result) > 0 ? pg_field_or_null(result, 0, "ctid") : NULL;
    answer->owned = ctid != NULL;
    if (ctid == NULL || !sql->with_position) {
        return ctid;
    }
    answer_read_missing(answer, result);
    size_t missing = answer->missing.count;
    answer->hit = answer->rows > missing ? answer->rows - missing : 0;
    const char *moved = pg_field_or_null(result, 0, "moved");
    answer->beyond = missing == 0 && moved != NULL && *moved == 'f';
    return ctid;
}

void answer_read_replaced(MarkAnswer *answer, const PGresult *result)
{
    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1) {
        size_t replaced = (size_t)strtoull(pg_needed(result, 0, 0), NULL, 10);
        replaced = replaced < answer->not_hit ? replaced : answer->not_hit;
        answer->ignored = (size_t)strtoull(pg_needed(result, 0, 1), NULL, 10);
        answer->same_table = pg_needed(result, 0, 2)[0] == 't';
        answer->not_hit -= replaced;
        answer->replaced = replaced;
    }
}
