/* What all parts of `outboxd check` note: problems, warnings. */
#include "check/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static void check_add(Check *check, bool warning, const char *place, const char *remedy,
                      const char *format, va_list args) __attribute__((format(printf, 5, 0)));

static void check_add(Check *check, bool warning, const char *place, const char *remedy,
                      const char *format, va_list args)
{
    char *message = NULL;
    if (vasprintf(&message, format, args) >= 0) {
        problems_add(check->problems, warning, place, remedy, "%s", message);
        free(message);
    }
}

void check_problem(Check *check, ExitCode kind, const char *place, const char *remedy,
                   const char *format, ...)
{
    check->code = check->code == EXIT_OK ? kind : check->code;
    va_list args;
    va_start(args, format);
    check_add(check, false, place, remedy, format, args);
    va_end(args);
}

void check_warning(Check *check, const char *place, const char *remedy, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    check_add(check, true, place, remedy, format, args);
    va_end(args);
}

void check_free(Check *check)
{
    for (size_t i = 0; i < check->topic_count; i++) {
        free(check->topics[i].name);
        free(check->topics[i].user);
        free(check->topics[i].keyless_delete);
        free(check->topics[i].event);
        free(check->topics[i].record_event);
        free(check->topics[i].emit_limit);
    }
    free(check->topics);
    text_free(&check->facts);
}
