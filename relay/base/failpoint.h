/* failpoint: places where a test makes the program fail. Compiled out unless OUTBOXD_FAILPOINTS.
 *
 * OUTBOXD_FAILPOINTS="name:count:action[,...]": at the count-th passage (1 = first) of `name`, do
 * the action once: kill (SIGKILL to ourselves), exit (code 70), abort, sleep:MS, error (the step
 * behaves as if it had failed). OUTBOXD_FAILPOINT_LOG names a file that gets a line
 * "name:count:action" for each action, before it is done: so that a test can tell a point that was
 * hit from one that was not.
 *
 * Two kinds of place: FAILPOINT(name) is a statement that is passed; FAILPOINT_FAILS(name, err)
 * is true, with *err filled in (NULL: not wanted), when the caller is to behave as if the step had
 * failed. Only the latter takes the action error. Which points there are and what they take stands
 * in the table of failpoint.c: failpoint_check() ends the program with code 1 for anything else,
 * and a place that is not in the table aborts. tests/README.md says what each stands for in the
 * fault matrix.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"

#ifdef OUTBOXD_FAILPOINTS

/* Reads and checks OUTBOXD_FAILPOINTS; call it before anything else. Prints what is wrong and ends
 * the program with EXIT_CONFIG when the list names a point or an action that does not exist. */
void failpoint_check(void);

void failpoint_pass(const char *name);
bool failpoint_fails(const char *name, Error *err);

#define FAILPOINT(name)            failpoint_pass(name)
#define FAILPOINT_FAILS(name, err) failpoint_fails(name, err)

#else

static inline void failpoint_check(void) {}
#define FAILPOINT(name)            ((void)0)
#define FAILPOINT_FAILS(name, err) ((void)(err), false)

#endif
