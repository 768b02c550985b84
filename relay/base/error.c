#include "base/error.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log_codes.h"
#include "base/text.h"
#include "base/utf8.h"

/* What did not fit may have been cut inside of a character. */
static void error_end(char *text, size_t size)
{
    size_t length = strlen(text);
    if (length + 1 == size) {
        text[utf8_cut(text, length, length)] = '\0';
    }
}

static Status error_fill(Error *err, ErrorClass class, ExitCode exit_code, ErrorCode code,
                         const char *format, va_list args)
{
    char message[sizeof(err->message)];
    vsnprintf(message, sizeof(message), format, args);
    error_end(message, sizeof(message));
    *err = (Error){.class = class, .exit_code = exit_code, .code = code};
    memcpy(err->message, message, sizeof(message));
    text_fold(err->message); /* libpq's and librdkafka's have several lines */
    return FAILED;
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
    vsnprintf(err->hint, sizeof(err->hint), format, args);
    va_end(args);
    error_end(err->hint, sizeof(err->hint));
    return FAILED;
}

Status error_prefix(Error *err, const char *format, ...)
{
    if (err == NULL) {
        return FAILED;
    }
    char prefix[256];
    va_list args;
    va_start(args, format);
    vsnprintf(prefix, sizeof(prefix), format, args);
    va_end(args);
    error_end(prefix, sizeof(prefix));
    char message[sizeof(err->message)];
    memcpy(message, err->message, sizeof(message));
    size_t kept = utf8_cut(message, strlen(message), sizeof(message) - sizeof(prefix) - 4);
    snprintf(err->message, sizeof(err->message), "%.255s: %.*s", prefix, (int)kept, message);
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

const char *error_remedy(const Error *err)
{
    return err->hint[0] != '\0' ? err->hint : log_code_of(err->code)->remedy;
}

bool error_same(const Error *a, const Error *b)
{
    return a->code == b->code && strcmp(a->message, b->message) == 0;
}

bool error_same_hint(const Error *a, const Error *b)
{
    return strcmp(a->hint, b->hint) == 0;
}

uint64_t error_hash(const Error *err)
{
    const uint64_t prime = UINT64_C(1099511628211); /* FNV-1a */
    uint64_t hash = UINT64_C(14695981039346656037) ^ (uint64_t)err->class;
    hash = (hash ^ (uint64_t)err->code) * prime;
    for (const char *c = err->message; *c != '\0'; c++) {
        hash = (hash ^ (unsigned char)*c) * prime;
    }
    return hash | 1;
}
