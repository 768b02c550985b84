/* Man pages of the program and of its commands. The page of the configuration file is made in
 * command_man_conf.c. */
#include <string.h>

#include "base/memory.h"
#include "command/command_help.h"
#include "command/command_pages.h"
#include "command/roff.h"

static const char SUMMARY[] = "publish committed events from PostgreSQL to Kafka";
static const char ABOUT[] =
    "outboxd moves events out of PostgreSQL and never loses one. An application inserts an event "
    "in the same transaction as the change that it describes. outboxd reads the event from an "
    "outbox table, or from the write-ahead log, and publishes it to Kafka or to a file. It marks "
    "the event as published only after the event is acknowledged.\n\n"
    "`outboxd migrate` creates the outbox in a database, `outboxd run` is the relay, `outboxd "
    "check` finds mistakes before anything runs, and `outboxd status` says what is stuck and why.";
static const char ENVIRONMENT[] =
    "Every option of the configuration file that is a single value also has an environment "
    "variable, such as OUTBOXD_DATABASE_DSN or OUTBOXD_LOG_LEVEL. outboxd.conf(5) names it with "
    "each option. The environment overrides the file, and the command line overrides both. "
    "OUTBOXD_PIPELINE_* apply only without a configuration file.";

/* Flags on the left, what they do beside or below. */
static void man_add_flag(Text *out, const char *name, const char *words)
{
    text_add(out, ".TP\n");
    roff_add_flags(out, name);
    roff_add_words(out, words);
}

static void man_add_exits(Text *out, const Command *command)
{
    if (command->exits == NULL) {
        return;
    }
    roff_add_macro(out, "SH", "EXIT STATUS");
    for (const CommandExit *code = command->exits; code->meaning != NULL; code++) {
        text_printf(out, ".TP\n%d\n", code->code);
        roff_add_words(out, code->meaning);
    }
}

/* Each form as one line that the formatter breaks between brackets. */
static void man_add_synopsis(Text *out, const Command *command)
{
    roff_add_macro(out, "SH", "SYNOPSIS");
    AUTO_TEXT name = x_format("outboxd %s", command->name);
    for (size_t i = 0; i < command->form_count; i++) {
        AUTO_BUFFER usage = TEXT_EMPTY;
        command_help_add_usage(&usage, command, &command->forms[i], "");
        roff_add_macro(out, "SY", name);
        roff_add_synopsis(out,
                          text_fold(usage.data) + strlen(name) + (usage.data[strlen(name)] == ' '));
        text_add(out, ".YS\n");
    }
}

static void man_add_flags(Text *out, const Command *command)
{
    roff_add_macro(out, "SH", "OPTIONS");
    for (const Flag *flag = command->flags; flag != NULL && flag->name != NULL; flag++) {
        AUTO_BUFFER name = TEXT_EMPTY;
        if (flag->letter != 0) {
            text_printf(&name, "-%c, ", flag->letter);
        }
        command_help_add_flag(&name, flag, false);
        AUTO_TEXT words =
            x_format("%s%s", flag->help, flag->kind == FLAG_KIND_LIST ? "; may be repeated" : "");
        man_add_flag(out, text_string(&name), words);
    }
    man_add_flag(out, "-h, --help", "show a help text");
}

static bool man_reads_configuration(const Command *command)
{
    for (const Flag *flag = command->flags; flag != NULL && flag->name != NULL; flag++) {
        if (strcmp(flag->name, "config") == 0) {
            return true;
        }
    }
    return false;
}

static void man_add_files(Text *out)
{
    roff_add_macro(out, "SH", "ENVIRONMENT");
    roff_add_words(out, ENVIRONMENT);
    roff_add_macro(out, "SH", "FILES");
    text_add(out, ".TP\n.I ");
    roff_add(out, CONFIG_DEFAULT_FILE);
    text_add_char(out, '\n');
    roff_add_words(out, "the configuration file, unless --config names another one");
}

/* The other pages, but for one. */
static void man_add_see_also(Text *out, const CommandSet *set, const Command *but)
{
    roff_add_macro(out, "SH", "SEE ALSO");
    if (but != NULL) {
        text_add(out, ".BR outboxd (1),\n");
    }
    for (size_t i = 0; i < set->count; i++) {
        if (set->commands[i] != but) {
            text_printf(out, ".BR outboxd\\-%s (1),\n", set->commands[i]->name);
        }
    }
    text_add(out, ".BR outboxd.conf (5)\n");
}

static void man_add_command(Text *out, const CommandSet *set, const Command *command)
{
    AUTO_TEXT page = x_format("outboxd-%s", command->name);
    roff_add_head(out, page, 1, command->summary);
    man_add_synopsis(out, command);
    roff_add_macro(out, "SH", "DESCRIPTION");
    roff_add_words(out, command->about);
    for (size_t i = 0; i < command->form_count; i++) {
        const CommandForm *form = &command->forms[i];
        if (form->verb != NULL) {
            text_printf(out, ".TP\n.B %s\n", form->verb);
            roff_add_words(out, form->help);
        }
    }
    man_add_flags(out, command);
    man_add_exits(out, command);
    if (command->notes != NULL) {
        roff_add_macro(out, "SH", "NOTES");
        roff_add_words(out, command->notes);
    }
    if (man_reads_configuration(command)) {
        man_add_files(out);
    }
    man_add_see_also(out, set, command);
}

/* The overview. The exit codes of the program are those of the relay, its first command. */
static void man_add_program(Text *out, const CommandSet *set)
{
    roff_add_head(out, "outboxd", 1, SUMMARY);
    roff_add_macro(out, "SH", "SYNOPSIS");
    text_add(out, ".SY outboxd\n\\fICOMMAND\\fR\n[\\fIOPTION\\fR]...\n.YS\n");
    text_add(out, ".SY \"outboxd help\"\n[\\fICOMMAND\\fR]\n.YS\n");
    roff_add_macro(out, "SH", "DESCRIPTION");
    roff_add_words(out, ABOUT);
    roff_add_macro(out, "SH", "COMMANDS");
    for (size_t i = 0; i < set->count; i++) {
        text_printf(out, ".TP\n.BR outboxd\\-%s (1)\n", set->commands[i]->name);
        roff_add_words(out, set->commands[i]->summary);
    }
    man_add_exits(out, set->commands[0]);
    man_add_files(out);
    man_add_see_also(out, set, NULL);
}

bool command_man_add(Text *out, const CommandSet *set, const char *page)
{
    if (strcmp(page, "outboxd") == 0) {
        man_add_program(out, set);
        return true;
    }
    if (strcmp(page, "outboxd.conf") == 0) {
        command_man_add_conf(out);
        return true;
    }
    for (size_t i = 0; i < set->count; i++) {
        if (strncmp(page, "outboxd-", 8) == 0 && strcmp(page + 8, set->commands[i]->name) == 0) {
            man_add_command(out, set, set->commands[i]);
            return true;
        }
    }
    return false;
}
