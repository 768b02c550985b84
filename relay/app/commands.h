/* commands: every sub-command, in the order in which help shows them. COMMAND_RUN and so on stand
 * in the cmd_*.c files; main.c makes the list. */
#pragma once

#include "command/command.h"

#define COMMANDS(X)                                                                                \
    X(RUN)                                                                                         \
    X(MIGRATE)                                                                                     \
    X(CHECK)                                                                                       \
    X(STATUS)                                                                                      \
    X(PAUSE)                                                                                       \
    X(RESUME)                                                                                      \
    X(DEAD)                                                                                        \
    X(CONFIG)                                                                                      \
    X(EXPLAIN)                                                                                     \
    X(VERSION)

#define COMMAND_DECLARE(name) extern const Command COMMAND_##name;
COMMANDS(COMMAND_DECLARE)
