/* fatal: ends of the process that nobody can do anything about: the system refuses memory, a thread
 * or a descriptor. With a line that says so, and exit code 70. Nothing is lost: what was not
 * acknowledged is published again after the restart. Any thread. */
#pragma once

/** Of the relay, which logs: keeps back the memory that its last lines need, and gives libraries
 * that call abort() when memory is refused a line and an exit code, too. Before that, and in
 * commands, a plain line on stderr is all. */
void fatal_prepare(void);

/** What the system refused ("a thread"), and its errno. */
_Noreturn void fatal_refused(const char *what, int error);
