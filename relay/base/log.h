/* log: one line per fact to stderr, logfmt or JSON. No payloads, no secrets.
 *
 * Under systemd (JOURNAL_STREAM set) each line begins with "<N>", the syslog priority; else with
 * the time of day. Callable from any thread; whoever writes is not held up by a reader that does
 * not read (base/log_output.h). */
#pragma once

#include <stddef.h>

#include "base/error.h"

typedef enum LogLevel { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR } LogLevel;
typedef enum LogFormat { LOG_FORMAT_LOGFMT, LOG_FORMAT_JSON } LogFormat;

typedef struct LogField {
    const char *key;
    const char *text; /* NULL: number holds the value */
    long long number;
} LogField;

static inline LogField log_text(const char *key, const char *text)
{
    return (LogField){.key = key, .text = text ? text : ""};
}

static inline LogField log_number(const char *key, long long number)
{
    return (LogField){.key = key, .number = number};
}

/** Sets the format and the least level that is written; the default is logfmt, info. */
void log_configure(LogFormat format, LogLevel least);

/** Writes one line. pipeline may be NULL; fields[count] follow.
 * An empty "hint" is left out; a line that warns and has none gets the remedy of its code. */
void log_write(LogLevel level, const char *pipeline, ErrorCode code, const LogField *fields,
               size_t count, const char *format, ...) __attribute__((format(printf, 6, 7)));

/** Tells of lines that were lost, when the log takes lines again and nothing else is to be said.
 * Never waits. */
void log_tell_loss(void);

/** Writes an error with its code, class and hint; what says what we do next ("retrying in 800 ms"),
 * or is NULL. */
void log_error(LogLevel level, const char *pipeline, const Error *err, const char *what);

/* Fields in place: log_write(LOG_INFO, name, CODE_READY, LOG_FIELDS(log_text("topic", t)), "text")
 */
#define LOG_FIELDS(...)                                                                            \
    (const LogField[]){__VA_ARGS__}, sizeof((const LogField[]){__VA_ARGS__}) / sizeof(LogField)
#define LOG_NO_FIELDS NULL, 0
