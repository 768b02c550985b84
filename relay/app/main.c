/* main: finds the sub-command and runs it. */
#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "app/arguments.h"
#include "app/commands.h"
#include "base/error.h"
#include "base/failpoint.h"
#include "base/log_output.h"
#include "base/text.h"
#include "command/command_help.h"
#include "command/command_pages.h"
#include "command/command_parse.h"
#include "command/screen.h"
#include "config/nearest.h"
#include "groups/groups_helper.h"
#include "pg/result.h"

#define COMMAND_LISTED(name) &COMMAND_##name,
static const Command COMMAND_HELP;
static const Command *const LIST[] = {COMMANDS(COMMAND_LISTED) & COMMAND_HELP};
enum { COMMAND_COUNT = COMMAND_COUNT_OF(LIST) };

/* Names that are taken; refused as such. */
static const char *const NOT_BUILT[] = {"adopt",    "route",  "tail", "switch",
                                        "snapshot", "verify", NULL};

/* A record is some twenty small allocations of librdkafka, made and freed in bursts. glibc's
 * fastbins are merged each time a freed piece borders on a large free one, which is always: without
 * them the loop thread takes a third less CPU at full speed (tests/bench/poll). */
static void main_tune_malloc(void)
{
    // NOLINTBEGIN(concurrency-mt-unsafe): before any thread
    mallopt(M_MXFAST, 0);
    mallopt(M_TRIM_THRESHOLD, 4 * 1024 * 1024);
    mallopt(M_TOP_PAD, 256 * 1024);
    mallopt(M_ARENA_MAX, 4);
    // NOLINTEND(concurrency-mt-unsafe)
}

static const Command *main_find(const char *name)
{
    for (int i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(name, LIST[i]->name) == 0) {
            return LIST[i];
        }
    }
    return NULL;
}

/* Says why there is no such command. */
static int main_unknown(const char *name)
{
    for (int i = 0; NOT_BUILT[i] != NULL; i++) {
        if (strcmp(name, NOT_BUILT[i]) == 0) {
            fprintf(stderr, "outboxd %s: not built yet in version %s\n", name, OUTBOXD_VERSION);
            return EXIT_CONFIG;
        }
    }
    Nearest nearest = nearest_begin(name);
    const char *meant = NULL;
    for (int i = 0; i < COMMAND_COUNT; i++) {
        if (nearest_offer(&nearest, LIST[i]->name)) {
            meant = LIST[i]->name;
        }
    }
    AUTO_BUFFER text = TEXT_EMPTY;
    text_add(&text, "outboxd: no sub-command '");
    text_add_shown(&text, name, false);
    text_add(&text, "'");
    if (meant != NULL) {
        text_printf(&text, "; did you mean '%s'?", meant);
    }
    fprintf(stderr, "%s%s See outboxd --help\n", text_string(&text), meant != NULL ? "" : ".");
    return EXIT_CONFIG;
}

/* outboxd help */

typedef struct HelpOptions {
    bool markdown;
    const char *man;
    const char *completion;
} HelpOptions;

static int main_help_refuse(const char *flag, const char *what, const char *given)
{
    AUTO_BUFFER shown = TEXT_EMPTY;
    text_add_shown(&shown, given, false);
    return command_refuse(&COMMAND_HELP, "--%s takes %s, not '%s'", flag, what,
                          text_string(&shown));
}

static int main_help(CommandLine *line)
{
    static const CommandSet SET = {.commands = LIST, .count = COMMAND_COUNT};
    const HelpOptions *options = line->options;
    AUTO_BUFFER text = TEXT_EMPTY;
    if (options->markdown) {
        command_markdown_add(&text, LIST, COMMAND_COUNT);
    } else if (options->man != NULL) {
        if (!command_man_add(&text, &SET, options->man)) {
            return main_help_refuse("man", "outboxd, outboxd.conf or outboxd-COMMAND",
                                    options->man);
        }
    } else if (options->completion != NULL) {
        if (!command_completion_add(&text, &SET, options->completion)) {
            return main_help_refuse("completion", "bash, zsh or fish", options->completion);
        }
    } else if (line->word_count == 0) {
        command_help_add_all(&text, LIST, COMMAND_COUNT);
    } else {
        const Command *command = main_find(line->words[0]);
        if (command == NULL) {
            return main_unknown(line->words[0]);
        }
        command_help_add(&text, command);
    }
    return screen_write("outboxd help", &text, EXIT_OK, NULL);
}

enum { HELP_COMMAND, HELP_MARKDOWN, HELP_MAN, HELP_COMPLETION, HELP_FORMS_COUNT };
static const CommandForm HELP_FORMS[HELP_FORMS_COUNT] = {
    [HELP_COMMAND] = {.argument = "COMMAND", .plural = "a command", .most = 1},
    [HELP_MARKDOWN] = {.flag = "markdown"},
    [HELP_MAN] = {.flag = "man"},
    [HELP_COMPLETION] = {.flag = "completion"},
};
static const Flag HELP_FLAGS[] = {
    {.name = "markdown",
     FLAG_SWITCH(HelpOptions, markdown),
     .forms = COMMAND_FORM(HELP_MARKDOWN),
     .help = "print the reference of all commands as Markdown (relay/app/COMMANDS.md)"},
    {.name = "man",
     .value = "PAGE",
     FLAG_TEXT(HelpOptions, man),
     .forms = COMMAND_FORM(HELP_MAN),
     .help = "print the source of a man page: outboxd, outboxd.conf, or outboxd-COMMAND"},
    {.name = "completion",
     .value = "SHELL",
     FLAG_TEXT(HelpOptions, completion),
     .forms = COMMAND_FORM(HELP_COMPLETION),
     .help = "print the completion script for a shell: bash, zsh or fish"},
    {0}};
static const Command COMMAND_HELP = {
    .name = "help",
    .summary = "shows what a command does, its flags and exit codes",
    .about = "Shows what a command does, its flags and exit codes. Without COMMAND, it lists all "
             "commands.",
    .forms = HELP_FORMS,
    .form_count = COMMAND_COUNT_OF(HELP_FORMS),
    .flags = HELP_FLAGS,
    .options_size = sizeof(HelpOptions),
    .run = main_help,
};

/* Appends which other command has the flag that this one does not know. */
static void main_add_owner(const CommandLine *line, Text *wrong)
{
    for (int i = 0; line->unknown != NULL && i < COMMAND_COUNT; i++) {
        const Flag *flag = LIST[i]->flags;
        while (flag != NULL && flag->name != NULL && strcmp(flag->name, line->unknown) != 0) {
            flag++;
        }
        if (flag != NULL && flag->name != NULL) {
            text_printf(wrong, "; outboxd %s has it", LIST[i]->name);
            return;
        }
    }
}

static int main_refuse(const CommandLine *line, Text *wrong, bool usage)
{
    main_add_owner(line, wrong);
    if (usage) {
        AUTO_BUFFER lines = TEXT_EMPTY;
        command_help_add_usage(&lines, line->command, line->form, "usage: ");
        if (lines.length > 0) {
            text_add_char(wrong, '\n');
            text_append(wrong, lines.data, lines.length - 1);
        }
    }
    return command_refuse(line->command, "%s", text_string(wrong));
}

static int main_run_line(const Command *command, int argc, char **argv, CommandLine *line)
{
    AUTO_BUFFER text = TEXT_EMPTY;
    bool usage = false;
    if (command_parse(command, argc, argv, line, &text, &usage) != OK) {
        return main_refuse(line, &text, usage);
    }
    if (line->help) {
        command_help_add(&text, command);
        return screen_write("outboxd help", &text, EXIT_OK, NULL);
    }
    return command->run(line);
}

static int main_run(int argc, char **argv)
{
    const Command *command = main_find(argv[0]);
    if (command == NULL) {
        return main_unknown(argv[0]);
    }
    CommandLine line = {0};
    int code = main_run_line(command, argc, argv, &line);
    command_line_free(&line);
    AUTO_ERROR err = {0};
    if (pg_result_end(NULL, &err) != OK) { /* what it said may rest on nothing */
        fprintf(stderr,
                "outboxd %s: %s. Check whether something between outboxd and PostgreSQL answers in "
                "its place, or alters the data.\n",
                argv[0], error_message(&err));
        return code != EXIT_OK ? code : EXIT_POSTGRES;
    }
    return code;
}

int main(int argc, char **argv)
{
    log_output_hold_descriptors();
    main_tune_malloc();
    arguments_hide(argc, argv);
    failpoint_check();
    if (argc < 2) {
        AUTO_BUFFER text = TEXT_EMPTY;
        command_help_add_all(&text, LIST, COMMAND_COUNT);
        fputs(text_string(&text), stderr);
        return EXIT_CONFIG;
    }
    if (strcmp(argv[1], "groups-helper") == 0) {
        return groups_helper_main(); /* of the relay, not of people */
    }
    static char version[] = "version";
    static char help[] = "help";
    if (strcmp(argv[1], "--version") == 0) {
        argv[1] = version;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        argv[1] = help;
        argc = 2;
    }
    return main_run(argc - 1, argv + 1);
}
