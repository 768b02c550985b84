#include <criterion/criterion.h>
#include <string.h>

#include "command/command_help.h"

typedef struct Options {
    ConfigOverrides overrides;
    bool hot;
    bool cold;
    bool salt;
    int64_t pinches;
    StringList herbs;
    double wait;
    int size;
} Options;

enum { EAT, COOK, FORMS };

static const char *const SIZES[] = {"small", "large", NULL};
static const CommandForm VERBS[FORMS] = {
    [EAT] = {.verb = "eat",
             .argument = "DISH",
             .plural = "dishes",
             .least = 1,
             .most = 9,
             .help = "takes what is there; a line that is longer than the rest of the screen is "
                     "broken between two words"},
    [COOK] = {.verb = "cook",
              .argument = "DISH",
              .plural = "dishes",
              .most = 1,
              .or_flag = "hot",
              .help = "makes it"},
};
static const Flag FLAGS[] = {
    {.name = "salt",
     .letter = 's',
     FLAG_SWITCH(Options, salt),
     .unsaid = COMMAND_FORM(EAT),
     .help = "more | less"},
    {.name = "pinches",
     .value = "N",
     FLAG_COUNT(Options, pinches),
     .needs = "salt",
     .forms = COMMAND_FORM(COOK),
     .help = "so many"},
    {.name = "herb",
     .value = "NAME",
     FLAG_LIST(Options, herbs),
     .needs = "salt",
     .forms = COMMAND_FORM(COOK),
     .help = "with it"},
    {.name = "hot", FLAG_SWITCH(Options, hot), .group = 1, .help = "all that is hot"},
    {.name = "cold",
     FLAG_SWITCH(Options, cold),
     .group = 1,
     .forms = COMMAND_FORM(EAT),
     .help = "all that is cold"},
    {.name = "wait", .value = "SECONDS", FLAG_SECONDS(Options, wait), .help = "later"},
    {.name = "size", FLAG_CHOICE(Options, size), .choices = SIZES, .help = "of the dish"},
    {0}};
static const CommandExit EXITS[] = {{0, "eaten"}, {70, "burnt"}, {0}};
static const Command KITCHEN = {
    .name = "kitchen",
    .summary = "dishes",
    .about = "First paragraph.\n\nSecond one.",
    .notes = "Wash up.",
    .forms = VERBS,
    .form_count = FORMS,
    .flags = FLAGS,
    .exits = EXITS,
    .options_size = sizeof(Options),
};

static const char USAGE[] =
    "usage: outboxd kitchen eat DISH... [--hot | --cold] [--wait[=SECONDS]]\n"
    "                       [--size small|large]\n"
    "       outboxd kitchen cook [DISH | --hot] [-s [--pinches N] [--herb NAME]...]\n"
    "                       [--wait[=SECONDS]] [--size small|large]\n";

static const char HELP[] =
    "\n"
    "First paragraph.\n"
    "\n"
    "Second one.\n"
    "\n"
    "eat       takes what is there; a line that is longer than the rest of the screen\n"
    "          is broken between two words\n"
    "cook      makes it\n"
    "\n"
    "  -s, --salt              more | less\n"
    "      --pinches N         so many\n"
    "      --herb NAME         with it; may be repeated\n"
    "      --hot               all that is hot\n"
    "      --cold              all that is cold\n"
    "      --wait[=SECONDS]    later\n"
    "      --size small|large  of the dish\n"
    "  -h, --help              show this help\n"
    "\n"
    "exit codes\n"
    "   0  eaten\n"
    "  70  burnt\n"
    "\n"
    "Wash up.\n";

Test(command_help, usage_shows_what_belongs_together)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    command_help_add_usage(&out, &KITCHEN, NULL, "usage: ");
    cr_assert_str_eq(text_string(&out), USAGE);
}

Test(command_help, usage_of_one_form_is_alone)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    command_help_add_usage(&out, &KITCHEN, &VERBS[COOK], "");
    cr_assert(strncmp(text_string(&out), "outboxd kitchen cook [DISH", 26) == 0);
    cr_assert_null(strstr(text_string(&out), "kitchen eat"));
}

Test(command_help, help_is_usage_text_verbs_flags_exit_codes_and_notes)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    command_help_add(&out, &KITCHEN);
    cr_assert(strncmp(text_string(&out), USAGE, strlen(USAGE)) == 0);
    cr_assert_str_eq(text_string(&out) + strlen(USAGE), HELP);
}

Test(command_help, the_page_escapes_what_would_end_a_cell)
{
    const Command *const list[] = {&KITCHEN};
    AUTO_BUFFER out = TEXT_EMPTY;
    command_markdown_add(&out, list, 1);
    cr_assert_not_null(strstr(text_string(&out), "\n| `-s, --salt` | more \\| less |\n"));
    cr_assert_not_null(strstr(text_string(&out), "\n| `--size small\\|large` | of the dish |\n"));
    cr_assert_not_null(
        strstr(text_string(&out), "\n| `--herb NAME` | with it; may be repeated |\n"));
    cr_assert_not_null(strstr(text_string(&out), "\n- **cook** makes it\n"));
    cr_assert_not_null(strstr(text_string(&out), "\n| 70 | burnt |\n"));
}
