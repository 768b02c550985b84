/* How it works: one pass over argv reads flags into the command's struct and collects the words;
 * command_rules.c then finds the form and checks what goes together. */
#include "command/command_parse.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "command/command_rules.h"
#include "config/lists.h"
#include "config/nearest.h"

enum { FLAGS_MAX = 64 }; /* bits of `given` */

#define SECONDS_LEAST 0.1
#define SECONDS_MOST  3600.0

static const Flag NO_FLAGS[] = {{0}};
static const Flag HELP = {.name = "help", .letter = 'h', .kind = FLAG_KIND_SWITCH};

typedef struct Parse {
    CommandLine *line;
    const Flag *flags;
    char **next; /* the argument to read next */
    char **end;
    Text *wrong;
    bool *usage;
} Parse;

static bool flag_takes_value(const Flag *flag)
{
    return flag->kind != FLAG_KIND_SWITCH;
}

static void *parse_member(const Parse *parse, const Flag *flag)
{
    return (char *)parse->line->options + flag->offset;
}

static Status parse_count(const Parse *parse, const Flag *flag, const char *text)
{
    int64_t most = flag->most_of != NULL ? (int64_t)*flag->most_of
                   : flag->most != 0     ? flag->most
                                         : INT64_MAX;
    char *end;
    errno = 0;
    long long count = strtoll(text, &end, 10);
    if (errno == 0 && end != text && *end == '\0' && count >= flag->least && count <= most) {
        *(int64_t *)parse_member(parse, flag) = count;
        return OK;
    }
    text_printf(parse->wrong, "--%s: '", flag->name);
    text_add_shown(parse->wrong, text, false);
    text_printf(parse->wrong, "' is not a %s from %lld", flag->noun != NULL ? flag->noun : "number",
                (long long)flag->least);
    if (most != INT64_MAX) {
        text_printf(parse->wrong, " to %lld", (long long)most);
    }
    return FAILED;
}

static Status parse_seconds(const Parse *parse, const Flag *flag, const char *text)
{
    char *end = NULL;
    double seconds = text != NULL ? strtod(text, &end) : 1;
    if (text == NULL ||
        (end != text && *end == '\0' && seconds >= SECONDS_LEAST && seconds <= SECONDS_MOST)) {
        *(double *)parse_member(parse, flag) = seconds;
        return OK;
    }
    text_printf(parse->wrong, "--%s=", flag->name);
    text_add_shown(parse->wrong, text, false);
    text_printf(parse->wrong, ": a number of seconds from 0.1 to 3600, such as --%s=5", flag->name);
    return FAILED;
}

static Status parse_choice(const Parse *parse, const Flag *flag, const char *text, bool *ret_given)
{
    for (int i = 0; flag->choices[i] != NULL; i++) {
        if (strcmp(text, flag->choices[i]) == 0) {
            *(int *)parse_member(parse, flag) = i;
            *ret_given = i > 0;
            return OK;
        }
    }
    text_printf(parse->wrong, "--%s must be ", flag->name);
    for (int i = 0; flag->choices[i] != NULL; i++) {
        text_printf(parse->wrong, "%s%s", i > 0 ? " or " : "", flag->choices[i]);
    }
    text_add(parse->wrong, ", not '");
    text_add_shown(parse->wrong, text, false);
    text_add_char(parse->wrong, '\'');
    return FAILED;
}

static Status parse_valid(const Parse *parse, const Flag *flag, const char *text)
{
    const char *wanted = flag->valid != NULL ? flag->valid(text) : NULL;
    if (wanted == NULL) {
        return OK;
    }
    text_printf(parse->wrong, "--%s takes %s, not '", flag->name, wanted);
    text_add_shown(parse->wrong, text, false);
    text_add_char(parse->wrong, '\'');
    return FAILED;
}

/* text is NULL only for a flag that does without a value. */
static Status parse_store(const Parse *parse, const Flag *flag, const char *text)
{
    bool given = true;
    Status status = OK;
    switch (flag->kind) {
    case FLAG_KIND_SWITCH:
        *(bool *)parse_member(parse, flag) = true;
        break;
    case FLAG_KIND_TEXT:
        status = parse_valid(parse, flag, text);
        *(const char **)parse_member(parse, flag) = text;
        break;
    case FLAG_KIND_COUNT:
        status = parse_count(parse, flag, text);
        break;
    case FLAG_KIND_SECONDS:
        status = parse_seconds(parse, flag, text);
        break;
    case FLAG_KIND_CHOICE:
        status = parse_choice(parse, flag, text, &given);
        break;
    case FLAG_KIND_LIST:
        status = parse_valid(parse, flag, text);
        string_list_add(parse_member(parse, flag), text);
        break;
    }
    assert(flag - parse->flags < FLAGS_MAX);
    uint64_t bit = UINT64_C(1) << (flag - parse->flags);
    parse->line->given = given ? parse->line->given | bit : parse->line->given & ~bit;
    return status;
}

static Status parse_missing_value(const Parse *parse, const Flag *flag)
{
    *parse->usage = true;
    text_printf(parse->wrong, "a value is missing after --%s", flag->name);
    return FAILED;
}

/* Name is what the user wrote, without what follows "=": that may be a secret. */
static Status parse_unknown(const Parse *parse, const char *dashes, const char *name)
{
    *parse->usage = true;
    text_printf(parse->wrong, "unknown option '%s", dashes);
    text_add_shown(parse->wrong, name, false);
    text_add_char(parse->wrong, '\'');
    const char *meant = NULL;
    Nearest nearest = nearest_begin(name);
    for (const Flag *flag = parse->flags; flag->name != NULL; flag++) {
        meant = nearest_offer(&nearest, flag->name) ? flag->name : meant;
    }
    meant = nearest_offer(&nearest, HELP.name) ? HELP.name : meant;
    if (meant != NULL) {
        *parse->usage = false;
        text_printf(parse->wrong, "; did you mean '--%s'?", meant);
    } else {
        parse->line->unknown = x_strdup(name);
    }
    return FAILED;
}

static Status parse_ambiguous(const Parse *parse, const char *name)
{
    size_t length = strlen(name);
    text_printf(parse->wrong, "'--%s' is short for ", name);
    const char *lead = "";
    for (const Flag *flag = parse->flags; flag->name != NULL; flag++) {
        if (strncmp(flag->name, name, length) == 0) {
            text_printf(parse->wrong, "%s--%s", lead, flag->name);
            lead = " and for ";
        }
    }
    if (strncmp(HELP.name, name, length) == 0) {
        text_printf(parse->wrong, "%s--%s", lead, HELP.name);
    }
    text_add(parse->wrong, ": write it out");
    return FAILED;
}

/* The flag of that name, or the only one that begins so; *ret_count: so many do. */
static const Flag *parse_find(const Parse *parse, const char *name, size_t *ret_count)
{
    size_t length = strlen(name);
    const Flag *found = NULL;
    *ret_count = 0;
    for (const Flag *flag = parse->flags; length > 0; flag++) {
        const Flag *candidate = flag->name != NULL ? flag : &HELP;
        if (strcmp(candidate->name, name) == 0) {
            *ret_count = 1;
            return candidate;
        }
        if (strncmp(candidate->name, name, length) == 0) {
            found = candidate;
            ++*ret_count;
        }
        if (candidate == &HELP) {
            break;
        }
    }
    return found;
}

/* "--name" or "--name=value", and perhaps its value in the next argument. */
static Status parse_long(Parse *parse, const char *argument)
{
    const char *equals = strchr(argument, '=');
    AUTO_TEXT name =
        x_strndup(argument, equals != NULL ? (size_t)(equals - argument) : strlen(argument));
    size_t count;
    const Flag *flag = parse_find(parse, name, &count);
    if (flag == NULL) {
        return parse_unknown(parse, "--", name);
    }
    if (count > 1) {
        return parse_ambiguous(parse, name);
    }
    if (!flag_takes_value(flag) && equals != NULL) {
        text_printf(parse->wrong, "--%s takes no value", flag->name);
        return FAILED;
    }
    if (flag == &HELP) {
        parse->line->help = true;
        return OK;
    }
    if (!flag_takes_value(flag) || equals != NULL || flag->kind == FLAG_KIND_SECONDS) {
        return parse_store(parse, flag, equals != NULL ? equals + 1 : NULL);
    }
    return parse->next < parse->end ? parse_store(parse, flag, *parse->next++)
                                    : parse_missing_value(parse, flag);
}

static const Flag *parse_find_letter(const Parse *parse, char letter)
{
    for (const Flag *flag = parse->flags; flag->name != NULL; flag++) {
        if (flag->letter == letter) {
            return flag;
        }
    }
    return letter == HELP.letter ? &HELP : NULL;
}

/* "-c FILE", "-cFILE", and several without values in one. */
static Status parse_letters(Parse *parse, const char *letters)
{
    for (const char *at = letters; *at != '\0'; at++) {
        const Flag *flag = parse_find_letter(parse, *at);
        if (flag == NULL) {
            return parse_unknown(parse, "-", (char[]){*at, '\0'});
        }
        if (flag == &HELP) {
            parse->line->help = true;
            return OK;
        }
        if (flag_takes_value(flag)) {
            return at[1] != '\0'              ? parse_store(parse, flag, at + 1)
                   : parse->next < parse->end ? parse_store(parse, flag, *parse->next++)
                                              : parse_missing_value(parse, flag);
        }
        if (parse_store(parse, flag, NULL) != OK) {
            return FAILED;
        }
    }
    return OK;
}

static Status parse_all(Parse *parse)
{
    CommandLine *line = parse->line;
    bool words_only = false;
    while (parse->next < parse->end && !line->help) {
        char *argument = *parse->next++;
        if (words_only || argument[0] != '-' || argument[1] == '\0') {
            line->words[line->word_count++] = argument;
        } else if (strcmp(argument, "--") == 0) {
            words_only = true;
        } else if ((argument[1] == '-' ? parse_long(parse, argument + 2)
                                       : parse_letters(parse, argument + 1)) != OK) {
            return FAILED;
        }
    }
    return OK;
}

Status command_parse(const Command *command, int argc, char **argv, CommandLine *ret_line,
                     Text *wrong, bool *ret_usage)
{
    assert(argc > 0 && command->form_count > 0);
    const Flag *flags = command->flags != NULL ? command->flags : NO_FLAGS;
    *ret_line = (CommandLine){.command = command,
                              .options = x_calloc(1, command->options_size + 1),
                              .words = x_calloc((size_t)argc, sizeof(argv[0]))};
    *ret_usage = false;
    if (command->defaults != NULL) {
        memcpy(ret_line->options, command->defaults, command->options_size);
    }
    Parse parse = {.line = ret_line,
                   .flags = flags,
                   .next = argv + 1,
                   .end = argv + argc,
                   .wrong = wrong,
                   .usage = ret_usage};
    if (parse_all(&parse) != OK) {
        command_rules_guess(ret_line);
        return FAILED;
    }
    return ret_line->help ? OK : command_rules_check(ret_line, wrong, ret_usage);
}
