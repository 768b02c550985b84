/* How it works: the form first, then rules of two flags, which have the best texts, then what the
 * form and each flag say for themselves, then the number of arguments. */
#include "command/command_rules.h"

#include <assert.h>
#include <string.h>

#include "base/memory.h"
#include "config/mask.h"
#include "config/nearest.h"

/* What stands between item i and the one before it, of count: "a, b and c". */
static const char *list_lead(size_t i, size_t count)
{
    return i == 0 ? "" : i + 1 == count ? " and " : ", ";
}

static unsigned form_bit(const CommandLine *line, const CommandForm *form)
{
    return COMMAND_FORM(form - line->command->forms);
}

static bool flag_given(const CommandLine *line, const Flag *flag)
{
    return (line->given >> (flag - line->command->flags) & 1) != 0;
}

static const Flag *flag_first(const CommandLine *line)
{
    static const Flag NONE[] = {{0}};
    return line->command->flags != NULL ? line->command->flags : NONE;
}

static bool form_takes(const CommandLine *line, const CommandForm *form, const Flag *flag)
{
    return flag->forms == 0 || (flag->forms & form_bit(line, form)) != 0;
}

/* Appends the names of the forms' verbs or flags: "list, show or discard". */
static void forms_add(const CommandLine *line, bool verbs, unsigned forms, const char *last,
                      Text *out)
{
    const Command *command = line->command;
    size_t count = 0;
    for (size_t i = 0; i < command->form_count; i++) {
        const CommandForm *form = &command->forms[i];
        count += (verbs ? form->verb : form->flag) != NULL && (forms & COMMAND_FORM(i)) != 0;
    }
    size_t done = 0;
    for (size_t i = 0; i < command->form_count; i++) {
        const CommandForm *form = &command->forms[i];
        if ((verbs ? form->verb : form->flag) == NULL || (forms & COMMAND_FORM(i)) == 0) {
            continue;
        }
        text_printf(out, "%s%s%s",
                    done == 0          ? ""
                    : done + 1 < count ? ", "
                                       : last,
                    verbs ? "" : "--", verbs ? form->verb : form->flag);
        done++;
    }
}

static const char *verb_nearest(const Command *command, const char *word)
{
    Nearest nearest = nearest_begin(word);
    const char *meant = NULL;
    for (size_t i = 0; i < command->form_count; i++) {
        if (nearest_offer(&nearest, command->forms[i].verb)) {
            meant = command->forms[i].verb;
        }
    }
    return meant;
}

static const CommandForm *verb_find(const CommandLine *line)
{
    const Command *command = line->command;
    for (size_t i = 0; line->word_count > 0 && i < command->form_count; i++) {
        const char *verb = command->forms[i].verb;
        if (verb != NULL && strcmp(verb, line->words[0]) == 0) {
            return &command->forms[i];
        }
    }
    return NULL;
}

void command_rules_guess(CommandLine *line)
{
    line->form = verb_find(line);
}

/* Of a command all of whose forms have verbs. */
static Status form_find_verb(CommandLine *line, Text *wrong, bool *ret_usage)
{
    const Command *command = line->command;
    const char *word = line->word_count > 0 ? line->words[0] : NULL;
    line->form = verb_find(line);
    if (line->form != NULL) {
        line->word_count--;
        memmove((void *)line->words, (void *)(line->words + 1),
                line->word_count * sizeof(line->words[0]));
        return OK;
    }
    *ret_usage = true;
    text_add(wrong, word == NULL ? "what? " : "");
    forms_add(line, true, ~0U, " or ", wrong);
    if (word != NULL) {
        text_add(wrong, ", not '");
        text_add_shown(wrong, word, false);
        text_add_char(wrong, '\'');
        const char *meant = verb_nearest(command, word);
        if (meant != NULL) {
            text_printf(wrong, "; did you mean '%s'?", meant);
        }
    }
    return FAILED;
}

static Status form_find(CommandLine *line, Text *wrong, bool *ret_usage)
{
    const Command *command = line->command;
    if (command->forms[0].verb != NULL) {
        return form_find_verb(line, wrong, ret_usage);
    }
    size_t asked = 0;
    for (size_t i = 0; i < command->form_count; i++) {
        const CommandForm *form = &command->forms[i];
        if (form->flag == NULL) {
            line->form = line->form == NULL ? form : line->form;
        } else if (command_line_has(line, form->flag)) {
            line->form = form;
            asked++;
        }
    }
    assert(line->form != NULL);
    if (asked > 1) {
        forms_add(line, false, ~0U, " and ", wrong);
        text_add(wrong, " exclude each other");
        return FAILED;
    }
    return OK;
}

static Status rules_of_two(const CommandLine *line, Text *wrong)
{
    for (const FlagRule *rule = line->command->rules; rule != NULL && rule->first != NULL; rule++) {
        if (command_line_has(line, rule->first) && command_line_has(line, rule->second)) {
            text_printf(wrong, "%s", rule->text);
            return FAILED;
        }
    }
    for (const Flag *flag = flag_first(line); flag->name != NULL; flag++) {
        for (const Flag *other = flag_first(line); other < flag; other++) {
            if (flag->group != 0 && flag->group == other->group && flag_given(line, flag) &&
                flag_given(line, other)) {
                text_printf(wrong, "--%s and --%s exclude each other", other->name, flag->name);
                return FAILED;
            }
        }
    }
    return OK;
}

/* "--status goes with --dsn and --schema only: it has no use for --print". */
static Status rules_not_of_flag(const CommandLine *line, const Flag *flag, Text *wrong)
{
    size_t count = 0;
    for (const Flag *other = flag_first(line); other->name != NULL; other++) {
        count += form_takes(line, line->form, other) && strcmp(other->name, line->form->flag) != 0;
    }
    text_printf(wrong, "--%s goes with ", line->form->flag);
    size_t done = 0;
    for (const Flag *other = flag_first(line); other->name != NULL; other++) {
        if (form_takes(line, line->form, other) && strcmp(other->name, line->form->flag) != 0) {
            text_printf(wrong, "%s--%s", list_lead(done, count), other->name);
            done++;
        }
    }
    text_printf(wrong, "%s: it has no use for --%s", count > 0 ? " only" : "nothing else",
                flag->name);
    return FAILED;
}

static Status rules_not_of_form(const CommandLine *line, const Flag *flag, Text *wrong)
{
    const CommandForm *form = line->form;
    if (form->flag != NULL) {
        return rules_not_of_flag(line, flag, wrong);
    }
    text_printf(wrong, "--%s belongs to ", flag->name);
    forms_add(line, form->verb != NULL, flag->forms, " and ", wrong);
    if (form->verb != NULL && form->plural != NULL) {
        text_printf(wrong, "; %s takes %s", form->verb, form->plural);
    }
    return FAILED;
}

static Status rules_of_flags(const CommandLine *line, Text *wrong)
{
    for (const Flag *flag = flag_first(line); flag->name != NULL; flag++) {
        if (!flag_given(line, flag)) {
            continue;
        }
        if (!form_takes(line, line->form, flag)) {
            return rules_not_of_form(line, flag, wrong);
        }
        if (flag->needs != NULL && !command_line_has(line, flag->needs)) {
            text_printf(wrong, "--%s goes with --%s%s%s", flag->name, flag->needs,
                        flag->why != NULL ? ": " : "", flag->why != NULL ? flag->why : "");
            return FAILED;
        }
    }
    return OK;
}

/* An argument too many. A connection string in the wrong place is shown without its password. */
static Status rules_stray(const CommandLine *line, const char *word, Text *wrong)
{
    const CommandForm *form = line->form;
    bool may_be_dsn = strchr(word, '=') != NULL || strstr(word, "://") != NULL;
    AUTO_TEXT masked = may_be_dsn ? mask_dsn(word) : x_strdup(word);
    if (form->argument != NULL) {
        text_add(wrong, "one argument too many is '");
    } else if (form->verb != NULL || form->flag != NULL) {
        text_printf(wrong, "%s%s takes no %s; it was given '", form->verb != NULL ? "" : "--",
                    form->verb != NULL ? form->verb : form->flag,
                    form->plural != NULL ? form->plural : "arguments");
    } else {
        text_add(wrong, "it takes no argument '");
    }
    text_add_shown(wrong, masked, false);
    text_add_char(wrong, '\'');
    if (line->command->stray != NULL) {
        text_printf(wrong, "; %s", line->command->stray);
    }
    return FAILED;
}

static Status rules_of_words(const CommandLine *line, Text *wrong, bool *ret_usage)
{
    const CommandForm *form = line->form;
    bool instead = form->or_flag != NULL && command_line_has(line, form->or_flag);
    const char *verb = form->verb != NULL ? form->verb : "";
    const char *colon = form->verb != NULL ? ": " : "";
    *ret_usage = true;
    if (instead && line->word_count > 0) {
        text_printf(wrong, "%s%seither %s or --%s", verb, colon, form->plural, form->or_flag);
        return FAILED;
    }
    if (line->word_count > form->most) {
        return rules_stray(line, line->words[form->most], wrong);
    }
    if (line->word_count < form->least && !instead) {
        text_printf(wrong, "%s%swhich? Give %s%s%s", verb, colon,
                    form->most > 1 ? form->plural : form->argument,
                    form->or_flag != NULL ? ", or --" : "",
                    form->or_flag != NULL ? form->or_flag : "");
        return FAILED;
    }
    *ret_usage = false;
    return OK;
}

Status command_rules_check(CommandLine *line, Text *wrong, bool *ret_usage)
{
    if (form_find(line, wrong, ret_usage) != OK || rules_of_two(line, wrong) != OK ||
        rules_of_flags(line, wrong) != OK) {
        return FAILED;
    }
    return rules_of_words(line, wrong, ret_usage);
}
