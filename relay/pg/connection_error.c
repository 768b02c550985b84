/* Why a connection is refused. libpq tells no SQLSTATE of that: the texts are the server's, of
 * which untranslated parts are matched, or libpq's own. Here they become codes, and nowhere else is
 * any of them read. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "pg/ident.h"
#include "pg/message.h"
#include "pg/sqlstate.h"

enum { MORE_PLACES = 4 };

/* Everything else may heal by itself. */
static const struct {
    const char *text;
    const char *state; /* NULL: may heal by itself */
    const char *hint;  /* NULL: that of the state */
    bool login;        /* of a log-in with a password: another one may do */
} CONNECTION_TEXTS[] = {
    {"password authentication failed", "28P01",
     "Check user and password of database.dsn. PostgreSQL reports an expired password in the same "
     "way: ALTER ROLE ... VALID UNTIL 'infinity'.",
     true},
    {"no password supplied", "28P01",
     "Give the password: database.password_file, OUTBOXD_DATABASE_PASSWORD_FILE, ~/.pgpass or "
     "PGPASSWORD.",
     false},
    {"requires a valid client certificate", "28000",
     "Name the relay's certificate in database.dsn: sslcert=/path/to/relay.crt "
     "sslkey=/path/to/relay.key",
     false},
    {"certificate authentication failed", "28000",
     "The name in the certificate of sslcert must be the user of database.dsn, or one that "
     "pg_ident.conf maps to it.",
     false},
    {"alert unknown ca", NULL,
     "The server does not know the authority that signed the certificate of sslcert: add it to the "
     "file of the server's ssl_ca_file, or name another certificate.",
     false},
    {"Peer authentication failed", "28000", NULL, false},
    {"Ident authentication failed", "28000", NULL, false},
    {"GSSAPI authentication failed", "28000", NULL, false},
    {"SSPI authentication failed", "28000", NULL, false},
    {"\": host rejected", "28000", NULL, false},
    /* by PAM and LDAP, and by what clouds add */
    {"authentication failed", "28000", NULL, true},
    {"no pg_hba.conf entry", "28000",
     "Add a line for this role, database and address to pg_hba.conf, and reload PostgreSQL.",
     false},
    {"is not permitted to log in", "28000", "An administrator runs: ALTER ROLE ... LOGIN", false},
    {"too many connections for role", "53300",
     "Raise the role's limit (ALTER ROLE ... CONNECTION LIMIT), or end some of its sessions.",
     false},
    {"too many connections for database", "53300",
     "Raise the database's limit (ALTER DATABASE ... CONNECTION LIMIT), or end some of its "
     "sessions.",
     false},
    {"too many clients already", "53300", NULL, false},
    {"connection slots are reserved", "53300", NULL, false},
    {"FATAL: role \"", "28000", "Check the user in database.dsn: the role does not exist.", false},
    {"is not currently accepting connections", "3D000",
     "An administrator runs: ALTER DATABASE ... ALLOW_CONNECTIONS true", false},
    {"FATAL: database \"", "3D000", NULL, false},
    {"permission denied for database", "42501",
     "An administrator runs: GRANT CONNECT ON DATABASE ... TO the relay's role", false},
    {"could not translate host name", NULL,
     "Check the host in database.dsn: the name does not exist, or no name server answers.", false},
    {"does not support SSL", NULL,
     "Switch TLS on at the server (ssl = on). In a network that you trust, you can choose another "
     "sslmode instead.",
     false},
    {"root certificate file", NULL,
     "Name the CA of the server's certificate in database.dsn: sslrootcert=/path/to/ca.pem", false},
    {"certificate verify failed", NULL,
     "The CA of sslrootcert did not sign the server's certificate, or it has expired: name the "
     "right CA in database.dsn.",
     false},
    {"does not match host name", NULL,
     "Connect to a name that is in the server's certificate (host of database.dsn), or give the "
     "server a certificate with this name.",
     false},
};

/* As SQL writes it: in quotes only where that is needed. */
static char *role_name(const char *role)
{
    bool plain = strspn(role, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(role) &&
                 (*role < '0' || *role > '9');
    return plain && *role != '\0' ? x_strdup(role) : ident_quote(role);
}

/* A walsender has no place, or its role may not be one; the names of a setting and of an attribute
 * are the same in every language. */
static bool is_of_walsender(const char *role, const char *message, Error *err)
{
    const char *senders = strstr(message, "max_wal_senders");
    if (senders != NULL) {
        long places = strtol(senders + strcspn(senders, "0123456789"), NULL, 10);
        error_set(err, CODE_NO_WAL_SENDER,
                  "all %ld connections that max_wal_senders allows are in use", places);
        error_hint(
            err,
            "ALTER SYSTEM SET max_wal_senders = %ld; then restart PostgreSQL; or end a replication "
            "client that is not needed: SELECT pid, application_name FROM pg_stat_replication;",
            places + MORE_PLACES);
        return true;
    }
    if (strstr(message, "superuser or replication role") == NULL &&
        strstr(message, "REPLICATION") == NULL &&
        strstr(message, "permission denied to start WAL sender") == NULL) {
        return false;
    }
    AUTO_TEXT name = role_name(role);
    error_set(
        err, CODE_NO_REPLICATION,
        "role %s lacks REPLICATION, which membership in outbox_relay does not give (server: %s)",
        name, message);
    error_hint(err,
               "an administrator runs: ALTER ROLE %s REPLICATION; or, on Amazon RDS and Aurora: "
               "GRANT rds_replication TO %s; (on Google Cloud SQL, AlloyDB and Azure the first "
               "one, as their administrator's role: postgres, azure_pg_admin)",
               name, name);
    return true;
}

Status sqlstate_connection_said(const char *role, const char *message, Error *err)
{
    for (size_t i = 0; i < sizeof(CONNECTION_TEXTS) / sizeof(CONNECTION_TEXTS[0]); i++) {
        if (strstr(message, CONNECTION_TEXTS[i].text) == NULL) {
            continue;
        }
        if (CONNECTION_TEXTS[i].state == NULL) {
            error_set(err, CODE_POSTGRES_UNREACHABLE, "%s", message);
        } else {
            (void)sqlstate_fill(CONNECTION_TEXTS[i].state, message, err);
        }
        if (err != NULL && CONNECTION_TEXTS[i].login) {
            err->origin |= ORIGIN_LOGIN;
        }
        return CONNECTION_TEXTS[i].hint != NULL ? error_hint(err, "%s", CONNECTION_TEXTS[i].hint)
                                                : FAILED;
    }
    if (is_of_walsender(role, message, err)) {
        return FAILED;
    }
    return error_set(err, CODE_POSTGRES_UNREACHABLE, "%s",
                     *message != '\0' ? message : "cannot connect to PostgreSQL");
}

bool sqlstate_is_of_login(const Error *err)
{
    return (err->origin & ORIGIN_LOGIN) != 0;
}

Status sqlstate_connection_error(const PGconn *connection, Error *err)
{
    AUTO_TEXT message = pg_message(connection);
    const char *role = PQuser(connection);
    return sqlstate_connection_said(role != NULL ? role : "", message, err);
}
