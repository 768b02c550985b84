/* token_interrupt: a command that is interrupted while it waits for a program ends the program
 * first, and then itself, as the signal would have.
 *
 * For a command, which has one run at a time, in one thread. */
#pragma once

/** From here on SIGINT, SIGTERM and SIGHUP write to cancel_fd (TokenRun), unless they are ignored
 * or handled. */
void token_interrupt_begin(int cancel_fd);

/** As it was before. A signal that came between takes effect: this may not return. */
void token_interrupt_end(void);
