/* Facts of one look, read by name: a column that the answer has not is no fact, and nothing is
 * concluded from it. */
#include "pg/result.h"
#include "rows/precondition_internal.h"

const char *facts_value(const Facts *facts, const char *column)
{
    return pg_field(facts->result, facts->row, column);
}

bool facts_say(const Facts *facts, const char *column)
{
    return *facts_value(facts, column) == 't';
}

bool facts_deny(const Facts *facts, const char *column)
{
    return *facts_value(facts, column) == 'f';
}
