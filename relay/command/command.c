#include "command/command.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "config/lists.h"

void command_line_free(CommandLine *line)
{
    const Command *command = line->command;
    if (command == NULL) {
        return;
    }
    for (const Flag *flag = command->flags; flag != NULL && flag->name != NULL; flag++) {
        if (flag->kind == FLAG_KIND_LIST) {
            string_list_free((StringList *)((char *)line->options + flag->offset));
        }
    }
    free(line->unknown);
    free(line->options);
    free((void *)line->words);
    *line = (CommandLine){0};
}

bool command_line_has(const CommandLine *line, const char *name)
{
    const Flag *flags = line->command->flags;
    for (const Flag *flag = flags; flag != NULL && flag->name != NULL; flag++) {
        if (strcmp(flag->name, name) == 0) {
            return (line->given >> (flag - flags) & 1) != 0;
        }
    }
    assert(false); /* the command has no such flag */
    return false;
}
