/* outboxd explain CODE | --markdown */
#include <stdio.h>
#include <string.h>

#include "app/commands.h"
#include "app/screen.h"
#include "base/error.h"
#include "base/log_codes.h"
#include "config/nearest.h"

static const char USAGE[] =
    "usage: outboxd explain CODE\n"
    "       outboxd explain --markdown\n"
    "\n"
    "What the code of a log line, an error or a dead letter means, and what to do.\n"
    "--markdown prints all of them (relay/LOGS.md).\n";

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
                  meant != NULL ? "; did you mean " : "; see: outboxd explain --markdown",
                  meant != NULL ? meant : "", meant != NULL ? "?" : "");
    return EXIT_CONFIG;
}

int command_explain(int argc, char **argv)
{
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        (void)fputs(USAGE, stdout);
        return EXIT_OK;
    }
    if (argc != 2 || (argv[1][0] == '-' && strcmp(argv[1], "--markdown") != 0)) {
        (void)fputs(USAGE, stderr);
        return EXIT_CONFIG;
    }
    AUTO_BUFFER out = TEXT_EMPTY;
    if (strcmp(argv[1], "--markdown") == 0) {
        log_codes_add_markdown(&out);
    } else {
        ErrorCode found = error_code_find(argv[1]);
        if (found == CODE_NONE) {
            return explain_unknown(argv[1]);
        }
        const LogCode *code = log_code_of(found);
        text_printf(&out, "%s (%s)\n  meaning  %s\n  remedy   %s\n", code->name, code->levels,
                    code->meaning, code->remedy[0] != '\0' ? code->remedy : "None needed.");
    }
    return screen_write("outboxd explain", &out, EXIT_OK, NULL);
}
