/* outboxd explain CODE | --markdown */
#include <stdio.h>
#include <string.h>

#include "app/commands.h"
#include "base/error.h"
#include "base/log_codes.h"
#include "command/screen.h"
#include "config/nearest.h"

typedef struct ExplainOptions {
    bool markdown;
} ExplainOptions;

static int explain_unknown(const char *code)
{
    Nearest nearest = nearest_begin(code);
    const char *meant = NULL;
    size_t count = 0;
    const LogCodeGroup *groups = log_code_groups(&count);
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < groups[i].count; j++) {
            if (nearest_offer(&nearest, groups[i].codes[j].name)) {
                meant = groups[i].codes[j].name;
            }
        }
    }
    AUTO_BUFFER safe = TEXT_EMPTY;
    screen_add(&safe, false, COLOUR_NONE, code);
    (void)fprintf(stderr, "outboxd explain: no code '%s'%s%s%s\n", text_string(&safe),
                  meant != NULL ? "; did you mean "
                                : "; for all codes, run: outboxd explain --markdown",
                  meant != NULL ? meant : "", meant != NULL ? "?" : "");
    return EXIT_CONFIG;
}

static int explain_command(CommandLine *line)
{
    const ExplainOptions *options = line->options;
    AUTO_BUFFER out = TEXT_EMPTY;
    if (options->markdown) {
        log_codes_add_markdown(&out);
    } else {
        ErrorCode found = error_code_find(line->words[0]);
        if (found == CODE_NONE) {
            return explain_unknown(line->words[0]);
        }
        const LogCode *code = log_code_of(found);
        text_printf(&out, "%s (%s)\n  meaning  %s\n  remedy   %s\n", code->name, code->levels,
                    code->meaning, code->remedy[0] != '\0' ? code->remedy : "None needed.");
    }
    return screen_write("outboxd explain", &out, EXIT_OK, NULL);
}

static const CommandForm FORMS[] = {
    {.argument = "CODE", .plural = "a code", .least = 1, .most = 1, .or_flag = "markdown"}};
static const Flag FLAGS[] = {{.name = "markdown",
                              FLAG_SWITCH(ExplainOptions, markdown),
                              .help = "print all codes as Markdown (relay/LOGS.md)"},
                             {0}};

const Command COMMAND_EXPLAIN = {
    .name = "explain",
    .summary = "explains the code of a log line or error",
    .about = "Says what the code of a log line, an error or a dead letter means, and what to do.",
    .forms = FORMS,
    .form_count = COMMAND_COUNT_OF(FORMS),
    .flags = FLAGS,
    .options_size = sizeof(ExplainOptions),
    .run = explain_command,
};
