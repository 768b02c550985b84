/* Completions for bash, zsh and fish.
 *
 * A script holds, for each command, its verbs, its flags and what may follow each of them, as data
 * in the shell's own words. It starts no program, so a completion costs nothing and knows nothing
 * but names: commands, verbs, flags, choices, codes, and files. */
#include <string.h>

#include "base/log_codes.h"
#include "command/command_pages.h"

/* What a value or an argument is, for a shell. */
typedef enum Sort {
    SORT_TEXT, /* nothing that a shell could know */
    SORT_FILE,
    SORT_CODE,
    SORT_COMMAND,
    SORT_CHOICE,
} Sort;

static Sort sort_of(const char *stands_for)
{
    static const struct {
        const char *name;
        Sort sort;
    } SORTS[] = {{"FILE", SORT_FILE}, {"CODE", SORT_CODE}, {"COMMAND", SORT_COMMAND}};
    for (size_t i = 0; stands_for != NULL && i < COMMAND_COUNT_OF(SORTS); i++) {
        if (strcmp(stands_for, SORTS[i].name) == 0) {
            return SORTS[i].sort;
        }
    }
    return SORT_TEXT;
}

static Sort sort_of_flag(const Flag *flag)
{
    return flag->choices != NULL ? SORT_CHOICE : sort_of(flag->value);
}

/* A value in the next word. */
static bool takes_word(const Flag *flag)
{
    return flag->kind != FLAG_KIND_SWITCH && flag->kind != FLAG_KIND_SECONDS;
}

/* As usage shows them: a flag that changes nothing is not offered. */
static bool form_shows(size_t form, const Flag *flag)
{
    return (flag->forms == 0 || (flag->forms & COMMAND_FORM(form)) != 0) &&
           (flag->unsaid & COMMAND_FORM(form)) == 0;
}

static bool has_verbs(const Command *command)
{
    return command->forms[0].verb != NULL;
}

static const Flag *flags_of(const Command *command)
{
    static const Flag NONE[] = {{0}};
    return command->flags != NULL ? command->flags : NONE;
}

/* Lists of words with a blank between. */

static void add_codes(Text *out)
{
    size_t count;
    const LogCodeGroup *groups = log_code_groups(&count);
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < groups[i].count; k++) {
            text_printf(out, "%s%s", i + k > 0 ? " " : "", groups[i].codes[k].name);
        }
    }
}

static void add_commands(Text *out, const CommandSet *set)
{
    for (size_t i = 0; i < set->count; i++) {
        text_printf(out, "%s%s", i > 0 ? " " : "", set->commands[i]->name);
    }
}

static void add_choices(Text *out, const Flag *flag)
{
    for (size_t i = 0; flag->choices[i] != NULL; i++) {
        text_printf(out, "%s%s", i > 0 ? " " : "", flag->choices[i]);
    }
}

static void add_verbs(Text *out, const Command *command)
{
    for (size_t i = 0; i < command->form_count; i++) {
        text_printf(out, "%s%s", i > 0 ? " " : "", command->forms[i].verb);
    }
}

/* The flags of a form, or (form_count) of the whole command. */
static void add_flags(Text *out, const Command *command, size_t form)
{
    for (const Flag *flag = flags_of(command); flag->name != NULL; flag++) {
        if (form == command->form_count || form_shows(form, flag)) {
            text_printf(out, "--%s ", flag->name);
        }
    }
    text_add(out, "--help");
}

/* The beginning of a help text, as far as its first sentence goes, without what a shell reads as
 * quotes. */
static void add_short(Text *out, const char *help)
{
    size_t length = strcspn(help, ";(");
    const char *end = strstr(help, ". ");
    const char *colon = strstr(help, ": ");
    length = end != NULL && (size_t)(end - help) < length ? (size_t)(end - help) : length;
    length = colon != NULL && (size_t)(colon - help) < length && colon - help > 20
                 ? (size_t)(colon - help)
                 : length;
    while (length > 0 && help[length - 1] == ' ') {
        length--;
    }
    for (size_t i = 0; i < length; i++) {
        text_add_char(out, strchr("'\"`[]:\\$", help[i]) != NULL ? ' ' : help[i]);
    }
}

/* bash */

static void bash_add_words(Text *out, Sort sort, const Flag *flag)
{
    switch (sort) {
    case SORT_FILE:
        text_add(out, "_outboxd_files");
        break;
    case SORT_CODE:
        text_add(out, "_outboxd_words \"$codes\"");
        break;
    case SORT_COMMAND:
        text_add(out, "_outboxd_words \"$commands\"");
        break;
    case SORT_CHOICE:
        text_add(out, "_outboxd_words '");
        add_choices(out, flag);
        text_add(out, "'");
        break;
    case SORT_TEXT:
        text_add(out, "COMPREPLY=()");
        break;
    }
}

/* What follows a flag of a command. */
static void bash_add_value(Text *out, const char *command, const Flag *flag)
{
    text_printf(out, "        %s--%s", command, flag->name);
    if (flag->letter != 0) {
        text_printf(out, " | %s-%c", command, flag->letter);
    }
    text_add(out, ") ");
    bash_add_words(out, sort_of_flag(flag), flag);
    text_add(out, "; return ;;\n");
}

static void bash_add_values(Text *out, const CommandSet *set)
{
    text_add(out, "    case $command$previous in\n");
    for (size_t i = 0; i < set->count; i++) {
        for (const Flag *flag = flags_of(set->commands[i]); flag->name != NULL; flag++) {
            if (takes_word(flag)) {
                bash_add_value(out, set->commands[i]->name, flag);
            }
        }
    }
    text_add(out, "    esac\n");
}

static void bash_add_form(Text *out, const Command *command, size_t form)
{
    Sort sort = sort_of(command->forms[form < command->form_count ? form : 0].argument);
    text_add(out, "_outboxd_words \"");
    text_add(out, sort == SORT_CODE ? "$codes " : sort == SORT_COMMAND ? "$commands " : "");
    add_flags(out, command, form);
    text_add(out, "\"");
}

static void bash_add_command(Text *out, const Command *command)
{
    if (!has_verbs(command)) {
        text_printf(out, "        %s,*) ", command->name);
        bash_add_form(out, command, command->form_count);
        text_add(out, " ;;\n");
        return;
    }
    for (size_t i = 0; i < command->form_count; i++) {
        text_printf(out, "        %s,%s) ", command->name, command->forms[i].verb);
        bash_add_form(out, command, i);
        text_add(out, " ;;\n");
    }
    text_printf(out, "        %s,*) _outboxd_words '", command->name);
    add_verbs(out, command);
    text_add(out, " --help' ;;\n");
}

static void bash_add(Text *out, const CommandSet *set)
{
    text_add(out, "# Completion of outboxd for bash. Written by: outboxd help --completion bash\n"
                  "\n"
                  "_outboxd_words() { mapfile -t COMPREPLY < <(compgen -W \"$1\" -- "
                  "\"$current\"); }\n"
                  "\n"
                  "_outboxd_files() {\n"
                  "    compopt -o filenames\n"
                  "    mapfile -t COMPREPLY < <(compgen -f -- \"$current\")\n"
                  "}\n"
                  "\n"
                  "_outboxd() {\n"
                  "    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - "
                  "1]}\n"
                  "    local command=${COMP_WORDS[1]} verb=${COMP_WORDS[2]-}\n"
                  "    local commands='");
    add_commands(out, set);
    text_add(out, "'\n    local codes='");
    add_codes(out);
    text_add(out, "'\n"
                  "    COMPREPLY=()\n"
                  "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
                  "        _outboxd_words \"$commands --help --version\"\n"
                  "        return\n"
                  "    fi\n"
                  "    if [ \"$current\" = = ]; then # --flag= is two words\n"
                  "        current=\n"
                  "    elif [ \"$previous\" = = ]; then\n"
                  "        previous=${COMP_WORDS[COMP_CWORD - 2]}\n"
                  "    fi\n");
    bash_add_values(out, set);
    text_add(out, "    [ \"$COMP_CWORD\" -gt 2 ] || verb=\n"
                  "    case $command,$verb in\n");
    for (size_t i = 0; i < set->count; i++) {
        bash_add_command(out, set->commands[i]);
    }
    text_add(out, "    esac\n"
                  "}\n"
                  "\n"
                  "complete -F _outboxd outboxd\n");
}

/* zsh */

static void zsh_add_action(Text *out, Sort sort, const Flag *flag)
{
    switch (sort) {
    case SORT_FILE:
        text_add(out, "_files");
        break;
    case SORT_CODE:
        text_add(out, "($codes)");
        break;
    case SORT_COMMAND:
        text_add(out, "($commands)");
        break;
    case SORT_CHOICE:
        text_add_char(out, '(');
        add_choices(out, flag);
        text_add_char(out, ')');
        break;
    case SORT_TEXT:
        text_add_char(out, ' ');
        break;
    }
}

static void zsh_add_flag(Text *out, const Flag *flag)
{
    const char *repeated = flag->kind == FLAG_KIND_LIST ? "\\*" : "";
    const char *value = takes_word(flag) ? "=" : flag->kind == FLAG_KIND_SECONDS ? "=-" : "";
    text_add(out, " \\\n                ");
    if (flag->letter != 0) {
        text_printf(out, "'(-%c --%s)'{-%c%s,--%s%s}\"[", flag->letter, flag->name, flag->letter,
                    takes_word(flag) ? "+" : "", flag->name, value);
    } else {
        text_printf(out, "%s--%s%s\"[", repeated, flag->name, value);
    }
    add_short(out, flag->help);
    text_add(out, "]");
    if (takes_word(flag)) {
        text_printf(out, ":%s:", flag->value != NULL ? flag->value : flag->name);
        zsh_add_action(out, sort_of_flag(flag), flag);
    } else if (flag->kind == FLAG_KIND_SECONDS) {
        text_printf(out, "::%s: ", flag->value);
    }
    text_add_char(out, '"');
}

static void zsh_add_arguments(Text *out, const Command *command, size_t form)
{
    text_add(out, "_arguments -s -S '(- *)'{-h,--help}'[show help]'");
    for (const Flag *flag = flags_of(command); flag->name != NULL; flag++) {
        if (form == command->form_count || form_shows(form, flag)) {
            zsh_add_flag(out, flag);
        }
    }
    const CommandForm *shown = &command->forms[form < command->form_count ? form : 0];
    if (shown->argument != NULL) {
        text_printf(out, " \\\n                \"%s:%s:", shown->most > 1 ? "*" : "",
                    shown->argument);
        zsh_add_action(out, sort_of(shown->argument), NULL);
        text_add_char(out, '"');
    }
    text_add(out, " && ret=0\n");
}

static void zsh_add_command(Text *out, const Command *command)
{
    text_printf(out, "        %s)\n", command->name);
    if (!has_verbs(command)) {
        text_add(out, "            ");
        zsh_add_arguments(out, command, command->form_count);
        text_add(out, "            ;;\n");
        return;
    }
    text_add(out, "            _arguments -C '(- *)'{-h,--help}'[show help]' '1:verb:((");
    for (size_t i = 0; i < command->form_count; i++) {
        text_printf(out, "%s%s\\:\"", i > 0 ? " " : "", command->forms[i].verb);
        add_short(out, command->forms[i].help);
        text_add_char(out, '"');
    }
    text_add(out, "))' '*:: :->verb' && ret=0\n"
                  "            [[ $state = verb ]] && case $words[1] in\n");
    for (size_t i = 0; i < command->form_count; i++) {
        text_printf(out, "            %s) ", command->forms[i].verb);
        zsh_add_arguments(out, command, i);
        text_add(out, "                ;;\n");
    }
    text_add(out, "            esac\n            ;;\n");
}

static void zsh_add(Text *out, const CommandSet *set)
{
    text_add(out, "#compdef outboxd\n"
                  "# Completion of outboxd for zsh. Written by: outboxd help --completion zsh\n"
                  "\n"
                  "_outboxd() {\n"
                  "    local curcontext=$curcontext state line ret=1\n"
                  "    local commands='");
    add_commands(out, set);
    text_add(out, "'\n    local codes='");
    add_codes(out);
    text_add(out, "'\n"
                  "    local -a described=(\n");
    for (size_t i = 0; i < set->count; i++) {
        text_printf(out, "        '%s:", set->commands[i]->name);
        add_short(out, set->commands[i]->summary);
        text_add(out, "'\n");
    }
    text_add(out,
             "    )\n"
             "    _arguments -C '(- *)'{-h,--help}'[show help]' '(- *)--version[show versions]' "
             "\\\n"
             "        '1: :->command' '*:: :->arguments' && ret=0\n"
             "    if [[ $state = command ]]; then\n"
             "        _describe -t commands command described && ret=0\n"
             "        return ret\n"
             "    fi\n"
             "    [[ $state = arguments ]] && case $words[1] in\n");
    for (size_t i = 0; i < set->count; i++) {
        zsh_add_command(out, set->commands[i]);
    }
    text_add(out, "    esac\n"
                  "    return ret\n"
                  "}\n"
                  "\n"
                  "if [ \"$funcstack[1]\" = _outboxd ]; then\n"
                  "    _outboxd \"$@\"\n"
                  "else\n"
                  "    compdef _outboxd outboxd\n"
                  "fi\n");
}

/* fish */

static void fish_add_condition(Text *out, const Command *command, const Flag *flag)
{
    text_printf(out, "complete -c outboxd -n '__outboxd_at %s", command->name);
    for (size_t i = 0;
         has_verbs(command) && (flag->forms | flag->unsaid) != 0 && i < command->form_count; i++) {
        if (form_shows(i, flag)) {
            text_printf(out, " %s", command->forms[i].verb);
        }
    }
    text_add(out, "' ");
}

static void fish_add_words(Text *out, Sort sort, const Flag *flag)
{
    switch (sort) {
    case SORT_FILE:
        text_add(out, " -r -F");
        break;
    case SORT_CODE:
        text_add(out, " -x -a \"$__outboxd_codes\"");
        break;
    case SORT_COMMAND:
        text_add(out, " -x -a \"$__outboxd_commands\"");
        break;
    case SORT_CHOICE:
        text_add(out, " -x -a '");
        add_choices(out, flag);
        text_add_char(out, '\'');
        break;
    case SORT_TEXT:
        text_add(out, " -x");
        break;
    }
}

static void fish_add_description(Text *out, const char *help)
{
    text_add(out, " -d '");
    add_short(out, help);
    text_add(out, "'\n");
}

static void fish_add_command(Text *out, const Command *command)
{
    text_printf(out, "complete -c outboxd -n __fish_use_subcommand -a %s", command->name);
    fish_add_description(out, command->summary);
    for (size_t i = 0; i < command->form_count; i++) {
        const CommandForm *form = &command->forms[i];
        if (form->verb != NULL) {
            text_printf(out,
                        "complete -c outboxd -n '__outboxd_at %s; and __outboxd_no_verb' -a %s",
                        command->name, form->verb);
            fish_add_description(out, form->help);
        } else if (i == 0 && sort_of(form->argument) != SORT_TEXT) {
            text_printf(out, "complete -c outboxd -n '__outboxd_at %s'", command->name);
            fish_add_words(out, sort_of(form->argument), NULL);
            text_add_char(out, '\n');
        }
    }
    for (const Flag *flag = flags_of(command); flag->name != NULL; flag++) {
        fish_add_condition(out, command, flag);
        if (flag->letter != 0) {
            text_printf(out, "-s %c ", flag->letter);
        }
        text_printf(out, "-l %s", flag->name);
        if (takes_word(flag)) {
            fish_add_words(out, sort_of_flag(flag), flag);
        }
        fish_add_description(out, flag->help);
    }
}

static void fish_add(Text *out, const CommandSet *set)
{
    text_add(out,
             "# Completion of outboxd for fish. Written by: outboxd help --completion fish\n"
             "\n"
             "# The command, and one of the verbs if any are given, stand in the command line.\n"
             "function __outboxd_at\n"
             "    set -l words (commandline -opc)\n"
             "    test (count $words) -ge 2; and test \"$words[2]\" = \"$argv[1]\"; or return "
             "1\n"
             "    test (count $argv) -eq 1; and return 0\n"
             "    test (count $words) -ge 3; and contains -- \"$words[3]\" $argv[2..-1]\n"
             "end\n"
             "\n"
             "function __outboxd_no_verb\n"
             "    test (count (commandline -opc)) -eq 2\n"
             "end\n"
             "\n"
             "set -g __outboxd_commands '");
    add_commands(out, set);
    text_add(out, "'\nset -g __outboxd_codes '");
    add_codes(out);
    text_add(out, "'\n"
                  "complete -c outboxd -f\n"
                  "complete -c outboxd -s h -l help -d 'show help'\n"
                  "complete -c outboxd -n __fish_use_subcommand -l version -d 'show versions'\n");
    for (size_t i = 0; i < set->count; i++) {
        fish_add_command(out, set->commands[i]);
    }
}

bool command_completion_add(Text *out, const CommandSet *set, const char *shell)
{
    static const struct {
        const char *shell;
        void (*add)(Text *out, const CommandSet *set);
    } SHELLS[] = {{"bash", bash_add}, {"zsh", zsh_add}, {"fish", fish_add}};
    for (size_t i = 0; i < COMMAND_COUNT_OF(SHELLS); i++) {
        if (strcmp(shell, SHELLS[i].shell) == 0) {
            SHELLS[i].add(out, set);
            return true;
        }
    }
    return false;
}
