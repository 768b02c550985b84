#include "base/memory.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log_output.h"

static void (*last_words)(void);

void memory_on_end(void (*say)(void))
{
    last_words = say;
}

void memory_refused(void)
{
    static const char text[] = "outboxd: out of memory\n";
    if (last_words != NULL) {
        last_words();
    }
    (void)log_output_write(text, sizeof(text) - 1);
    _exit(EXIT_INTERNAL);
}

static void *memory_check(void *memory)
{
    if (memory == NULL) {
        memory_refused();
    }
    return memory;
}

void *x_malloc(size_t bytes)
{
    return memory_check(malloc(bytes > 0 ? bytes : 1));
}

void *x_calloc(size_t count, size_t bytes)
{
    return memory_check(calloc(count > 0 ? count : 1, bytes > 0 ? bytes : 1));
}

void *x_realloc(void *old, size_t bytes)
{
    return memory_check(realloc(old, bytes > 0 ? bytes : 1));
}

void *x_grow(void *items, size_t *capacity, size_t item_bytes)
{
    enum { FIRST = 16 };
    size_t bytes = 0;
    size_t more = *capacity > 0 ? *capacity * 2 : FIRST;
    bool fits = more > *capacity && !__builtin_mul_overflow(more, item_bytes, &bytes);
    *capacity = more;
    return memory_check(fits ? realloc(items, bytes) : NULL);
}

char *x_strdup(const char *text)
{
    return memory_check(strdup(text));
}

char *x_strndup(const char *text, size_t length)
{
    char *copy = x_malloc(length + 1);
    memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

char *x_format(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = NULL;
    if (vasprintf(&text, format, args) < 0) {
        text = NULL;
    }
    va_end(args);
    return memory_check(text);
}

void memory_free_text(char **text)
{
    free(*text);
    *text = NULL;
}
