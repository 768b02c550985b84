/* What holds of the table of every command. */
#include <criterion/criterion.h>
#include <ctype.h>
#include <string.h>

#include "app/commands.h"
#include "command/command_help.h"
#include "command/command_parse.h"

#define COMMAND_LISTED(name) &COMMAND_##name,
static const Command *const LIST[] = {COMMANDS(COMMAND_LISTED)};

enum { FLAGS_MAX = 64, COLUMNS = 80 };

static const Flag *flag_of(const Command *command, const char *name)
{
    for (const Flag *flag = command->flags; flag != NULL && flag->name != NULL; flag++) {
        if (strcmp(flag->name, name) == 0) {
            return flag;
        }
    }
    return NULL;
}

static void check_flag(const Command *command, const Flag *flag)
{
    size_t index = (size_t)(flag - command->flags);
    cr_assert_lt(index, FLAGS_MAX, "%s: too many flags", command->name);
    for (const char *at = flag->name; *at != '\0'; at++) {
        cr_assert(islower((unsigned char)*at) || *at == '-', "%s: --%s", command->name, flag->name);
    }
    cr_assert_eq(flag_of(command, flag->name), flag, "%s has --%s twice", command->name,
                 flag->name);
    cr_assert_str_neq(flag->name, "help");
    cr_assert_neq(flag->letter, 'h');
    for (size_t i = 0; i < index; i++) {
        cr_assert(flag->letter == 0 || command->flags[i].letter != flag->letter, "%s: -%c",
                  command->name, flag->letter);
    }
    cr_assert(flag->help != NULL && *flag->help != '\0', "%s: --%s says nothing", command->name,
              flag->name);
    bool has_value = flag->kind != FLAG_KIND_SWITCH && flag->kind != FLAG_KIND_CHOICE;
    cr_assert_eq(flag->value != NULL, has_value, "%s: --%s", command->name, flag->name);
    cr_assert_eq(flag->choices != NULL, flag->kind == FLAG_KIND_CHOICE);
    cr_assert(flag->needs == NULL || flag_of(command, flag->needs) != NULL, "%s: --%s",
              command->name, flag->name);
    cr_assert_lt(flag->forms, COMMAND_FORM(command->form_count));
    cr_assert_lt(flag->unsaid, COMMAND_FORM(command->form_count));
    cr_assert_lt(flag->offset, command->options_size, "%s: --%s", command->name, flag->name);
}

static void check_form(const Command *command, const CommandForm *form)
{
    bool verbs = command->forms[0].verb != NULL;
    cr_assert_eq(form->verb != NULL, verbs, "%s: all forms have verbs, or none", command->name);
    cr_assert_eq(form->help != NULL, verbs);
    cr_assert(form->flag == NULL || flag_of(command, form->flag) != NULL, "%s", command->name);
    cr_assert(form->or_flag == NULL || flag_of(command, form->or_flag) != NULL, "%s",
              command->name);
    cr_assert(form->or_flag == NULL || form->plural != NULL, "%s", command->name);
    cr_assert_eq(form->argument != NULL, form->most > 0, "%s", command->name);
    cr_assert_leq(form->least, form->most);
}

Test(commands, tables_are_sound)
{
    for (size_t i = 0; i < COMMAND_COUNT_OF(LIST); i++) {
        const Command *command = LIST[i];
        cr_assert(command->summary != NULL && command->about != NULL && command->run != NULL);
        cr_assert_geq(command->form_count, 1);
        for (size_t j = 0; j < command->form_count; j++) {
            check_form(command, &command->forms[j]);
        }
        for (const Flag *flag = command->flags; flag != NULL && flag->name != NULL; flag++) {
            check_flag(command, flag);
        }
        for (const FlagRule *rule = command->rules; rule != NULL && rule->first != NULL; rule++) {
            cr_assert(flag_of(command, rule->first) != NULL &&
                          flag_of(command, rule->second) != NULL && rule->text != NULL,
                      "%s", command->name);
        }
    }
}

/* The value that a flag takes, for a line that has them all. */
static const char *sample(const Flag *flag)
{
    return flag->kind == FLAG_KIND_CHOICE  ? flag->choices[1]
           : flag->kind == FLAG_KIND_COUNT ? "1"
                                           : "a=b";
}

Test(commands, every_flag_is_read_and_shown_by_help_usage_and_the_reference)
{
    AUTO_BUFFER reference = TEXT_EMPTY;
    command_markdown_add(&reference, LIST, COMMAND_COUNT_OF(LIST));
    for (size_t i = 0; i < COMMAND_COUNT_OF(LIST); i++) {
        const Command *command = LIST[i];
        AUTO_BUFFER help = TEXT_EMPTY;
        AUTO_BUFFER shown = TEXT_EMPTY;
        command_help_add(&help, command);
        command_help_add_usage(&shown, command, NULL, "");
        for (const Flag *flag = command->flags; flag != NULL && flag->name != NULL; flag++) {
            AUTO_BUFFER written = TEXT_EMPTY;
            AUTO_BUFFER brief = TEXT_EMPTY;
            command_help_add_flag(&written, flag, false);
            command_help_add_flag(&brief, flag, true);
            cr_assert_not_null(strstr(text_string(&help), text_string(&written)), "%s %s",
                               command->name, text_string(&written));
            cr_assert_not_null(strstr(text_string(&shown), text_string(&brief)), "%s %s",
                               command->name, text_string(&brief));
            AUTO_BUFFER cell = TEXT_EMPTY;
            text_printf(&cell, "--%s", flag->name);
            cr_assert_not_null(strstr(text_string(&reference), text_string(&cell)));

            char *argv[] = {(char *)command->name, cell.data, (char *)sample(flag), NULL};
            bool alone = flag->kind == FLAG_KIND_SWITCH || flag->kind == FLAG_KIND_SECONDS;
            CommandLine line = {0};
            AUTO_BUFFER wrong = TEXT_EMPTY;
            bool usage = false;
            (void)command_parse(command, alone ? 2 : 3, argv, &line, &wrong, &usage);
            cr_assert(command_line_has(&line, flag->name), "%s %s: %s", command->name, cell.data,
                      text_string(&wrong));
            command_line_free(&line);
        }
    }
}

Test(commands, help_fits_eighty_columns)
{
    for (size_t i = 0; i < COMMAND_COUNT_OF(LIST); i++) {
        AUTO_BUFFER help = TEXT_EMPTY;
        command_help_add(&help, LIST[i]);
        command_help_add_all(&help, LIST, COMMAND_COUNT_OF(LIST));
        for (const char *at = text_string(&help); *at != '\0';) {
            size_t length = strcspn(at, "\n");
            cr_assert_leq(length, COLUMNS, "%.*s", (int)length, at);
            cr_assert(length == 0 || at[length - 1] != ' ', "%.*s", (int)length, at);
            at += length + (at[length] == '\n');
        }
    }
}
