/* The connection string and its password: read once, here. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "config/dsn.h"
#include "config/load.h"

static const char *database_place(const Load *load, const char *path)
{
    const char *place = load_origin(load, load->config, option_find(SCOPE_CONFIG, path));
    return place != NULL ? place : "configuration";
}

static void database_problem(Load *load, const char *path, const char *remedy, const char *message)
{
    problems_add(load->problems, false, database_place(load, path), remedy, "%s", message);
}

/* What the file holds, as the password. */
static Status database_read_password(Load *load, const char *path, Text *password)
{
    Interpolation how = load_interpolation(load);
    char *message = NULL;
    load->in_secret = true;
    Status status = interpolate_file(&how, path, password, &message);
    load->in_secret = false;
    if (status != OK) {
        database_problem(load, "database.password_file", NULL, message);
        free(message);
    } else if (password->length == 0) {
        database_problem(load, "database.password_file", "write the password into it",
                         "the file in database.password_file is empty");
        status = FAILED;
    }
    return status;
}

/* Into the connection string, which must have none then. */
static void database_add_password(Load *load, Dsn *dsn)
{
    const Config *config = load->config;
    bool given = *config->database.password != '\0';
    bool file = *config->database.password_file != '\0';
    bool command = *config->database.password_command != '\0';
    const char *path = command ? "database.password_command"
                       : file  ? "database.password_file"
                               : "database.password";
    if (given + file + command > 1) {
        AUTO_TEXT message = x_format("%s and %s are both given",
                                     given ? "database.password" : "database.password_file", path);
        database_problem(load, path, "leave one of them out", message);
    } else if ((given || file || command) && dsn_get(dsn, "password") != NULL) {
        AUTO_TEXT message = x_format("both %s and database.dsn give a password", path);
        database_problem(load, path, "leave one of them out", message);
    } else if (file) {
        AUTO_BUFFER password = TEXT_EMPTY;
        text_add(&password, "");
        if (database_read_password(load, config->database.password_file, &password) == OK) {
            dsn_set(dsn, "password", password.data);
        }
        explicit_bzero(password.data, password.length);
    } else if (given) {
        dsn_set(dsn, "password", config->database.password);
    }
}

void rules_check_database(Load *load)
{
    Config *config = load->config;
    const Option *option = option_find(SCOPE_CONFIG, "database.dsn");
    if (*config->database.dsn == '\0') {
        return; /* said already */
    }
    Dsn dsn = {0};
    DsnProblem problem = {0};
    Interpolation how = load_interpolation(load);
    load->in_secret = true;
    Status status = dsn_read(&how, config->database.dsn, &dsn, &problem);
    load->in_secret = false;
    if (status == OK) {
        status = dsn_check(&dsn, &problem);
    }
    config->database.dsn_shown = dsn_shown(config->database.dsn);
    if (status != OK) {
        AUTO_TEXT message = x_format(
            "%s%s", problem.reference ? "" : "database.dsn is malformed: ", problem.message);
        database_problem(load, "database.dsn", problem.remedy, message);
        dsn_problem_free(&problem);
        free(config->database.dsn);
        config->database.dsn = x_strdup(""); /* nobody is to be given it */
        dsn_free(&dsn);
        return;
    }
    rules_check_command(load, "database.password_command", config->database.password_command);
    const char *place = load_origin(load, config, option);
    bool literal = strstr(config->database.dsn, "${") == NULL;
    if (literal && dsn_get(&dsn, "password") != NULL && place != NULL) {
        load_note_secret(load, place);
    }
    if (literal && place != NULL && strcmp(place, "--dsn") == 0 &&
        dsn_get(&dsn, "password") != NULL) {
        problems_add(load->problems, true, place, DSN_ARGUMENT_REMEDY, "%s", DSN_ARGUMENT_WARNING);
    }
    database_add_password(load, &dsn);
    explicit_bzero(config->database.dsn, strlen(config->database.dsn));
    free(config->database.dsn);
    config->database.dsn = dsn_text(&dsn);
    dsn_free(&dsn);
}
