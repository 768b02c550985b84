#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "command/command_parse.h"

typedef struct Options {
    ConfigOverrides overrides;
    bool quick;
    bool quiet;
    bool loud;
    bool tagged;
    int64_t count;
    int64_t page;
    double watch;
    int colour;
    StringList tags;
} Options;

enum { EAT, COOK, FORMS };

static const char *const COLOURS[] = {"red", "blue", NULL};

static const char *tag_valid(const char *text)
{
    return *text == '\0' ? "a tag" : NULL;
}

static const CommandForm VERBS[FORMS] = {
    [EAT] = {.verb = "eat", .plural = "dishes", .help = "eats"},
    [COOK] = {.verb = "cook",
              .argument = "DISH",
              .plural = "dishes",
              .least = 1,
              .most = 3,
              .or_flag = "quick",
              .help = "cooks"},
};
static const CommandForm PLAIN[] = {{.argument = "WORD", .plural = "words", .most = 2}};
enum { UP, DOWN, ASIDE };
static const CommandForm MODES[] = {[DOWN] = {.flag = "count"}, [ASIDE] = {.flag = "quick"}};

#define COMMON                                                                                     \
    {FLAG_CONFIG(Options, overrides)}, {FLAG_DSN(Options, overrides)},                             \
        {.name = "colour", FLAG_CHOICE(Options, colour), .choices = COLOURS, .help = "x"},         \
        {.name = "tag",                                                                            \
         .value = "TAG",                                                                           \
         FLAG_LIST(Options, tags),                                                                 \
         .valid = tag_valid,                                                                       \
         .help = "x"},                                                                             \
    {                                                                                              \
        .name = "watch", .value = "SECONDS", FLAG_SECONDS(Options, watch), .help = "x"             \
    }

static const Flag FLAGS[] = {
    COMMON,
    {.name = "quick", .letter = 'q', FLAG_SWITCH(Options, quick), .help = "x"},
    {.name = "quiet", .letter = 'Q', FLAG_SWITCH(Options, quiet), .group = 1, .help = "x"},
    {.name = "loud", FLAG_SWITCH(Options, loud), .group = 1, .help = "x"},
    {.name = "tagged", FLAG_SWITCH(Options, tagged), .help = "x"},
    {.name = "count",
     .value = "N",
     FLAG_COUNT(Options, count),
     .least = -2,
     .most = 9,
     .help = "x"},
    {.name = "page",
     .value = "N",
     FLAG_COUNT(Options, page),
     .noun = "page",
     .least = 1,
     .needs = "count",
     .why = "pages are counted",
     .help = "x"},
    {0}};
static const Flag VERB_FLAGS[] = {
    {.name = "quick", FLAG_SWITCH(Options, quick), .forms = COMMAND_FORM(COOK), .help = "x"},
    {.name = "quiet", FLAG_SWITCH(Options, quiet), .help = "x"},
    {0}};
static const Flag MODE_FLAGS[] = {
    {FLAG_DSN(Options, overrides)},
    {.name = "count",
     .value = "N",
     FLAG_COUNT(Options, count),
     .forms = COMMAND_FORM(DOWN),
     .help = "x"},
    {.name = "quick", FLAG_SWITCH(Options, quick), .forms = COMMAND_FORM(ASIDE), .help = "x"},
    {.name = "colour",
     FLAG_CHOICE(Options, colour),
     .choices = COLOURS,
     .forms = COMMAND_FORM(UP),
     .help = "x"},
    {.name = "loud", FLAG_SWITCH(Options, loud), .forms = COMMAND_FORM(UP), .help = "x"},
    {0}};
static const FlagRule RULES[] = {{"loud", "quick", "quick is never loud"}, {0}};
static const Options DEFAULTS = {.count = 5, .page = 7};

#define COMMAND(forms_, flags_, rules_)                                                            \
    {                                                                                              \
        .name = "x", .forms = (forms_), .form_count = COMMAND_COUNT_OF(forms_), .flags = (flags_), \
        .rules = (rules_), .options_size = sizeof(Options), .defaults = &DEFAULTS                  \
    }
static const Command WORDS = COMMAND(PLAIN, FLAGS, RULES);
static const Command DISHES = COMMAND(VERBS, VERB_FLAGS, NULL);
static const Command MIGRATION = COMMAND(MODES, MODE_FLAGS, NULL);

static CommandLine line;
static Text wrong;
static bool usage;

static void release(void)
{
    command_line_free(&line);
    text_free(&wrong);
}

TestSuite(command_parse, .fini = release);

#define ARGUMENTS_MAX 16

/* Arguments are parted by blanks; "''" is an empty one. */
static Status parse(const Command *command, const char *arguments)
{
    static char text[256];
    static char *argv[ARGUMENTS_MAX];
    release();
    (void)snprintf(text, sizeof(text), "x %s", arguments);
    int argc = 0;
    char *rest = NULL;
    for (char *word = strtok_r(text, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        cr_assert_lt(argc, ARGUMENTS_MAX);
        argv[argc++] = strcmp(word, "''") == 0 ? word + 2 : word;
    }
    return command_parse(command, argc, argv, &line, &wrong, &usage);
}

static const Options *taken(const Command *command, const char *arguments)
{
    cr_assert_eq(parse(command, arguments), OK, "%s: %s", arguments, text_string(&wrong));
    cr_assert_str_eq(text_string(&wrong), "");
    return line.options;
}

static void refused(const Command *command, const char *arguments, const char *text)
{
    cr_assert_eq(parse(command, arguments), FAILED, "%s is taken", arguments);
    cr_assert_str_eq(text_string(&wrong), text);
}

Test(command_parse, nothing_gives_the_defaults)
{
    const Options *options = taken(&WORDS, "");
    cr_assert_eq(options->count, 5);
    cr_assert_eq(options->page, 7);
    cr_assert_null(options->overrides.file);
    cr_assert_eq(line.given, 0);
    cr_assert_eq(line.word_count, 0);
}

Test(command_parse, a_value_follows_or_is_joined)
{
    static const char *const WAYS[] = {"-c a.conf", "-ca.conf", "--config a.conf",
                                       "--config=a.conf", "-qca.conf"};
    for (size_t i = 0; i < COMMAND_COUNT_OF(WAYS); i++) {
        cr_assert_str_eq(taken(&WORDS, WAYS[i])->overrides.file, "a.conf", "%s", WAYS[i]);
        cr_assert(command_line_has(&line, "config"));
    }
    cr_assert_str_eq(taken(&WORDS, "--dsn=host=db port=1")->overrides.dsn, "host=db");
    cr_assert_str_eq(taken(&WORDS, "--dsn=")->overrides.dsn, "");
    cr_assert_str_eq(taken(&WORDS, "--dsn ''")->overrides.dsn, "");
    cr_assert_str_eq(taken(&WORDS, "--dsn --quick")->overrides.dsn, "--quick");
    cr_assert_str_eq(taken(&WORDS, "--dsn --")->overrides.dsn, "--");
}

Test(command_parse, letters_can_stand_together)
{
    const Options *options = taken(&WORDS, "-qQ");
    cr_assert(options->quick && options->quiet);
    refused(&WORDS, "-qz", "unknown option '-z'");
    refused(&WORDS, "-qc", "a value is missing after --config");
}

Test(command_parse, any_beginning_that_one_flag_has_is_enough)
{
    cr_assert(taken(&WORDS, "--quic")->quick);
    cr_assert_str_eq(taken(&WORDS, "--d=x")->overrides.dsn, "x");
    cr_assert(taken(&WORDS, "--he")->quick == false && line.help);
    refused(&WORDS, "--qui", "'--qui' is short for --quick and for --quiet: write it out");
    refused(&WORDS, "--co=3",
            "'--co' is short for --config and for --colour and for --count: "
            "write it out");
}

Test(command_parse, an_unknown_flag_is_named_with_the_nearest_and_without_its_value)
{
    refused(&WORDS, "--colr blue", "unknown option '--colr'; did you mean '--colour'?");
    cr_assert_not(usage);
    refused(&WORDS, "--dsm=secret", "unknown option '--dsm'; did you mean '--dsn'?");
    refused(&WORDS, "--frobnicate=secret", "unknown option '--frobnicate'");
    cr_assert(usage);
    cr_assert_str_eq(line.unknown, "frobnicate");
    refused(&WORDS, "--=x", "unknown option '--'");
    refused(&WORDS, "-1", "unknown option '-1'");
    refused(&WORDS, "--\x1b[2J", "unknown option '--?[2J'");
}

Test(command_parse, a_missing_value_and_one_too_many_are_refused)
{
    refused(&WORDS, "--dsn", "a value is missing after --dsn");
    refused(&WORDS, "a --tag", "a value is missing after --tag");
    refused(&WORDS, "--quick=yes", "--quick takes no value");
    refused(&WORDS, "--help=yes", "--help takes no value");
}

Test(command_parse, the_last_of_a_repeated_flag_counts_and_lists_grow)
{
    cr_assert_str_eq(taken(&WORDS, "--dsn a --dsn b")->overrides.dsn, "b");
    cr_assert_eq(taken(&WORDS, "--count 1 --count 2")->count, 2);
    const Options *options = taken(&WORDS, "--tag a --tag=b --tag c");
    cr_assert_eq(options->tags.count, 3U);
    cr_assert_str_eq(options->tags.items[2], "c");
    refused(&WORDS, "--tag a --tag ''", "--tag takes a tag, not ''");
    cr_assert_eq(taken(&WORDS, "--tag a")->tags.count, 1U, "a name that begins another is itself");
    cr_assert(taken(&WORDS, "--tagg")->tagged);
}

Test(command_parse, words_stand_anywhere_and_two_dashes_end_the_flags)
{
    cr_assert(taken(&WORDS, "a --quick b")->quick);
    cr_assert_eq(line.word_count, 2);
    cr_assert_str_eq(line.words[0], "a");
    cr_assert_str_eq(line.words[1], "b");
    cr_assert_not(taken(&WORDS, "-- --quick -1")->quick);
    cr_assert_str_eq(line.words[0], "--quick");
    cr_assert_str_eq(line.words[1], "-1");
    taken(&WORDS, "-");
    cr_assert_str_eq(line.words[0], "-");
    refused(&WORDS, "a b c", "one argument too many is 'c'");
}

Test(command_parse, counts_may_be_negative_and_know_their_range)
{
    cr_assert_eq(taken(&WORDS, "--count -2")->count, -2);
    cr_assert_eq(taken(&WORDS, "--count=9")->count, 9);
    cr_assert_eq(taken(&WORDS, "--count 1 --page 9223372036854775807")->page, INT64_MAX);
    refused(&WORDS, "--count -3", "--count: '-3' is not a number from -2 to 9");
    refused(&WORDS, "--count 10", "--count: '10' is not a number from -2 to 9");
    refused(&WORDS, "--count 1x", "--count: '1x' is not a number from -2 to 9");
    refused(&WORDS, "--count=", "--count: '' is not a number from -2 to 9");
    refused(&WORDS, "--page 9223372036854775808",
            "--page: '9223372036854775808' is not a page from 1");
}

Test(command_parse, seconds_are_one_unless_they_are_joined)
{
    cr_assert_float_eq(taken(&WORDS, "--watch")->watch, 1, 1e-9);
    cr_assert_float_eq(taken(&WORDS, "--watch=0.5")->watch, 0.5, 1e-9);
    taken(&WORDS, "--watch 5");
    cr_assert_str_eq(line.words[0], "5");
    static const char *const NONE[] = {"0", "nan", "-1", "1e9", "", "5s"};
    for (size_t i = 0; i < COMMAND_COUNT_OF(NONE); i++) {
        char argument[32];
        (void)snprintf(argument, sizeof(argument), "--watch=%s", NONE[i]);
        cr_assert_eq(parse(&WORDS, argument), FAILED, "%s", argument);
        cr_assert(strstr(text_string(&wrong), "a number of seconds from 0.1 to 3600") != NULL);
    }
}

Test(command_parse, a_choice_is_one_of_its_list_and_the_default_is_as_not_given)
{
    cr_assert_eq(taken(&WORDS, "--colour blue")->colour, 1);
    cr_assert(command_line_has(&line, "colour"));
    cr_assert_eq(taken(&WORDS, "--colour blue --colour red")->colour, 0);
    cr_assert_not(command_line_has(&line, "colour"));
    refused(&WORDS, "--colour green", "--colour must be red or blue, not 'green'");
}

Test(command_parse, help_is_asked_for_whatever_else_is_there)
{
    taken(&WORDS, "-h --no-such");
    cr_assert(line.help);
    taken(&WORDS, "--quiet --loud --help");
    cr_assert(line.help);
    taken(&DISHES, "--help");
    cr_assert(line.help);
    taken(&WORDS, "-- --help");
    cr_assert_not(line.help);
    taken(&WORDS, "--dsn --help");
    cr_assert_not(line.help);
}

Test(command_parse, what_excludes_each_other_or_stands_alone_is_refused)
{
    refused(&WORDS, "--loud --quiet", "--quiet and --loud exclude each other");
    refused(&WORDS, "--loud -q", "quick is never loud");
    refused(&WORDS, "--page 2", "--page goes with --count: pages are counted");
    cr_assert_eq(taken(&WORDS, "--page 2 --count 1")->page, 2);
}

Test(command_parse, a_verb_chooses_the_form)
{
    taken(&DISHES, "cook soup --quiet cake");
    cr_assert_eq(line.form, &VERBS[COOK]);
    cr_assert_eq(line.word_count, 2);
    cr_assert_str_eq(line.words[0], "soup");
    cr_assert_str_eq(line.words[1], "cake");
    cr_assert(taken(&DISHES, "cook --quick")->quick);
    taken(&DISHES, "--quiet eat");
    cr_assert_eq(line.form, &VERBS[EAT]);
    refused(&DISHES, "", "what? eat or cook");
    refused(&DISHES, "coko", "eat or cook, not 'coko'; did you mean 'cook'?");
    refused(&DISHES, "cook", "cook: which? Give dishes, or --quick");
    refused(&DISHES, "cook soup --quick", "cook: either dishes or --quick");
    refused(&DISHES, "cook a b c d", "one argument too many is 'd'");
    refused(&DISHES, "eat soup", "eat takes no dishes; it was given 'soup'");
    refused(&DISHES, "eat --quick", "--quick belongs to cook; eat takes dishes");
    refused(&DISHES, "cook --frobnicate", "unknown option '--frobnicate'");
    cr_assert_eq(line.form, &VERBS[COOK]);
}

Test(command_parse, a_flag_chooses_the_form)
{
    taken(&MIGRATION, "--dsn x");
    cr_assert_eq(line.form, &MODES[UP]);
    taken(&MIGRATION, "--count 0 --dsn x");
    cr_assert_eq(line.form, &MODES[DOWN]);
    taken(&MIGRATION, "--count 0 --colour red");
    refused(&MIGRATION, "--count 0 --quick", "--count and --quick exclude each other");
    refused(&MIGRATION, "--count 0 --colour blue",
            "--count goes with --dsn only: it has no use for --colour");
    refused(&MIGRATION, "--quick more", "--quick takes no arguments; it was given 'more'");
    refused(&MIGRATION, "more", "it takes no argument 'more'");
}

Test(command_parse, a_stray_connection_string_is_shown_without_its_password)
{
    refused(&MIGRATION, "postgres://u:hush@h/d", "it takes no argument 'postgres://u:***@h/d'");
    refused(&MIGRATION, "password=hush", "it takes no argument 'password=***'");
}
