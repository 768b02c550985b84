/* command_pages: man pages and completions, made from the tables of commands, options and codes.
 * The build writes them with `outboxd help --man` and `outboxd help --completion`. */
#pragma once

#include "base/text.h"
#include "command/command.h"

/* The program: its commands in the order of help. */
typedef struct CommandSet {
    const Command *const *commands;
    size_t count;
} CommandSet;

/** Appends the man page of that name: "outboxd", "outboxd-run" and so on, or "outboxd.conf". False
 * when there is none. */
bool command_man_add(Text *out, const CommandSet *set, const char *page);

/** Appends the man page outboxd.conf(5), from the option table. */
void command_man_add_conf(Text *out);

/** Appends the script that completes command lines in a shell: "bash", "zsh" or "fish". False when
 * it is another one. */
bool command_completion_add(Text *out, const CommandSet *set, const char *shell);
