#include "token/token.h"

#include <assert.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/worker.h"
#include "config/command_words.h"
#include "config/lists.h"
#include "token/token_interrupt.h"
#include "token/token_mask.h"
#include "token/token_pause.h"
#include "token/token_process.h"
#include "token/token_result.h"

enum {
    LIFE_MIN_MS = 1000,
    LEFT_MIN_MS = 100, /* of it, when the program ends: for a log-in */
};

struct TokenWait {
    LIST_ENTRY(TokenWait) link;
    bool fresh;
    unsigned turn; /* in which it was asked for */
    void (*answer)(void *arg, const TokenValue *value, const Error *err);
    void *arg;
};

/* One run, on the token's thread; what it reads does not change meanwhile. */
typedef struct TokenJob {
    const TokenRun *run;
    Moment begun;
    TokenContent content;
    char *said; /* masked */
    Error error;
} TokenJob;

/* How a loop uses it; all NULL in a command. */
typedef struct TokenLoop {
    Worker *worker;
    struct event *io;
    struct event *later;
} TokenLoop;

typedef struct Token {
    TokenOptions *options;
    StringList words;
    TokenRun *run;
    TokenLoop loop;
    TokenJob *job; /* NULL: none is under way */
    TokenResult *result;
    TokenPause *pause;
    LIST_HEAD(, TokenWait) waits;
    unsigned turn;
} Token;

static Token *tokens[TOKEN_KINDS];

/* One run. */

static void job_free(TokenJob *job)
{
    token_content_free(&job->content);
    free(job->said);
    error_clear(&job->error);
    free(job);
}

/* On the token's thread, or in a command. */
static void job_run(void *arg)
{
    TokenJob *job = arg;
    Text out = TEXT_EMPTY;
    AUTO_BUFFER said = TEXT_EMPTY;
    text_add(&out, "");
    text_add(&said, "");
    job->begun = clock_moment();
    if (token_process_run(job->run, &out, &said, &job->error) == OK) {
        (void)token_output_read(out.data, out.length, job->begun.wall_us, &job->content,
                                &job->error);
    }
    AUTO_BUFFER shown = TEXT_EMPTY;
    token_mask_said((Slice){.data = said.data, .length = said.length},
                    slice_of(job->content.secret), (Slice){.data = out.data, .length = out.length},
                    &shown);
    job->said = x_strdup(text_string(&shown));
    explicit_bzero(out.data, out.length);
    text_free(&out);
}

static void token_note_failure(Token *token, const TokenJob *job)
{
    AUTO_ERROR err = {0};
    error_set_as(&err, ERROR_RETRY, token->options->exit_code, job->error.code, "%s %s%s%s",
                 token->options->option, error_message(&job->error),
                 *job->said != '\0' ? "; it wrote: " : "", job->said);
    int64_t now_us = clock_monotonic_us();
    int64_t wait_ms = token_pause_failed(token->pause, &err, now_us);
    if (token_result_is_valid(token->result, now_us)) {
        AUTO_TEXT what = x_format(
            "the secret in use is valid for %lld s; running the command again in %lld ms",
            (long long)token_result_left_us(token->result, now_us) / 1000000, (long long)wait_ms);
        log_error(LOG_WARN, NULL, &err, what);
    }
}

static int64_t job_life_us(const Token *token, const TokenJob *job)
{
    return job->content.expires_us != 0 ? job->content.expires_us - job->begun.wall_us
                                        : token->options->lifetime_ms * 1000;
}

static void token_note_success(Token *token, TokenJob *job)
{
    int64_t life_us = job_life_us(token, job);
    token_result_set(token->result, &job->content, &job->begun, life_us);
    token_pause_brought(token->pause, job->begun.monotonic_us);
    log_write(LOG_DEBUG, NULL, CODE_TOKEN_FETCHED,
              LOG_FIELDS(log_text("option", token->options->option),
                         log_number("lifetime_seconds", (long long)(life_us / 1000000)),
                         log_text("stderr", job->said)),
              "the command printed a new secret");
}

/* Of its life the run itself has used a part. */
static void token_judge_life(const Token *token, TokenJob *job)
{
    const int64_t least_us = (int64_t)LIFE_MIN_MS * 1000;
    int64_t life_us = job_life_us(token, job);
    int64_t took_us = clock_since_us(&job->begun);
    if (job->error.class != ERROR_NONE) {
        return;
    }
    if (life_us < least_us) {
        error_set(&job->error, CODE_TOKEN_OUTPUT_INVALID,
                  life_us < 0 ? "printed a secret that expired %lld s ago by this machine's clock"
                              : "printed a secret that expires at once (in %lld s)",
                  (long long)(life_us < 0 ? -life_us : life_us) / 1000000);
    } else if (life_us - took_us < (int64_t)LEFT_MIN_MS * 1000) {
        error_set(&job->error, CODE_TOKEN_OUTPUT_INVALID,
                  "printed a secret that had expired, or was about to, when the program ended: its "
                  "lifetime is %lld ms, and the program took %lld ms",
                  (long long)life_us / 1000, (long long)took_us / 1000);
    }
}

static void token_apply(Token *token, TokenJob *job)
{
    token_judge_life(token, job);
    if (job->error.class == ERROR_NONE) {
        token_note_success(token, job);
    } else {
        token_note_failure(token, job);
    }
}

/* Why there is none now; never the empty error. */
static void token_explain(const Token *token, Error *err)
{
    error_copy(err, token_pause_error(token->pause));
    if (err->class == ERROR_NONE) { /* we slept: it was good when it came */
        error_set_as(err, ERROR_RETRY, token->options->exit_code, CODE_TOKEN_OUTPUT_INVALID,
                     "%s printed a secret that has expired since", token->options->option);
    }
}

/* Asking. */

static TokenJob *token_job(const Token *token)
{
    TokenJob *job = x_calloc(1, sizeof(*job));
    job->run = token->run;
    return job;
}

static void job_done(void *arg);

/* Whom nothing keeps waiting: an answer may ask again, which is for the next turn. */
static TokenWait *token_next_wait(Token *token, int64_t now_us)
{
    TokenWait *wait = NULL;
    LIST_FOREACH(wait, &token->waits, link)
    {
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): what is freed was taken out of the list
        bool satisfied = wait->fresh ? token_result_is_fresh(token->result, now_us)
                                     : token_result_is_valid(token->result, now_us);
        if (wait->turn != token->turn && (satisfied || token->job == NULL)) {
            return wait;
        }
    }
    return NULL;
}

static void token_answer(Token *token, int64_t now_us)
{
    for (TokenWait *wait; (wait = token_next_wait(token, now_us)) != NULL;) {
        void (*answer)(void *arg, const TokenValue *value, const Error *err) = wait->answer;
        void *arg = wait->arg;
        LIST_REMOVE(wait, link);
        free(wait);
        if (token_result_is_valid(token->result, now_us)) {
            TokenValue value = token_result_value(token->result);
            answer(arg, &value, NULL);
        } else {
            AUTO_ERROR err = {0};
            token_explain(token, &err);
            answer(arg, NULL, &err);
        }
    }
}

/* A run that is due for somebody begins; whoever can be answered is. */
static void token_serve(Token *token)
{
    int64_t now_us = clock_monotonic_us();
    token->turn++;
    if (!LIST_EMPTY(&token->waits) && token->job == NULL &&
        !token_result_is_fresh(token->result, now_us) &&
        token_pause_is_over(token->pause, now_us)) {
        token->job = token_job(token);
        worker_submit(token->loop.worker, job_run, job_done, token->job);
    }
    token_answer(token, now_us);
}

/* All who have waited for it are given what it brought, whatever that is, before another begins:
 * else a run that takes as long as the life it brings would keep them for ever. */
static void token_end_run(Token *token, TokenJob *job)
{
    token->job = NULL;
    token_apply(token, job);
    token->turn++;
    token_answer(token, clock_monotonic_us());
    if (!LIST_EMPTY(&token->waits)) {
        event_active(token->loop.later, 0, 0);
    }
}

static void job_done(void *arg)
{
    TokenJob *job = arg;
    for (int kind = 0; kind < TOKEN_KINDS; kind++) {
        Token *token = tokens[kind];
        if (token != NULL && token->job == job) {
            token_end_run(token, job);
        }
    }
    job_free(job);
}

static void token_on_later(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    token_serve(arg);
}

static void token_on_worker(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    worker_dispatch(((Token *)arg)->loop.worker);
}

TokenWait *token_ask(TokenKind kind, bool fresh,
                     void (*answer)(void *arg, const TokenValue *value, const Error *err),
                     void *arg)
{
    Token *token = tokens[kind];
    assert(token != NULL && token->loop.worker != NULL);
    TokenWait *wait = x_calloc(1, sizeof(*wait));
    *wait = (TokenWait){.fresh = fresh, .turn = token->turn, .answer = answer, .arg = arg};
    LIST_INSERT_HEAD(&token->waits, wait, link);
    event_active(token->loop.later, 0, 0);
    return wait;
}

void token_forget(TokenWait **wait)
{
    if (*wait != NULL) {
        LIST_REMOVE(*wait, link);
        free(*wait);
        *wait = NULL;
    }
}

Status token_get(TokenKind kind, TokenValue *ret_value, Error *err)
{
    Token *token = tokens[kind];
    assert(token != NULL && token->loop.worker == NULL);
    int64_t now_us = clock_monotonic_us();
    if (!token_result_is_fresh(token->result, now_us) &&
        token_pause_is_over(token->pause, now_us)) {
        TokenJob *job = token_job(token);
        token_interrupt_begin(token->run->cancel_fd);
        job_run(job);
        token_interrupt_end();
        token_apply(token, job);
        job_free(job);
        now_us = clock_monotonic_us();
    }
    if (!token_result_is_valid(token->result, now_us)) {
        token_explain(token, err);
        return FAILED;
    }
    *ret_value = token_result_value(token->result);
    return OK;
}

/* What servers say of it. */

void token_refuse(TokenKind kind, unsigned number, Error *err)
{
    const Token *token = tokens[kind];
    if (token == NULL) {
        return;
    }
    error_set_as(err, ERROR_RETRY, token->options->exit_code, CODE_TOKEN_REFUSED,
                 "%s refuses what %s printed: %s", token->options->accepter, token->options->option,
                 error_message(err));
    error_advise(err);
    token_discard(kind, number, err);
}

void token_discard(TokenKind kind, unsigned number, const Error *err)
{
    const Token *token = tokens[kind];
    if (token != NULL && token_result_refuse(token->result, number)) { /* else it was said */
        token_pause_refused(token->pause, err, clock_monotonic_us());
    }
}

void token_accept(TokenKind kind, unsigned number)
{
    const Token *token = tokens[kind];
    if (token != NULL && token_result_is(token->result, number)) {
        token_pause_accepted(token->pause);
    }
}

/* Life. */

bool token_is_wanted(TokenKind kind)
{
    return tokens[kind] != NULL;
}

void token_open(TokenKind kind, const TokenOptions *options)
{
    StringList words = {0};
    const char *reason = NULL;
    if (*options->command == '\0' || !command_words_split(options->command, &words, &reason)) {
        string_list_free(&words);
        return;
    }
    assert(tokens[kind] == NULL);
    Token *token = x_calloc(1, sizeof(*token));
    token->options = x_malloc(sizeof(*token->options));
    *token->options = *options;
    token->options->command = NULL; /* the caller's */
    token->words = words;
    token->run = x_malloc(sizeof(*token->run));
    *token->run = (TokenRun){.words = &token->words,
                             .timeout_ms = options->timeout_ms,
                             .cancel_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    token->result = token_result_new();
    token->pause = token_pause_new();
    LIST_INIT(&token->waits);
    (void)signal(SIGCHLD, SIG_DFL); /* who started us may have it ignored: then nothing is reaped */
    tokens[kind] = token;
}

void token_attach_all(struct event_base *base)
{
    for (int kind = 0; kind < TOKEN_KINDS; kind++) {
        Token *token = tokens[kind];
        if (token != NULL) {
            TokenLoop *loop = &token->loop;
            loop->worker = worker_new();
            loop->io = event_new(base, worker_fd(loop->worker), EV_READ | EV_PERSIST,
                                 token_on_worker, token);
            loop->later = event_new(base, -1, 0, token_on_later, token);
            event_add(loop->io, NULL);
        }
    }
}

void token_open_all(const Config *config)
{
    token_open(TOKEN_DATABASE, &(TokenOptions){.option = "database.password_command",
                                               .command = config->database.password_command,
                                               .timeout_ms = config->database.password_timeout_ms,
                                               .lifetime_ms = config->database.password_lifetime_ms,
                                               .exit_code = EXIT_POSTGRES,
                                               .accepter = "PostgreSQL"});
    token_open(TOKEN_KAFKA, &(TokenOptions){.option = "kafka.oauth_command",
                                            .command = config->kafka.oauth_command,
                                            .timeout_ms = config->kafka.oauth_timeout_ms,
                                            .lifetime_ms = config->kafka.oauth_lifetime_ms,
                                            .exit_code = EXIT_KAFKA,
                                            .accepter = "Kafka"});
}

static void token_free(Token *token)
{
    uint64_t one = 1;
    (void)!write(token->run->cancel_fd, &one, sizeof(one));
    worker_free(&token->loop.worker); /* waits for the run, which ends at once */
    if (token->job != NULL) {
        job_free(token->job);
    }
    if (token->loop.io != NULL) {
        event_free(token->loop.io);
        event_free(token->loop.later);
    }
    for (TokenWait *wait; (wait = LIST_FIRST(&token->waits)) != NULL;) {
        LIST_REMOVE(wait, link);
        free(wait);
    }
    close(token->run->cancel_fd);
    token_result_free(&token->result);
    token_pause_free(&token->pause);
    string_list_free(&token->words);
    free(token->run);
    free(token->options);
    free(token);
}

void token_close_all(void)
{
    for (int kind = 0; kind < TOKEN_KINDS; kind++) {
        if (tokens[kind] != NULL) {
            token_free(tokens[kind]);
            tokens[kind] = NULL;
        }
    }
}

void token_abandon_all(void)
{
    token_process_kill();
}
