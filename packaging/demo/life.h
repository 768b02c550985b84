/* life.h - how the programs of the demonstration begin and end.
 *
 * Each of them is started by packaging/quickstart and must never outlive it, whatever kills it.
 * Called from main() only. */
#ifndef DEMO_LIFE_H
#define DEMO_LIFE_H

#include <stdint.h>
#include <stdnoreturn.h>

/* Asks the kernel to send SIGTERM to this process when its parent ends; exits at once when the
 * parent has already ended. */
void life_tie_to_parent(void);

/* Parses 'text' as a decimal integer between 'min' and 'max', or ends the program with exit code 1
 * and a message that names 'option'. */
int life_parse_int(const char *option, const char *text, int min, int max);

/* Prints "PROGRAM: message" to stderr and ends the program with exit code 'code'. */
noreturn void life_fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Microseconds of the wall clock since 1970. */
int64_t life_now_us(void);

/* Microseconds of a clock that never jumps; its zero means nothing. */
int64_t life_monotonic_us(void);

#endif
