/* outboxd config print | schema */
#include <stdio.h>
#include <unistd.h>

#include "app/commands.h"
#include "base/error.h"
#include "command/problems_print.h"
#include "command/screen.h"
#include "config/print.h"

typedef struct ConfigOptions {
    ConfigOverrides overrides;
} ConfigOptions;

/* A full disk must not look like success. */
static int config_write(const Text *text)
{
    return screen_write("outboxd config", text, EXIT_OK, NULL);
}

static int config_print_effective(const ConfigOverrides *overrides, Text *text)
{
    Problems problems = {0};
    Load load;
    Status status = load_run(&load, overrides, environ, &problems);
    problems_print(&problems, stderr);
    if (status == OK) {
        print_effective(text, &load);
    }
    config_free(&load.config);
    load_free(&load);
    problems_free(&problems);
    return status == OK ? EXIT_OK : EXIT_CONFIG;
}

enum { CONFIG_PRINT, CONFIG_SCHEMA, CONFIG_FORMS };
static const CommandForm FORMS[CONFIG_FORMS] = {
    [CONFIG_PRINT] = {.verb = "print",
                      .help = "the complete commented sample. With an option: the effective "
                              "values, each with its origin, and secrets masked"},
    [CONFIG_SCHEMA] = {.verb = "schema", .help = "every option as JSON"},
};

static int config_command(CommandLine *line)
{
    const ConfigOptions *options = line->options;
    AUTO_BUFFER text = TEXT_EMPTY;
    int code = EXIT_OK;
    if (line->form == &FORMS[CONFIG_SCHEMA]) {
        print_schema(&text);
    } else if (line->given != 0) {
        code = config_print_effective(&options->overrides, &text);
    } else {
        print_sample(&text);
    }
    return code == EXIT_OK ? config_write(&text) : code;
}

static const Flag FLAGS[] = {
    {FLAG_CONFIG(ConfigOptions, overrides), .forms = COMMAND_FORM(CONFIG_PRINT)},
    {FLAG_DSN(ConfigOptions, overrides), .forms = COMMAND_FORM(CONFIG_PRINT)},
    {FLAG_BROKERS(ConfigOptions, overrides), .forms = COMMAND_FORM(CONFIG_PRINT)},
    {0}};

const Command COMMAND_CONFIG = {
    .name = "config",
    .summary = "prints the commented sample, or the effective values",
    .about = "Prints all options, or the effective configuration.",
    .forms = FORMS,
    .form_count = CONFIG_FORMS,
    .flags = FLAGS,
    .options_size = sizeof(ConfigOptions),
    .run = config_command,
};
