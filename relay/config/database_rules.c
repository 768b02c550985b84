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

/* A connection string of the configuration. */
typedef struct DatabaseDsn {
    const char *path; /* of its option */
    char **text;
    char **shown;
} DatabaseDsn;

/* Into the connection string, which must have none then. */
static void database_add_password(Load *load, const DatabaseDsn *which, Dsn *dsn)
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
        AUTO_TEXT message = x_format("both %s and %s give a password", path, which->path);
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

/* A password in it must not be open to others. */
static void database_note_secret(Load *load, const DatabaseDsn *which, const Dsn *dsn)
{
    const char *place = load_origin(load, load->config, option_find(SCOPE_CONFIG, which->path));
    if (strstr(*which->text, "${") != NULL || dsn_get(dsn, "password") == NULL || place == NULL) {
        return;
    }
    load_note_secret(load, place);
    if (strcmp(place, "--dsn") == 0) {
        problems_add(load->problems, true, place, DSN_ARGUMENT_REMEDY, "%s", DSN_ARGUMENT_WARNING);
    }
}

/* Reads it: from here on it is what libpq is given, or "" when it is malformed. */
static void database_read(Load *load, const DatabaseDsn *which)
{
    Dsn dsn = {0};
    DsnProblem problem = {0};
    Interpolation how = load_interpolation(load);
    load->in_secret = true;
    Status status = dsn_read(&how, *which->text, &dsn, &problem);
    load->in_secret = false;
    if (status == OK) {
        status = dsn_check(&dsn, &problem);
    }
    *which->shown = dsn_shown(*which->text);
    if (status == OK) {
        database_note_secret(load, which, &dsn);
        database_add_password(load, which, &dsn);
    } else {
        AUTO_TEXT message = x_format("%s%s%s", problem.reference ? "" : which->path,
                                     problem.reference ? "" : " is malformed: ", problem.message);
        database_problem(load, which->path, problem.remedy, message);
        dsn_problem_free(&problem);
    }
    explicit_bzero(*which->text, strlen(*which->text));
    free(*which->text);
    *which->text = status == OK ? dsn_text(&dsn) : x_strdup(""); /* nobody is to be given that */
    dsn_free(&dsn);
}

void rules_check_database(Load *load)
{
    DatabaseConfig *database = &load->config->database;
    const DatabaseDsn all[] = {
        {"database.dsn", &database->dsn, &database->dsn_shown},
        {"database.replication_dsn", &database->replication_dsn, &database->replication_dsn_shown},
    };
    if (*database->dsn == '\0') {
        return; /* said already */
    }
    rules_check_command(load, "database.password_command", database->password_command);
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (**all[i].text != '\0') {
            database_read(load, &all[i]);
        }
    }
}
