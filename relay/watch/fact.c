#include "watch/fact.h"

#include <math.h>
#include <stdlib.h>

#include "pg/result.h"

const char *fact(const PGresult *r, int row, const char *column)
{
    return pg_field(r, row, column);
}

bool fact_true(const PGresult *r, int row, const char *column)
{
    return *fact(r, row, column) == 't';
}

double fact_real(const PGresult *r, int row, const char *column)
{
    const char *text = fact(r, row, column);
    return *text != '\0' ? strtod(text, NULL) : NAN;
}

int64_t fact_integer(const PGresult *r, int row, const char *column, int64_t missing)
{
    const char *text = fact(r, row, column);
    return *text != '\0' ? strtoll(text, NULL, 10) : missing;
}
