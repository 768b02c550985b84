/* token: passwords and tokens that a program of the user's prints (database.password_command,
 * kafka.oauth_command): run when one is needed, and its result kept for all who need it.
 *
 * There is at most one of each kind in a process, as there is one configuration. All functions are
 * for one thread: that of the loop, or the only one of a command. The program itself runs on a
 * thread of this room's, so a loop never waits for it. Rules:
 *
 * - At most one run at a time. After a failure the next one begins no sooner than a back-off of 1 s
 *   to 60 s; who asks before that is given the failure at once.
 * - A result is used until three quarters of its life are over, and then replaced when somebody
 * asks the next time. Should that fail, it is used until its end.
 * - One that a server refuses is not given out again. The next one is fetched at once, and those
 *   after it, should they be refused, too, by the back-off. */
#pragma once

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "config/config.h"

typedef enum TokenKind { TOKEN_DATABASE, TOKEN_KAFKA, TOKEN_KINDS } TokenKind;

typedef struct TokenOptions {
    const char *option;  /* its name: "database.password_command"; static */
    const char *command; /* "": there is none of this kind */
    int64_t timeout_ms;
    int64_t lifetime_ms;  /* of a result that does not say */
    ExitCode exit_code;   /* of what fails for want of it */
    const char *accepter; /* who refuses it: "PostgreSQL"; static */
} TokenOptions;

/* What a run brought. Borrowed, until control goes back to the loop. */
typedef struct TokenValue {
    unsigned number; /* which result it is, for token_refuse; never 0 */
    const char *secret;
    const char *principal; /* "": not known */
    const StringList *extensions;
    int64_t expires_ms; /* wall clock */
} TokenValue;

typedef struct TokenWait TokenWait;

/** Makes the token of that kind, once, before it is asked for. A command that cannot be read
 * (command_words.h) is the configuration's mistake, and counts as none. */
void token_open(TokenKind kind, const TokenOptions *options);

/** The same for what a configuration says of both. */
void token_open_all(const Config *config);

/** From here on a loop asks, with token_ask. */
void token_attach_all(struct event_base *base);

/** Kills what runs. Those who still wait are never answered. */
void token_close_all(void);

/** Kills what runs, just before _exit. */
void token_abandon_all(void);

/** Whether there is a command of this kind. */
bool token_is_wanted(TokenKind kind);

/** answer() follows on the loop, never from inside: with a value, or with an error (RETRY). fresh:
 * not one whose life is nearly over, unless there is no other. The caller keeps the result until
 * then, or calls token_forget; answer() ends it. */
TokenWait *token_ask(TokenKind kind, bool fresh,
                     void (*answer)(void *arg, const TokenValue *value, const Error *err),
                     void *arg);

/** No answer follows. NULL is allowed. */
void token_forget(TokenWait **wait);

/** The same at once, for commands, which may wait. */
Status token_get(TokenKind kind, TokenValue *ret_value, Error *err);

/** A server refuses that result, as *err says; *err becomes RETRY / TOKEN_REFUSED. */
void token_refuse(TokenKind kind, unsigned number, Error *err);

/** A client of ours cannot use that result: as if refused, for the reason of *err. */
void token_discard(TokenKind kind, unsigned number, const Error *err);

/** A server has taken that result. */
void token_accept(TokenKind kind, unsigned number);
