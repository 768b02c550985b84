/* arguments: what everybody on this machine can read of a process by ps. */
#pragma once

/** Overwrites each --dsn of argv that holds a secret with its masked form; argv points to copies
 * then. Call it before anything reads argv. */
void arguments_hide(int argc, char **argv);
