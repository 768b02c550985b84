/* How it works: a synopsis is a row of pieces that are broken between, texts are words that are
 * broken between; both know the column they are at. */
#include "command/command_help.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

enum { WIDTH = 80, FLAG_COLUMNS_MAX = 22, VERB_COLUMNS = 10 };

static const Flag NO_FLAGS[] = {{0}};

static const Flag *help_flags(const Command *command)
{
    return command->flags != NULL ? command->flags : NO_FLAGS;
}

static void help_add_blanks(Text *out, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        text_add_char(out, ' ');
    }
}

static size_t help_column(const Text *out)
{
    size_t column = 0;
    while (column < out->length && out->data[out->length - 1 - column] != '\n') {
        column++;
    }
    return column;
}

/* Appends words from the column the text is at; further lines begin at indent. A line end in words
 * stays one. */
static void help_wrap(Text *out, const char *words, size_t indent)
{
    bool first = true;
    for (const char *at = words; *at != '\0';) {
        if (*at == '\n') {
            text_add_char(out, '\n');
            if (at[1] != '\n') {
                help_add_blanks(out, indent);
            }
            first = true;
            at++;
            continue;
        }
        size_t length = strcspn(at, " \n");
        if (!first && help_column(out) + 1 + length > WIDTH) {
            text_add_char(out, '\n');
            help_add_blanks(out, indent);
        } else if (!first) {
            text_add_char(out, ' ');
        }
        text_append(out, at, length);
        first = false;
        at += length + (at[length] == ' ');
    }
    text_add_char(out, '\n');
}

/* What follows the name: " N", "[=SECONDS]", " poll|wal". */
static void help_add_value(Text *out, const Flag *flag)
{
    if (flag->kind == FLAG_KIND_SECONDS) {
        text_printf(out, "[=%s]", flag->value);
    } else if (flag->kind == FLAG_KIND_CHOICE) {
        for (size_t i = 0; flag->choices[i] != NULL; i++) {
            text_printf(out, "%s%s", i > 0 ? "|" : " ", flag->choices[i]);
        }
    } else if (flag->kind != FLAG_KIND_SWITCH) {
        text_printf(out, " %s", flag->value);
    }
}

void command_help_add_flag(Text *out, const Flag *flag, bool may_be_short)
{
    if (may_be_short && flag->letter != 0) {
        text_printf(out, "-%c", flag->letter);
    } else {
        text_printf(out, "--%s", flag->name);
    }
    help_add_value(out, flag);
}

/* Usage. */

typedef struct Usage {
    const Command *command;
    const CommandForm *form;
    size_t indent;
    Text *out;
} Usage;

static void usage_add_piece(const Usage *usage, const char *piece)
{
    if (help_column(usage->out) + 1 + strlen(piece) > WIDTH &&
        help_column(usage->out) > usage->indent) {
        text_add_char(usage->out, '\n');
        help_add_blanks(usage->out, usage->indent);
    } else {
        text_add_char(usage->out, ' ');
    }
    text_add(usage->out, piece);
}

static bool usage_has(const Usage *usage, const Flag *flag)
{
    unsigned bit = COMMAND_FORM(usage->form - usage->command->forms);
    return (flag->forms == 0 || (flag->forms & bit) != 0) && (flag->unsaid & bit) == 0;
}

static bool usage_named(const char *name, const Flag *flag)
{
    return name != NULL && strcmp(name, flag->name) == 0;
}

/* The flag that must be there for this one, if the form has it. */
static const Flag *usage_needed(const Usage *usage, const Flag *flag)
{
    for (const Flag *other = help_flags(usage->command); other->name != NULL; other++) {
        if (flag->needs != NULL && usage_named(flag->needs, other) && usage_has(usage, other)) {
            return other;
        }
    }
    return NULL;
}

/* The first of the flag's group that the form has. */
static const Flag *usage_group_head(const Usage *usage, const Flag *flag)
{
    for (const Flag *other = help_flags(usage->command); other != flag && flag->group != 0;
         other++) {
        if (other->group == flag->group && usage_has(usage, other)) {
            return other;
        }
    }
    return flag;
}

/* "[--a | --b]", or "[--a [--that-needs-it N]...]", which may be broken in between. */
static void usage_add_flag(const Usage *usage, const Flag *flag)
{
    AUTO_BUFFER piece = TEXT_EMPTY;
    text_add_char(&piece, '[');
    command_help_add_flag(&piece, flag, true);
    for (const Flag *other = flag + 1; other->name != NULL; other++) {
        if (usage_has(usage, other) && usage_group_head(usage, other) == flag) {
            text_add(&piece, " | ");
            command_help_add_flag(&piece, other, true);
        }
    }
    for (const Flag *other = help_flags(usage->command); other->name != NULL; other++) {
        if (usage_has(usage, other) && usage_needed(usage, other) == flag) {
            usage_add_piece(usage, text_string(&piece));
            text_clear(&piece);
            text_add_char(&piece, '[');
            command_help_add_flag(&piece, other, true);
            text_add(&piece, other->kind == FLAG_KIND_LIST ? "]..." : "]");
        }
    }
    text_add(&piece, flag->kind == FLAG_KIND_LIST ? "]..." : "]");
    usage_add_piece(usage, text_string(&piece));
}

static void usage_add_arguments(const Usage *usage)
{
    const CommandForm *form = usage->form;
    if (form->argument == NULL) {
        return;
    }
    AUTO_BUFFER piece = TEXT_EMPTY;
    bool optional = form->least == 0;
    text_printf(&piece, "%s%s%s%s%s%s", optional ? "[" : "", form->argument,
                form->most > 1 ? "..." : "", form->or_flag != NULL ? " | --" : "",
                form->or_flag != NULL ? form->or_flag : "", optional ? "]" : "");
    usage_add_piece(usage, text_string(&piece));
}

static void usage_add(const Usage *usage)
{
    const CommandForm *form = usage->form;
    if (form->verb != NULL) {
        usage_add_piece(usage, form->verb);
    }
    for (const Flag *flag = help_flags(usage->command); flag->name != NULL; flag++) {
        if (usage_named(form->flag, flag)) {
            AUTO_BUFFER piece = TEXT_EMPTY;
            command_help_add_flag(&piece, flag, false);
            usage_add_piece(usage, text_string(&piece));
        }
    }
    usage_add_arguments(usage);
    for (const Flag *flag = help_flags(usage->command); flag->name != NULL; flag++) {
        if (usage_has(usage, flag) && !usage_named(form->flag, flag) &&
            !usage_named(form->or_flag, flag) && usage_needed(usage, flag) == NULL &&
            usage_group_head(usage, flag) == flag) {
            usage_add_flag(usage, flag);
        }
    }
    text_add_char(usage->out, '\n');
}

void command_help_add_usage(Text *out, const Command *command, const CommandForm *only,
                            const char *lead)
{
    for (size_t i = 0; i < command->form_count; i++) {
        if (only != NULL && only != &command->forms[i]) {
            continue;
        }
        text_add(out, lead);
        text_printf(out, "outboxd %s", command->name);
        usage_add(&(Usage){.command = command,
                           .form = &command->forms[i],
                           .indent = help_column(out) + 1,
                           .out = out});
        lead = strlen(lead) == strlen("usage: ") ? "       " : lead;
    }
}

/* The parts of --help. */

static void help_add_verbs(Text *out, const Command *command)
{
    for (size_t i = 0; i < command->form_count; i++) {
        const CommandForm *form = &command->forms[i];
        if (form->verb != NULL) {
            text_printf(out, "%s%-*s", i == 0 ? "\n" : "", VERB_COLUMNS, form->verb);
            help_wrap(out, form->help, VERB_COLUMNS);
        }
    }
}

static void help_add_left(Text *out, const Flag *flag)
{
    if (flag->letter != 0) {
        text_printf(out, "  -%c, ", flag->letter);
    } else {
        text_add(out, "      ");
    }
    command_help_add_flag(out, flag, false);
}

static size_t help_left_columns(const Flag *flag)
{
    AUTO_BUFFER left = TEXT_EMPTY;
    help_add_left(&left, flag);
    return left.length;
}

static void help_add_flags(Text *out, const Command *command)
{
    static const Flag HELP = {.name = "help", .letter = 'h', .help = "show this help"};
    size_t columns = help_left_columns(&HELP);
    for (const Flag *flag = help_flags(command); flag->name != NULL; flag++) {
        size_t own = help_left_columns(flag);
        columns = own > columns && own <= FLAG_COLUMNS_MAX + 2 ? own : columns;
    }
    text_add_char(out, '\n');
    for (const Flag *flag = help_flags(command);; flag++) {
        const Flag *shown = flag->name != NULL ? flag : &HELP;
        help_add_left(out, shown);
        if (help_column(out) > columns) {
            text_add_char(out, '\n');
        }
        help_add_blanks(out, columns + 2 - help_column(out));
        AUTO_TEXT help =
            x_format("%s%s", shown->help, shown->kind == FLAG_KIND_LIST ? "; may be repeated" : "");
        help_wrap(out, help, columns + 2);
        if (shown == &HELP) {
            break;
        }
    }
}

static void help_add_exits(Text *out, const Command *command)
{
    if (command->exits == NULL) {
        return;
    }
    text_add(out, "\nexit codes\n");
    for (const CommandExit *code = command->exits; code->meaning != NULL; code++) {
        text_printf(out, "  %2d  ", code->code);
        help_wrap(out, code->meaning, 6);
    }
}

void command_help_add(Text *out, const Command *command)
{
    command_help_add_usage(out, command, NULL, "usage: ");
    text_add_char(out, '\n');
    help_wrap(out, command->about, 0);
    help_add_verbs(out, command);
    help_add_flags(out, command);
    help_add_exits(out, command);
    if (command->notes != NULL) {
        text_add_char(out, '\n');
        help_wrap(out, command->notes, 0);
    }
}

void command_help_add_all(Text *out, const Command *const *commands, size_t count)
{
    text_add(out, "outboxd moves committed facts from PostgreSQL to Kafka and never loses one\n"
                  "\n");
    for (size_t i = 0; i < count; i++) {
        text_printf(out, "  outboxd %-9s", commands[i]->name);
        help_wrap(out, commands[i]->summary, help_column(out));
    }
    text_add(out, "\n"
                  "Help for a command: outboxd help COMMAND\n"
                  "All options of the configuration file: outboxd config print\n");
}

int command_refuse(const Command *command, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)fprintf(stderr, "outboxd %s: ", command->name);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fprintf(stderr, "\n  remedy: see outboxd %s --help\n", command->name);
    return EXIT_CONFIG;
}
