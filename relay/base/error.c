#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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

Status error_set(Error *err, ErrorClass class, ExitCode exit_code, const char *code,
                 const char *format, ...)
{
    if (err == NULL) {
        return FAILED;
    }
    va_list args;
    va_start(args, format);
    char message[sizeof(err->message)];
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    error_end(message, sizeof(message));
    char name[sizeof(err->code)]; /* code may point into *err */
    snprintf(name, sizeof(name), "%s", code);
    *err = (Error){.class = class, .exit_code = exit_code};
    memcpy(err->code, name, sizeof(name));
    memcpy(err->message, message, sizeof(message));
    text_fold(err->message); /* libpq's and librdkafka's have several lines */
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
