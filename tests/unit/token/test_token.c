/* The cache: who gets which result, and when the program runs. It is a shell that counts its runs
 * in a file; lives and back-offs pass when the test says so (stub/clock.h), never under a run. */
#include <criterion/criterion.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/text.h"
#include "stub/clock.h"
#include "token/token.h"

enum { SECOND_US = 1000000, WAIT_US = 60 * SECOND_US };

typedef struct Answer {
    int count;
    unsigned number;
    char secret[64];
    ErrorCode code;
    char message[400];
    TokenWait *wait;
} Answer;

static struct event_base *base;
static char directory[64];

static void set_up(void)
{
    snprintf(directory, sizeof(directory), "/tmp/outboxd-unit-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
    base = event_base_new();
}

static void tear_down(void)
{
    token_close_all();
    event_base_free(base);
    AUTO_TEXT command = x_format("rm -r '%s'", directory);
    cr_assert_eq(system(command), 0);
}

static char *path_of(const char *name)
{
    return x_format("%s/%s", directory, name);
}

static void write_file(const char *name, const char *text)
{
    AUTO_TEXT path = path_of(name);
    AUTO_TEXT fresh = x_format("%s.new", path);
    FILE *file = fopen(fresh, "w");
    cr_assert_not_null(file);
    cr_assert_geq(fputs(text, file), 0);
    cr_assert_eq(fclose(file), 0);
    cr_assert_eq(rename(fresh, path), 0);
}

/* What the program does now, each time with a line in `runs`. */
static void set_script(const char *script)
{
    AUTO_TEXT text = x_format("echo run >> %s/runs\n%s\n", directory, script);
    write_file("script", text);
}

static int runs(void)
{
    AUTO_TEXT path = path_of("runs");
    FILE *file = fopen(path, "r");
    int lines = 0;
    for (int c; file != NULL && (c = fgetc(file)) != EOF;) {
        lines += c == '\n';
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return lines;
}

static void open_token(struct event_base *loop, int64_t timeout_ms)
{
    AUTO_TEXT script = path_of("script");
    AUTO_TEXT command = x_format("/bin/sh '%s'", script);
    token_open(TOKEN_DATABASE, &(TokenOptions){.option = "database.password_command",
                                               .command = command,
                                               .timeout_ms = timeout_ms,
                                               .lifetime_ms = 3600000,
                                               .exit_code = EXIT_POSTGRES,
                                               .accepter = "PostgreSQL"});
    if (loop != NULL) {
        token_attach_all(loop);
    }
}

static void on_answer(void *arg, const TokenValue *value, const Error *err)
{
    Answer *answer = arg;
    answer->wait = NULL;
    answer->count++;
    answer->number = value != NULL ? value->number : 0;
    answer->code = err != NULL ? err->code : CODE_NONE;
    snprintf(answer->secret, sizeof(answer->secret), "%s", value != NULL ? value->secret : "");
    snprintf(answer->message, sizeof(answer->message), "%s", err ? error_message(err) : "");
    if (err != NULL) {
        cr_assert_eq(err->class, ERROR_RETRY);
        cr_assert_eq(err->exit_code, EXIT_POSTGRES);
    }
}

static void ask(Answer *answer, bool fresh)
{
    answer->wait = token_ask(TOKEN_DATABASE, fresh, on_answer, answer);
}

/* Turns the loop until the condition holds. */
#define TURN_UNTIL(condition)                                                                      \
    do {                                                                                           \
        int64_t turn_until_us = clock_real_us() + WAIT_US;                                         \
        while (!(condition)) {                                                                     \
            event_base_loop(base, EVLOOP_NONBLOCK);                                                \
            cr_assert_lt(clock_real_us(), turn_until_us, "waited in vain for %s", #condition);     \
            (void)usleep(100);                                                                     \
        }                                                                                          \
    } while (0)

static void wait_for(Answer *answer)
{
    int before = answer->count;
    TURN_UNTIL(answer->count > before);
}

static void ask_and_wait(Answer *answer)
{
    ask(answer, false);
    wait_for(answer);
}

/* Until a run brings something, or, with failure, until what there is has ended: a back-off later
 * each time. */
static void ask_later_until(Answer *answer, bool failure)
{
    enum { TRIES = 20, BACK_OFF_SECONDS = 60 };
    for (int i = 0; (answer->code != CODE_NONE) != failure; i++) {
        cr_assert_lt(i, TRIES, "%s", answer->message);
        clock_skip_us(BACK_OFF_SECONDS * (int64_t)SECOND_US);
        ask_and_wait(answer);
    }
}

static bool file_is_there(const char *name)
{
    AUTO_TEXT path = path_of(name);
    return access(path, F_OK) == 0;
}

/* Of a script: it goes on when the test has written the file `go`. */
static char *waiting_script(const char *then)
{
    return x_format("touch %s/begun; while [ ! -e %s/go ]; do sleep 0.01; done; %s", directory,
                    directory, then);
}

/* A run that has begun takes so long. */
static void let_run_for(int seconds)
{
    TURN_UNTIL(file_is_there("begun"));
    clock_skip_us(seconds * (int64_t)SECOND_US);
    write_file("go", "");
}

TestSuite(token, .init = set_up, .fini = tear_down, .timeout = 120);

Test(token, without_a_command_there_is_none)
{
    token_open(TOKEN_DATABASE, &(TokenOptions){.command = ""});
    cr_assert_not(token_is_wanted(TOKEN_DATABASE));
}

Test(token, all_who_ask_share_one_run)
{
    Answer answers[20] = {0};
    set_script("echo s3");
    open_token(base, 60000);
    for (int i = 0; i < 20; i++) {
        ask(&answers[i], i % 2 == 0);
    }
    cr_assert_eq(answers[0].count, 0, "answered from inside");
    for (int i = 0; i < 20; i++) {
        if (answers[i].count == 0) {
            wait_for(&answers[i]);
        }
        cr_assert_eq(answers[i].count, 1);
        cr_assert_str_eq(answers[i].secret, "s3");
        cr_assert_eq(answers[i].number, 1);
    }
    Answer later = {0};
    ask_and_wait(&later);
    cr_assert_eq(later.number, 1);
    cr_assert_eq(runs(), 1);
}

Test(token, a_failure_is_given_to_all_until_its_back_off_is_over)
{
    Answer answer = {0};
    set_script("echo no luck >&2; exit 3");
    open_token(base, 60000);
    for (int i = 0; i < 50; i++) {
        ask_and_wait(&answer);
        cr_assert_eq(answer.code, CODE_TOKEN_COMMAND_FAILED);
        cr_assert_str_eq(answer.message, "database.password_command ended with exit code 3; it "
                                         "wrote: no luck");
    }
    cr_assert_leq(runs(), 2);
    set_script("echo s3");
    ask_later_until(&answer, false);
    cr_assert_str_eq(answer.secret, "s3");
}

Test(token, what_hangs_keeps_nobody_else_waiting_and_ends)
{
    Answer answer = {0};
    set_script("exec sleep 600");
    open_token(base, 300);
    ask(&answer, false);
    int turns = 0;
    TURN_UNTIL((turns++, answer.count > 0));
    cr_assert_gt(turns, 20, "the loop stood still");
    cr_assert_eq(answer.code, CODE_TOKEN_COMMAND_TIMEOUT);
}

Test(token, who_no_longer_waits_gets_no_answer)
{
    Answer gone = {0};
    Answer there = {0};
    set_script("echo s3");
    open_token(base, 60000);
    ask(&gone, false);
    ask(&there, false);
    token_forget(&gone.wait);
    cr_assert_null(gone.wait);
    token_forget(&gone.wait);
    wait_for(&there);
    cr_assert_eq(gone.count, 0);
}

Test(token, one_that_is_refused_is_fetched_anew_once_and_then_by_the_back_off)
{
    Answer answer = {0};
    set_script("echo old");
    open_token(base, 60000);
    ask_and_wait(&answer);
    token_accept(TOKEN_DATABASE, 1);
    clock_skip_us(SECOND_US); /* two runs are at least a second apart */
    set_script("echo new");
    for (int i = 0; i < 5; i++) { /* five connections say the same */
        AUTO_ERROR err = {0};
        error_set(&err, CODE_POSTGRES_AUTHENTICATION, "password authentication failed");
        token_refuse(TOKEN_DATABASE, 1, &err);
        cr_assert_eq(err.class, ERROR_RETRY);
        cr_assert_eq(err.code, CODE_TOKEN_REFUSED);
    }
    ask_and_wait(&answer);
    cr_assert_str_eq(answer.secret, "new");
    cr_assert_eq(answer.number, 2);
    cr_assert_eq(runs(), 2);
    AUTO_ERROR err = {0};
    error_set(&err, CODE_POSTGRES_AUTHENTICATION, "password authentication failed");
    token_refuse(TOKEN_DATABASE, 2, &err);
    for (int i = 0; i < 50; i++) {
        ask_and_wait(&answer);
        cr_assert_eq(answer.code, CODE_TOKEN_REFUSED);
        cr_assert_str_eq(answer.message, "PostgreSQL refuses what database.password_command "
                                         "printed: password authentication failed");
    }
    cr_assert_eq(runs(), 2);
}

Test(token, a_refusal_of_an_older_one_says_nothing_of_this)
{
    Answer answer = {0};
    set_script("echo s3");
    open_token(base, 60000);
    ask_and_wait(&answer);
    AUTO_ERROR err = {0};
    error_set(&err, CODE_POSTGRES_AUTHENTICATION, "x");
    token_refuse(TOKEN_DATABASE, 7, &err);
    ask_and_wait(&answer);
    cr_assert_eq(answer.number, 1);
    cr_assert_eq(runs(), 1);
}

Test(token, one_that_a_client_cannot_use_is_replaced_for_its_reason)
{
    Answer answer = {0};
    set_script("echo s3");
    open_token(base, 60000);
    ask_and_wait(&answer);
    AUTO_ERROR err = {0};
    error_set_as(&err, ERROR_RETRY, EXIT_POSTGRES, CODE_TOKEN_OUTPUT_INVALID, "no good");
    token_discard(TOKEN_DATABASE, 1, &err);
    ask_and_wait(&answer);
    cr_assert_eq(answer.code, CODE_TOKEN_OUTPUT_INVALID);
    cr_assert_str_eq(answer.message, "no good");
    ask_later_until(&answer, false);
    cr_assert_eq(answer.number, 2);
}

Test(token, one_that_ends_soon_is_replaced_and_used_to_its_end_when_that_fails)
{
    Answer answer = {0};
    Answer fresh = {0};
    set_script("echo '{\"token\": \"short\", \"expires_in\": 400}'");
    open_token(base, 60000);
    ask_and_wait(&answer);
    set_script("exit 1");
    clock_skip_us(310 * (int64_t)SECOND_US); /* three quarters are over */
    ask(&fresh, true);
    ask_and_wait(&answer);
    cr_assert_str_eq(answer.secret, "short", "%s", answer.message);
    wait_for(&fresh);
    cr_assert_str_eq(fresh.secret, "short", "%s", fresh.message);
    ask_later_until(&answer, true);
    cr_assert_eq(answer.code, CODE_TOKEN_COMMAND_FAILED);
    cr_assert_geq(runs(), 2);
}

Test(token, one_that_is_over_already_is_none)
{
    Answer answer = {0};
    set_script("echo '{\"token\": \"hush\", \"expires_at\": \"2001-01-01T00:00:00Z\"}'");
    open_token(base, 60000);
    ask_and_wait(&answer);
    cr_assert_eq(answer.code, CODE_TOKEN_OUTPUT_INVALID);
    cr_assert_not_null(strstr(answer.message, "ago by this machine's clock"), "%s", answer.message);
}

Test(token, the_shortest_life_that_the_options_allow_is_one)
{
    Answer answer = {0};
    set_script("echo '{\"token\": \"s3\", \"expires_in\": 1}'");
    open_token(base, 60000);
    ask_and_wait(&answer);
    cr_assert_str_eq(answer.secret, "s3", "%s", answer.message);
}

Test(token, a_run_that_takes_as_long_as_the_life_it_brings_is_a_failure_with_a_back_off)
{
    Answer answers[3] = {0};
    AUTO_TEXT script = waiting_script("echo '{\"token\": \"hush\", \"expires_in\": 2}'");
    set_script(script);
    open_token(base, 60000);
    for (int i = 0; i < 3; i++) {
        ask(&answers[i], i % 2 == 0);
    }
    let_run_for(2);
    for (int i = 0; i < 3; i++) {
        if (answers[i].count == 0) {
            wait_for(&answers[i]);
        }
        cr_assert_eq(answers[i].code, CODE_TOKEN_OUTPUT_INVALID);
        cr_assert_not_null(strstr(answers[i].message, "had expired, or was about to"), "%s",
                           answers[i].message);
    }
    ask_and_wait(&answers[0]);
    cr_assert_eq(answers[0].code, CODE_TOKEN_OUTPUT_INVALID);
    cr_assert_eq(runs(), 1);
}

Test(token, who_waits_for_a_run_is_given_what_it_brought_though_it_is_no_longer_fresh)
{
    Answer fresh = {0};
    AUTO_TEXT script = waiting_script("echo '{\"token\": \"short\", \"expires_in\": 12}'");
    set_script(script);
    open_token(base, 60000);
    ask(&fresh, true);
    let_run_for(9);
    wait_for(&fresh);
    cr_assert_str_eq(fresh.secret, "short", "%s", fresh.message);
    cr_assert_eq(runs(), 1);
}

Test(token, what_it_wrote_is_shown_without_its_secret)
{
    Answer answer = {0};
    set_script("echo hush-hush; echo token hush-hush >&2; exit 1");
    open_token(base, 60000);
    ask_and_wait(&answer);
    cr_assert_str_eq(answer.message, "database.password_command ended with exit code 1; it wrote: "
                                     "token ***");
}

/* 0: there is none yet. */
static long number_in(const char *path)
{
    FILE *file = fopen(path, "r");
    char line[32] = "";
    if (file == NULL) {
        return 0;
    }
    const char *got = fgets(line, sizeof(line), file);
    (void)fclose(file);
    return got != NULL ? strtol(line, NULL, 10) : 0;
}

Test(token, closing_kills_what_runs)
{
    Answer answer = {0};
    AUTO_TEXT script = x_format("echo $$ > %s/pid; exec sleep 600", directory);
    set_script(script);
    open_token(base, 600000);
    ask(&answer, false);
    AUTO_TEXT path = path_of("pid");
    long pid = 0;
    TURN_UNTIL((pid = number_in(path)) != 0);
    token_close_all();
    cr_assert_neq(kill((pid_t)pid, 0), 0, "process %ld is still there", pid);
    cr_assert_eq(answer.count, 0);
}

Test(token, a_command_waits_for_it)
{
    TokenValue value = {0};
    AUTO_ERROR err = {0};
    set_script("echo s3");
    open_token(NULL, 60000);
    cr_assert_eq(token_get(TOKEN_DATABASE, &value, &err), OK, "%s", error_message(&err));
    cr_assert_str_eq(value.secret, "s3");
    cr_assert_eq(token_get(TOKEN_DATABASE, &value, &err), OK);
    cr_assert_eq(runs(), 1);
}

Test(token, a_command_is_told_of_a_failure_and_runs_nothing_in_a_hurry)
{
    TokenValue value = {0};
    set_script("exit 1");
    open_token(NULL, 60000);
    for (int i = 0; i < 10; i++) {
        AUTO_ERROR err = {0};
        cr_assert_eq(token_get(TOKEN_DATABASE, &value, &err), FAILED);
        cr_assert_eq(err.code, CODE_TOKEN_COMMAND_FAILED);
    }
    cr_assert_leq(runs(), 2);
}

Test(token, a_command_is_told_why_a_secret_that_ended_meanwhile_is_none)
{
    TokenValue value = {0};
    AUTO_ERROR err = {0};
    set_script("sleep 2; echo '{\"token\": \"hush\", \"expires_in\": 1}'");
    open_token(NULL, 60000);
    cr_assert_eq(token_get(TOKEN_DATABASE, &value, &err), FAILED);
    cr_assert_eq(err.class, ERROR_RETRY);
    cr_assert_eq(err.exit_code, EXIT_POSTGRES);
    cr_assert_eq(err.code, CODE_TOKEN_OUTPUT_INVALID);
    cr_assert_neq(error_message(&err)[0], '\0');
}
