/* message: what libpq says about a connection. Its texts enter the relay here only, without the
 * password, should one of them ever repeat it, and on one line. A password of less than four bytes
 * is hidden only where it stands as a value of its own: replaced inside of words it would be told
 * by them. */
#pragma once

#include <libpq-fe.h>

/** PQerrorMessage, for people; the caller frees it. */
char *pg_message(const PGconn *pg);

/** Ends the process when the text, libpq's own, says that it was refused memory: it would go on as
 * if the connection had broken. What a server says of its own memory is none of that. */
void pg_message_check(const char *text);
