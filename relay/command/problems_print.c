#include "command/problems_print.h"

#include "base/text.h"

static void print_line(const char *lead, const char *text, FILE *out)
{
    AUTO_BUFFER line = TEXT_EMPTY;
    text_add_shown(&line, text, true); /* a remedy may be several lines of SQL */
    (void)fprintf(out, "%s%s\n", lead, text_string(&line));
}

void problems_print(const Problems *problems, FILE *out)
{
    for (size_t i = 0; i < problems->count; i++) {
        const Problem *problem = &problems->items[i];
        AUTO_BUFFER place = TEXT_EMPTY;
        text_add_shown(&place, problem->place, false);
        (void)fprintf(out, "%s: %s", text_string(&place), problem->warning ? "warning: " : "");
        print_line("", problem->message, out);
        if (problem->remedy != NULL) {
            print_line("  remedy: ", problem->remedy, out);
        }
    }
}

void error_print(const char *command, const Error *err)
{
    (void)fprintf(stderr, "outboxd %s: ", command);
    print_line("", error_message(err), stderr);
    if (error_own_hint(err)[0] != '\0') {
        print_line("  remedy: ", error_own_hint(err), stderr);
    }
}

/* `outboxd migrate && app` must not go on for want of a reason. */
ExitCode error_exit_code(const Error *err)
{
    return err->exit_code != EXIT_OK ? err->exit_code : EXIT_INTERNAL;
}
