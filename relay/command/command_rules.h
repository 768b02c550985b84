/* command_rules: which form of a command a line asks for, and whether flags and arguments go
 * together. Called by command_parse alone. */
#pragma once

#include "base/text.h"
#include "command/command.h"

/** Finds line->form where the words that were read so far tell it; else it stays NULL. */
void command_rules_guess(CommandLine *line);

/** Finds line->form and takes its verb off the words, then checks everything. FAILED as
 * command_parse. */
Status command_rules_check(CommandLine *line, Text *wrong, bool *ret_usage);
