#include "pg/login.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "pg/open.h"
#include "pg/sqlstate.h"
#include "token/token.h"

/* Shared with the worker thread while that dials; outlives its owner's interest then. */
struct PgLogin {
    PgLoginEvents events;
    Worker *worker;
    TokenWait *wait; /* NULL: no password is waited for */
    unsigned token;  /* which one it is; 0: it is none of a program's */
    char *password;  /* NULL: that of the DSN, if any */
    char *dsn;
    char *application_name;
    char tcp_user_timeout[24];
    char connect_timeout[24];
    bool replication;
    bool dialing;
    bool dropped;
    PGconn *pg;
};

static void login_forget_password(PgLogin *login)
{
    if (login->password != NULL) {
        explicit_bzero(login->password, strlen(login->password));
        free(login->password);
        login->password = NULL;
    }
}

static void login_free(PgLogin *login)
{
    login_forget_password(login);
    free(login->dsn);
    free(login->application_name);
    free(login);
}

/* Helper thread. */
static void login_run(void *arg)
{
    PgLogin *login = arg;
    /* What stands before dbname is a default that the DSN may override. */
    const char *const pairs[][2] = {{"fallback_application_name", login->application_name},
                                    {"keepalives", "1"},
                                    {"keepalives_idle", "5"},
                                    {"keepalives_interval", "2"},
                                    {"keepalives_count", "3"},
                                    {"tcp_user_timeout", login->tcp_user_timeout},
                                    {"connect_timeout", login->connect_timeout},
                                    {"dbname", login->dsn},
                                    {"client_encoding", "UTF8"},
                                    {"replication", login->replication ? "database" : NULL},
                                    {"password", login->password}};
    enum { PAIRS = sizeof(pairs) / sizeof(pairs[0]) };
    const char *keywords[PAIRS + 1] = {NULL};
    const char *values[PAIRS + 1] = {NULL};
    for (size_t i = 0, count = 0; i < PAIRS; i++) {
        if (pairs[i][1] != NULL) {
            keywords[count] = pairs[i][0];
            values[count++] = pairs[i][1];
        }
    }
    login->pg = PQconnectStartParams(keywords, values, 1);
    PQsetNoticeProcessor(login->pg, pg_ignore_notice, NULL);
}

static void login_done(void *arg)
{
    PgLogin *login = arg;
    PGconn *pg = login->pg;
    login->pg = NULL;
    login->dialing = false;
    login_forget_password(login);
    if (login->dropped) {
        PQfinish(pg);
        login_free(login);
    } else {
        login->events.dialed(login->events.arg, pg);
    }
}

static void login_dial(PgLogin *login)
{
    login->dialing = true;
    login->events.dialing(login->events.arg);
    worker_submit(login->worker, login_run, login_done, login);
}

static void login_on_token(void *arg, const TokenValue *value, const Error *err)
{
    PgLogin *login = arg;
    login->wait = NULL;
    if (err != NULL) {
        login->events.failed(login->events.arg, err);
        return;
    }
    login->token = value->number;
    login->password = x_strdup(value->secret);
    login_dial(login);
}

PgLogin *pg_login_begin(const PgConnOptions *options, const PgLoginEvents *events)
{
    PgLogin *login = x_calloc(1, sizeof(*login));
    login->events = *events;
    login->worker = options->worker;
    login->replication = options->replication;
    login->dsn = x_strdup(*options->dsn);
    login->application_name = x_strdup(options->application_name);
    snprintf(login->tcp_user_timeout, sizeof(login->tcp_user_timeout), "%lld",
             (long long)options->tcp_user_timeout_ms);
    snprintf(login->connect_timeout, sizeof(login->connect_timeout), "%lld",
             (long long)(options->connect_timeout_ms + 999) / 1000);
    if (token_is_wanted(TOKEN_DATABASE)) {
        login->wait = token_ask(TOKEN_DATABASE, false, login_on_token, login);
    } else {
        login_dial(login);
    }
    return login;
}

void pg_login_drop(PgLogin **login)
{
    PgLogin *old = *login;
    *login = NULL;
    if (old == NULL) {
        return;
    }
    token_forget(&old->wait);
    if (old->dialing) {
        old->dropped = true; /* login_done() frees it */
    } else {
        login_free(old);
    }
}

void pg_login_accepted(const PgLogin *login)
{
    if (login->token != 0) {
        token_accept(TOKEN_DATABASE, login->token);
    }
}

void pg_login_refused(const PgLogin *login, Error *err)
{
    if (login->token != 0 && sqlstate_is_of_login(err)) {
        token_refuse(TOKEN_DATABASE, login->token, err);
    }
}
