#include "pg/encoding.h"

#include <strings.h>

static bool encoding_is(const PGconn *pg, const char *name)
{
    const char *encoding = pg != NULL ? PQparameterStatus(pg, "server_encoding") : NULL;
    return encoding != NULL && strcasecmp(encoding, name) == 0;
}

bool pg_takes_bytes(const PGconn *pg)
{
    return encoding_is(pg, "sql_ascii");
}

bool pg_is_converted(const PGconn *pg)
{
    bool told = pg != NULL && PQparameterStatus(pg, "server_encoding") != NULL;
    return told && !encoding_is(pg, "utf8") && !pg_takes_bytes(pg);
}

void pg_adopt_encoding(PGconn *pg)
{
    if (pg_takes_bytes(pg)) {
        (void)PQsetClientEncoding(pg, "sql_ascii"); /* else a later statement says what is wrong */
    }
}
