/* ps and /proc/PID/cmdline show the memory that argv came in, so that is what is written over. */
#include "app/arguments.h"

#include <stddef.h>
#include <string.h>

#include "base/memory.h"
#include "config/mask.h"

enum { SHORTEST = 3 }; /* "--d": command_parse takes any beginning */

/* The value within an argument "--dsn=value", or NULL. */
static char *argument_value(char *argument)
{
    size_t name = strcspn(argument, "=");
    return name >= SHORTEST && strncmp(argument, "--dsn", name) == 0 && argument[name] == '='
               ? argument + name + 1
               : NULL;
}

static void argument_hide(char **argument, char *value)
{
    AUTO_TEXT masked = mask_dsn(value);
    if (strcmp(masked, value) == 0) {
        return;
    }
    char *original = *argument;
    size_t offset = (size_t)(value - original);
    size_t room = strlen(value);
    size_t length = strlen(masked) < room ? strlen(masked) : room;
    *argument = x_strdup(original); /* lives as long as the process */
    explicit_bzero(original + offset, room);
    for (size_t i = 0; i < length; i++) { /* what is left of the room stays NUL */
        original[offset + i] = masked[i];
    }
}

void arguments_hide(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        char *value = argument_value(argv[i]);
        if (value != NULL) {
            argument_hide(&argv[i], value);
            continue;
        }
        size_t length = strlen(argv[i]);
        if (length >= SHORTEST && strncmp(argv[i], "--dsn", length) == 0 && i + 1 < argc) {
            i++;
            argument_hide(&argv[i], argv[i]);
        }
    }
}
