/* Relations that would be ours but for their owner (companion.h): they are passed over, so that
 * nobody who may create tables can pause a relay or read its dead letters, and that is said. */
#include <string.h>

#include "base/memory.h"
#include "rows/companion.h"
#include "rows/precondition_internal.h"

#define PG "pg_catalog."

/* Each with its owner, and who it should belong to; a unit separator between them, a record
 * separator behind each but the last. */
static const char STRANGERS[] =
    "(SELECT " PG "string_agg(" PG "concat_ws(" PG "chr(31), k.relnamespace::" PG
    "regnamespace::text || '.' || " PG "quote_ident(k.relname)," PG "pg_get_userbyid(k.relowner),"
    " " PG "quote_ident(" PG "pg_get_userbyid(c.relowner))), " PG
    "chr(30) ORDER BY k.relname, k.oid)"
    " FROM " PG "pg_class k WHERE k.relnamespace IN (c.relnamespace,"
    " " PG "to_regnamespace('outbox')::oid) AND (" COMPANION_IS_ANY(
        "k") ") AND " COMPANION_IS_BY_US("k") " IS NOT TRUE) AS strange_companions";

enum { NAME, OWNER, PROPER_OWNER, FIELDS };

static bool companions_are_strange(const Facts *facts, Saying *say)
{
    AUTO_TEXT all = x_strdup(facts_value(facts, "strange_companions"));
    char *rest = *all != '\0' ? all : NULL;
    char *one = NULL;
    for (size_t i = 0; i <= facts->nth; i++) {
        one = strsep(&rest, "\036");
    }
    char *fields[FIELDS] = {0};
    for (size_t i = 0; i < FIELDS; i++) {
        fields[i] = one != NULL ? strsep(&one, "\037") : NULL;
    }
    if (fields[PROPER_OWNER] == NULL) {
        return false;
    }
    text_printf(&say->message,
                "%s looks like a table or view of outboxd, but outboxd does not use it: it belongs "
                "to role \"%s\", and not to the owner of the outbox table or of the schema",
                fields[NAME], fields[OWNER]);
    text_printf(&say->remedy,
                "If outboxd migrate made it, run: ALTER TABLE %s OWNER TO %s; Otherwise, ask who "
                "may create tables in that schema, and why.",
                fields[NAME], fields[PROPER_OWNER]);
    return true;
}

const Precondition PRECONDITIONS_COMPANIONS[] = {
    {CODE_COMPANION_FOREIGN, FOR_ALL | BY_ALL | REPEATS | FIRST, true, STRANGERS,
     companions_are_strange},
};
const size_t PRECONDITIONS_COMPANIONS_COUNT =
    sizeof(PRECONDITIONS_COMPANIONS) / sizeof(Precondition);
