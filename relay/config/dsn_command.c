/* The connection string of commands that read no configuration. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "config/dsn.h"

static const char *command_variable(char *const *environment, const char *name)
{
    const char *value = environment_get(environment, name);
    return value != NULL && *value != '\0' ? value : NULL;
}

/* Takes the message. NOLINTNEXTLINE(readability-non-const-parameter) */
static Status command_fail(DsnProblem *problem, char *message)
{
    *problem = (DsnProblem){.message = message, .reference = true};
    return FAILED;
}

/* The password of the environment, into a connection string of the environment. */
static Status command_add_password(const Interpolation *how, Dsn *dsn, DsnProblem *ret_problem)
{
    const char *password = command_variable(how->environment, "OUTBOXD_DATABASE_PASSWORD");
    const char *file = command_variable(how->environment, "OUTBOXD_DATABASE_PASSWORD_FILE");
    AUTO_BUFFER content = TEXT_EMPTY;
    if (password == NULL && file == NULL) {
        return OK;
    }
    if ((password != NULL && file != NULL) || dsn_get(dsn, "password") != NULL) {
        return command_fail(ret_problem,
                            x_strdup("OUTBOXD_DATABASE_DSN, OUTBOXD_DATABASE_PASSWORD and "
                                     "OUTBOXD_DATABASE_PASSWORD_FILE give the password twice"));
    }
    text_add(&content, "");
    char *message = NULL;
    AUTO_TEXT replaced = NULL;
    Status status = file != NULL ? interpolate_file(how, file, &content, &message)
                                 : interpolate(how, password, &replaced, &message);
    if (status != OK) {
        return command_fail(ret_problem, message);
    }
    dsn_set(dsn, "password", file != NULL ? content.data : replaced);
    return OK;
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
    if (status == OK && given == NULL) {
        status = command_add_password(&how, &dsn, ret_problem);
    }
    *ret_dsn = status == OK ? dsn_text(&dsn) : NULL;
    dsn_free(&dsn);
    return status;
}
