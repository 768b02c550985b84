/* command_parse: reads a command line as its table says. One thread; keeps nothing.
 *
 * As getopt_long does: flags and arguments in any order, `--` ends the flags, `--flag value` and
 * `--flag=value`, `-cFILE`, any beginning of a name that only one flag has; a value may begin with
 * a dash; of a flag that is given twice the last counts, but for lists. */
#pragma once

#include "base/text.h"
#include "command/command.h"

/** Reads argv (argv[0] is the command's name) into *ret_line, which command_line_free releases in
 * any case. FAILED: *wrong says what is wrong, in one line, and *ret_usage whether the usage would
 * help. After --help, ret_line->help is true and nothing is checked. */
Status command_parse(const Command *command, int argc, char **argv, CommandLine *ret_line,
                     Text *wrong, bool *ret_usage);
