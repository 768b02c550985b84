/* How it works: message and hint lie side by side in one piece of memory that is never changed once
 * it is made. Who changes a text makes a new one, and lets go of the old one only then: arguments
 * may come from it. */
#include "base/error.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log_codes.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/utf8.h"

/* What others name or say may be megabytes, and is logged, stored and kept: beyond this it ends. */
enum { ERROR_TEXT_MAX = 65536 };

struct ErrorText {
    atomic_uint owners;
    unsigned hint; /* where it begins */
    char bytes[];  /* the message, NUL, the hint, NUL */
};

static ErrorText *text_new(const char *message, const char *hint)
{
    size_t length = strlen(message) + 1;
    size_t hint_length = strlen(hint) + 1;
    ErrorText *text = x_malloc(sizeof(*text) + length + hint_length);
    atomic_init(&text->owners, 1);
    text->hint = (unsigned)length;
    memcpy(text->bytes, message, length);
    memcpy(text->bytes + length, hint, hint_length);
    return text;
}

static ErrorText *text_share(ErrorText *text)
{
    if (text != NULL) {
        atomic_fetch_add_explicit(&text->owners, 1, memory_order_relaxed);
    }
    return text;
}

static void text_let_go(ErrorText *text)
{
    if (text != NULL && atomic_fetch_sub_explicit(&text->owners, 1, memory_order_acq_rel) == 1) {
        free(text);
    }
}

static void error_set_text(Error *err, const char *message, const char *hint)
{
    ErrorText *old = err->text;
    err->text = text_new(message, hint);
    text_let_go(old);
}

void error_clear(Error *err)
{
    if (err != NULL) {
        text_let_go(err->text);
        memset(err, 0, sizeof(*err));
    }
}

void error_copy(Error *to, const Error *from)
{
    ErrorText *old = to->text;
    text_share(from->text);
    memmove(to, from, sizeof(*to));
    text_let_go(old);
}

Error error_of(const Error *from)
{
    text_share(from->text);
    return *from;
}

__attribute__((format(printf, 1, 0))) static char *format_text(const char *format, va_list args)
{
    char *text = NULL;
    if (vasprintf(&text, format, args) < 0) {
        return x_strdup(format);
    }
    size_t length = strlen(text);
    if (length > ERROR_TEXT_MAX) {
        text[utf8_cut(text, length, ERROR_TEXT_MAX)] = '\0';
    }
    return text;
}

__attribute__((format(printf, 5, 0))) static void error_fill(Error *err, ErrorClass class,
                                                             ExitCode exit_code, ErrorCode code,
                                                             const char *format, va_list args)
{
    AUTO_TEXT message = text_fold(format_text(format, args)); /* libpq's may have several lines */
    error_set_text(err, message, "");
    err->class = class;
    err->exit_code = exit_code;
    err->code = code;
    memset(err->sqlstate, 0, sizeof(err->sqlstate));
    err->origin = 0;
    err->step = NULL;
}

Status error_set(Error *err, ErrorCode code, const char *format, ...)
{
    if (err == NULL) {
        return FAILED;
    }
    const LogCode *known = log_code_of(code);
    assert(known->class != ERROR_NONE); /* else the case decides: error_set_as */
    va_list args;
    va_start(args, format);
    error_fill(err, known->class, known->exit_code, code, format, args);
    va_end(args);
    return FAILED;
}

Status error_set_as(Error *err, ErrorClass class, ExitCode exit_code, ErrorCode code,
                    const char *format, ...)
{
    if (err == NULL) {
        return FAILED;
    }
    va_list args;
    va_start(args, format);
    error_fill(err, class, exit_code, code, format, args);
    va_end(args);
    return FAILED;
}

Status error_hint(Error *err, const char *format, ...)
{
    if (err == NULL) {
        return FAILED;
    }
    va_list args;
    va_start(args, format);
    AUTO_TEXT hint = format_text(format, args);
    va_end(args);
    error_set_text(err, error_message(err), hint);
    return FAILED;
}

Status error_advise(Error *err)
{
    return err != NULL ? error_hint(err, "%s", log_code_of(err->code)->remedy) : FAILED;
}

Status error_prefix(Error *err, const char *format, ...)
{
    if (err == NULL) {
        return FAILED;
    }
    va_list args;
    va_start(args, format);
    AUTO_TEXT prefix = format_text(format, args);
    va_end(args);
    AUTO_TEXT message = x_format("%s: %s", prefix, error_message(err));
    error_set_text(err, message, error_own_hint(err));
    return FAILED;
}

Status error_caused(Error *err, const Error *cause)
{
    if (err != NULL) {
        memcpy(err->sqlstate, cause->sqlstate, sizeof(err->sqlstate));
        err->origin = cause->origin;
        err->step = cause->step;
    }
    return FAILED;
}

const char *error_message(const Error *err)
{
    return err->text != NULL ? err->text->bytes : "";
}

const char *error_own_hint(const Error *err)
{
    return err->text != NULL ? err->text->bytes + err->text->hint : "";
}

const char *error_remedy(const Error *err)
{
    const char *own = error_own_hint(err);
    return *own != '\0' ? own : log_code_of(err->code)->remedy;
}

const char *error_class_name(ErrorClass class)
{
    switch (class) {
    case ERROR_RETRY:
        return "retry";
    case ERROR_POISON:
        return "poison";
    case ERROR_FATAL:
        return "fatal";
    case ERROR_NONE:
        break;
    }
    return "none";
}

bool error_same(const Error *a, const Error *b)
{
    return a->code == b->code && strcmp(error_message(a), error_message(b)) == 0;
}

bool error_same_hint(const Error *a, const Error *b)
{
    return strcmp(error_own_hint(a), error_own_hint(b)) == 0;
}

uint64_t error_hash(const Error *err)
{
    const uint64_t prime = UINT64_C(1099511628211); /* FNV-1a */
    uint64_t hash = UINT64_C(14695981039346656037) ^ (uint64_t)err->class;
    hash = (hash ^ (uint64_t)err->code) * prime;
    for (const char *c = error_message(err); *c != '\0'; c++) {
        hash = (hash ^ (unsigned char)*c) * prime;
    }
    return hash | 1;
}
