/* memory: allocation that cannot fail, and clean-up attributes.
 *
 * A daemon of a few megabytes that cannot get another kilobyte has nothing sensible left to do: x_*
 * functions end the process (exit code 70). Nothing is lost: what was not acknowledged is published
 * again after the restart. */
#pragma once

#include <stddef.h>

/** What is called before that (base/fatal.h); it may not return. NULL: a line on stderr is all. */
void memory_on_end(void (*say)(void));

/** Ends the process: a library was refused memory. */
_Noreturn void memory_refused(void);

void *x_malloc(size_t bytes);
void *x_calloc(size_t count, size_t bytes);
void *x_realloc(void *old, size_t bytes);
/** More room for an array of *capacity items, 0 with NULL: twice as much, which *capacity is then.
 */
void *x_grow(void *items, size_t *capacity, size_t item_bytes);
char *x_strdup(const char *text);
/** A NUL-terminated copy of length bytes. */
char *x_strndup(const char *text, size_t length);
/** printf into a fresh string that the caller frees. */
char *x_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

void memory_free_text(char **text);
/* A local string that frees itself. */
#define AUTO_TEXT                 __attribute__((cleanup(memory_free_text))) char *
#define AUTO(type, free_function) __attribute__((cleanup(free_function))) type *
