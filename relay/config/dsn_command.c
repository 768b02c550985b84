/* The connection string of commands that read no configuration. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "config/command_words.h"
#include "config/dsn.h"
#include "config/lists.h"

static const char PASSWORD_COMMAND[] = "OUTBOXD_DATABASE_PASSWORD_COMMAND";

static const char *command_variable(char *const *environment, const char *name)
{
    const char *value = environment_get(environment, name);
    return value != NULL && *value != '\0' ? value : NULL;
}

/* Takes the message. NOLINTNEXTLINE(readability-non-const-parameter) */
static Status command_fail(DsnProblem *problem, const char *remedy, char *message)
{
    *problem = (DsnProblem){.message = message, .remedy = x_strdup(remedy), .reference = true};
    return FAILED;
}

/* The password of the environment, into a connection string without one. */
static Status command_add_password(const Interpolation *how, Dsn *dsn, DsnProblem *ret_problem)
{
    const char *password = command_variable(how->environment, "OUTBOXD_DATABASE_PASSWORD");
    const char *file = command_variable(how->environment, "OUTBOXD_DATABASE_PASSWORD_FILE");
    bool printed = command_variable(how->environment, PASSWORD_COMMAND) != NULL;
    AUTO_BUFFER content = TEXT_EMPTY;
    if ((password != NULL) + (file != NULL) + printed > 1) {
        return command_fail(ret_problem, "unset all of them but one",
                            x_format("more than one variable gives the password:%s%s%s",
                                     password != NULL ? " OUTBOXD_DATABASE_PASSWORD" : "",
                                     file != NULL ? " OUTBOXD_DATABASE_PASSWORD_FILE" : "",
                                     printed ? " OUTBOXD_DATABASE_PASSWORD_COMMAND" : ""));
    }
    if (password == NULL && file == NULL) {
        return OK; /* or dsn_password_command() has it */
    }
    text_add(&content, "");
    char *message = NULL;
    AUTO_TEXT replaced = NULL;
    Status status = file != NULL ? interpolate_file(how, file, &content, &message)
                                 : interpolate(how, password, &replaced, &message);
    if (status != OK) {
        return command_fail(ret_problem,
                            file != NULL ? "correct OUTBOXD_DATABASE_PASSWORD_FILE"
                                         : "correct OUTBOXD_DATABASE_PASSWORD",
                            message);
    }
    dsn_set(dsn, "password", file != NULL ? content.data : replaced);
    return OK;
}

/* One that has its own password says all that there is to say. */
static bool command_has_password(const Interpolation *how, const char *text)
{
    Dsn dsn = {0};
    DsnProblem problem = {0};
    bool has = dsn_read(how, text, &dsn, &problem) == OK && dsn_get(&dsn, "password") != NULL;
    dsn_free(&dsn);
    dsn_problem_free(&problem);
    return has;
}

Status dsn_password_command(const char *given, char *const *environment, char **ret_command,
                            DsnProblem *ret_problem)
{
    const char *text = command_variable(environment, PASSWORD_COMMAND);
    Interpolation how = {.environment = environment, .directory = "."};
    char *message = NULL;
    const char *reason = NULL;
    StringList words = {0};
    *ret_command = NULL;
    if (text == NULL || (given != NULL && command_has_password(&how, given))) {
        return OK;
    }
    if (interpolate(&how, text, ret_command, &message) != OK) {
        return command_fail(ret_problem, "correct OUTBOXD_DATABASE_PASSWORD_COMMAND", message);
    }
    bool read = command_words_split(*ret_command, &words, &reason);
    string_list_free(&words);
    return read ? OK
                : command_fail(ret_problem,
                               "write the whole path of a program and its arguments into "
                               "OUTBOXD_DATABASE_PASSWORD_COMMAND; no shell reads it",
                               x_format("%s is not a command: %s", PASSWORD_COMMAND, reason));
}

bool dsn_pooler_of_command(char *const *environment)
{
    const char *pooler = command_variable(environment, "OUTBOXD_DATABASE_POOLER");
    return pooler != NULL && strcmp(pooler, "session") == 0;
}

bool dsn_holds_password(const char *text)
{
    Dsn dsn = {0};
    DsnProblem problem = {0};
    bool holds = strstr(text, "${") == NULL && dsn_read(NULL, text, &dsn, &problem) == OK &&
                 dsn_get(&dsn, "password") != NULL;
    dsn_free(&dsn);
    dsn_problem_free(&problem);
    return holds;
}

static bool command_gives_password(char *const *environment)
{
    return command_variable(environment, "OUTBOXD_DATABASE_PASSWORD") != NULL ||
           command_variable(environment, "OUTBOXD_DATABASE_PASSWORD_FILE") != NULL ||
           command_variable(environment, PASSWORD_COMMAND) != NULL;
}

Status dsn_of_command(const char *given, char *const *environment, char **ret_dsn,
                      DsnProblem *ret_problem)
{
    const char *text =
        given != NULL ? given : command_variable(environment, "OUTBOXD_DATABASE_DSN");
    Interpolation how = {.environment = environment, .directory = "."};
    Dsn dsn = {0};
    *ret_dsn = NULL;
    if (text == NULL) {
        return OK;
    }
    Status status = dsn_read(&how, text, &dsn, ret_problem);
    status = status == OK ? dsn_check(&dsn, ret_problem) : FAILED;
    bool own = dsn_get(&dsn, "password") != NULL;
    if (status == OK && own && given == NULL && command_gives_password(environment)) {
        status = command_fail(ret_problem, "leave one of them out",
                              x_strdup("OUTBOXD_DATABASE_DSN contains a password, and another "
                                       "variable, OUTBOXD_DATABASE_PASSWORD*, gives one, too"));
    } else if (status == OK && !own) {
        status = command_add_password(&how, &dsn, ret_problem);
    }
    *ret_dsn = status == OK ? dsn_text(&dsn) : NULL;
    dsn_free(&dsn);
    return status;
}
