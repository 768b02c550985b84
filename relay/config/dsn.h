/* dsn: a connection string of PostgreSQL, read once, when the configuration is loaded. What is
 * wrong is said in our words: the text of a connection string may be a secret wherever it stands,
 * so none of it is repeated, and libpq, whose messages repeat it, is never given one that it could
 * refuse.
 *
 * Both forms are read as libpq reads them (PostgreSQL manual, 34.1.1): key = 'value' pairs with
 * \ as the escape, and postgresql:// URIs with percent-encoding. Stricter than libpq: a bare @ in
 * what follows the user's part of a URI, ports that are no numbers, values that libpq would refuse
 * later.
 *
 * References: one that is all of the text is the connection string itself. One that is a part of it
 * stands for its content, whatever that holds: it is quoted as the form asks for. Only where a URI
 * has its hosts, a ':' or ',' of a reference separates as a literal one does. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "config/interpolate.h"

typedef struct DsnPair {
    char *key;
    char *value; /* decoded */
} DsnPair;

typedef struct Dsn {
    DsnPair *pairs; /* no key twice */
    size_t count;
} Dsn;

/* What is wrong with a connection string; free with dsn_problem_free. */
typedef struct DsnProblem {
    char *message;  /* "a % in the password is not followed by two hex digits" */
    char *remedy;   /* or NULL */
    bool reference; /* one could not be replaced: the message says it all */
} DsnProblem;

#define DSN_REMEDY                                                                                 \
    "write \"host=db dbname=shop user=relay\" (values with spaces in single quotes) or "           \
    "postgresql://relay@db/shop, and give the password as database.password_file"

/* Of a command line. */
#define DSN_ARGUMENT_WARNING                                                                       \
    "anyone who can run ps on this machine could read the password in the connection string "      \
    "until "                                                                                       \
    "outboxd overwrote it just now"
#define DSN_ARGUMENT_REMEDY                                                                        \
    "give it in the environment (OUTBOXD_DATABASE_PASSWORD_FILE, OUTBOXD_DATABASE_PASSWORD), in "  \
    "the configuration file or in ~/.pgpass"

/** Reads the text; how is NULL when it holds no references. On success *ret_dsn is the caller's. */
Status dsn_read(const Interpolation *how, const char *text, Dsn *ret_dsn, DsnProblem *ret_problem);
void dsn_free(Dsn *dsn);
void dsn_problem_free(DsnProblem *problem);

/** Checks keys and values as far as libpq would without a server. */
Status dsn_check(const Dsn *dsn, DsnProblem *ret_problem);

/** What a command without a configuration connects to: `given`, or else OUTBOXD_DATABASE_DSN; with
 * the password of OUTBOXD_DATABASE_PASSWORD or OUTBOXD_DATABASE_PASSWORD_FILE if it has none.
 * *ret_dsn is NULL when there is none of these, else the caller frees it. */
Status dsn_of_command(const char *given, char *const *environment, char **ret_dsn,
                      DsnProblem *ret_problem);

/** The program that prints the password for it: OUTBOXD_DATABASE_PASSWORD_COMMAND, unless `given`
 * has a password. *ret_command is NULL when there is none, else the caller frees it. */
Status dsn_password_command(const char *given, char *const *environment, char **ret_command,
                            DsnProblem *ret_problem);

/** True when OUTBOXD_DATABASE_POOLER says that a pooler in between pools sessions. */
bool dsn_pooler_of_command(char *const *environment);

/** True when the text holds a password as it is, not as a reference. */
bool dsn_holds_password(const char *text);

/** The value of a key, or NULL; borrowed. */
const char *dsn_get(const Dsn *dsn, const char *key);
void dsn_set(Dsn *dsn, const char *key, const char *value);

/** As key=value pairs, quoted where it has to be; the caller frees it. Without any pair it is
 * "postgresql://", which libpq takes for a connection string, too. */
char *dsn_text(const Dsn *dsn);

/** The text as written with its secrets masked, and with its references as they are; the caller
 * frees it. */
char *dsn_shown(const char *text);

/** The first host that is not on this machine, or NULL; borrowed. Unix sockets are. */
const char *dsn_remote_host(const Dsn *dsn, char *buffer, size_t capacity);

/** True for localhost, 127.0.0.0/8, ::1, "" and paths of sockets. */
bool dsn_host_is_local(const char *host);
