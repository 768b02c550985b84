/* fact: fields of an answer by name; what is not there is "", false, NAN, or `missing`. */
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

const char *fact(const PGresult *result, int row, const char *column);
bool fact_true(const PGresult *result, int row, const char *column);
double fact_real(const PGresult *result, int row, const char *column);
int64_t fact_integer(const PGresult *result, int row, const char *column, int64_t missing);
