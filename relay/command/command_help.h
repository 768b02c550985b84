/* command_help: what people read of the tables of commands, at most 80 columns wide. */
#pragma once

#include "base/text.h"
#include "command/command.h"

/** Appends the flag as it is written: "--down N", "--watch[=SECONDS]"; "-c FILE" where it has a
 * letter and may be short. */
void command_help_add_flag(Text *out, const Flag *flag, bool may_be_short);

/** Appends the lines of usage, each form's, after lead ("usage: "); only is the form to show, or
 * NULL for all. */
void command_help_add_usage(Text *out, const Command *command, const CommandForm *only,
                            const char *lead);

/** Appends all that `outboxd COMMAND --help` says. */
void command_help_add(Text *out, const Command *command);

/** Appends the overview that `outboxd help` prints. */
void command_help_add_all(Text *out, const Command *const *commands, size_t count);

/** Appends the reference of all commands as Markdown (COMMANDS.md). */
void command_markdown_add(Text *out, const Command *const *commands, size_t count);

/** Says on stderr what is wrong with a command line, and where the remedy stands. Returns
 * EXIT_CONFIG. */
int command_refuse(const Command *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
