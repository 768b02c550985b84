#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log_codes.h"
#include "base/log_output.h"
#include "base/memory.h"
#include "base/text.h"

/* Read by every thread, and changed by a reload. */
static struct {
    _Atomic LogFormat format;
    _Atomic LogLevel least;
} log_settings = {LOG_FORMAT_LOGFMT, LOG_INFO};

static const char *const LEVEL_NAMES[] = {"debug", "info", "warn", "error"};
static const int LEVEL_PRIORITIES[] = {7, 6, 4, 3}; /* syslog(3) */

void log_configure(LogFormat format, LogLevel least)
{
    log_settings.format = format;
    log_settings.least = least;
}

static bool log_needs_quotes(const char *value)
{
    if (*value == '\0') {
        return true;
    }
    for (const char *c = value; *c != '\0'; c++) {
        if ((unsigned char)*c <= ' ' || *c == '"' || *c == '=' || *c == '\\' ||
            (unsigned char)*c >= 0x7F) {
            return true;
        }
    }
    return false;
}

static void log_add_value(Text *line, const char *value)
{
    if (log_needs_quotes(value)) {
        text_add_json(line, slice_of(value));
    } else {
        text_add(line, value);
    }
}

static void log_add(Text *line, const LogField *field)
{
    /* What others say (libpq, librdkafka, a server) may have several lines: here it is one. */
    AUTO_TEXT text = field->text != NULL ? text_fold(x_strdup(field->text)) : NULL;
    if (log_settings.format == LOG_FORMAT_JSON) {
        text_add(line, line->data[line->length - 1] == '{' ? "" : ",");
        text_add_json(line, slice_of(field->key));
        text_add_char(line, ':');
        if (text != NULL) {
            text_add_json(line, slice_of(text));
        } else {
            text_printf(line, "%lld", field->number);
        }
        return;
    }
    text_printf(line, " %s=", field->key);
    if (text != NULL) {
        log_add_value(line, text);
    } else {
        text_printf(line, "%lld", field->number);
    }
}

static void log_begin(Text *line, LogLevel level)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct tm parts;
    gmtime_r(&now.tv_sec, &parts);
    char stamp[40];
    size_t used = strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(stamp + used, sizeof(stamp) - used, ".%03ldZ", now.tv_nsec / 1000000);

    bool journal = getenv("JOURNAL_STREAM") != NULL; // NOLINT(concurrency-mt-unsafe): never set
    if (journal) {
        text_printf(line, "<%d>", LEVEL_PRIORITIES[level]);
    }
    if (log_settings.format == LOG_FORMAT_JSON) {
        text_add_char(line, '{');
        log_add(line, &(LogField){.key = "time", .text = stamp});
        log_add(line, &(LogField){.key = "level", .text = LEVEL_NAMES[level]});
    } else {
        text_printf(line, "%s%s%-5s", journal ? "" : stamp, journal ? "" : " ", LEVEL_NAMES[level]);
    }
}

static void log_end(Text *line)
{
    text_add(line, log_settings.format == LOG_FORMAT_JSON ? "}\n" : "\n");
}

static bool log_is_hint(const LogField *field)
{
    return strcmp(field->key, "hint") == 0;
}

/* The fields; a line that warns has a remedy: its own, else that of its code. */
static void log_add_fields(Text *line, LogLevel level, ErrorCode code, const LogField *fields,
                           size_t count)
{
    bool hinted = level < LOG_WARN;
    for (size_t i = 0; i < count; i++) {
        bool hint = log_is_hint(&fields[i]);
        if (!hint || *fields[i].text != '\0') {
            log_add(line, &fields[i]);
            hinted |= hint;
        }
    }
    const char *remedy = hinted ? "" : log_code_of(code)->remedy;
    if (*remedy != '\0') {
        log_add(line, &(LogField){.key = "hint", .text = remedy});
    }
}

typedef struct LogLine {
    LogLevel level;
    const char *pipeline; /* NULL: of the program */
    ErrorCode code;
    const LogField *fields;
    size_t count;
} LogLine;

static void log_compose(Text *text, const LogLine *line, const char *message)
{
    log_begin(text, line->level);
    if (line->pipeline != NULL) {
        log_add(text, &(LogField){.key = "pipeline", .text = line->pipeline});
    }
    log_add(text, &(LogField){.key = "code", .text = error_code_name(line->code)});
    log_add(text, &(LogField){.key = "msg", .text = message});
    log_add_fields(text, line->level, line->code, line->fields, line->count);
    log_end(text);
}

/* Those before it that were lost, at the head of a line: both come through, or none. */
static void log_add_loss(Text *line, const LogLoss *loss)
{
    char room[128];
    const char *why = loss->reason == EAGAIN ? "nobody read them in time"
                                             : strerror_r(loss->reason, room, sizeof(room));
    AUTO_TEXT message =
        x_format("%llu log line%s before this %s lost: %s", (unsigned long long)loss->lines,
                 loss->lines == 1 ? "" : "s", loss->lines == 1 ? "was" : "were", why);
    LogField lines = log_number("lines", (long long)loss->lines);
    log_compose(
        line,
        &(LogLine){.level = LOG_WARN, .code = CODE_LOG_LINES_LOST, .fields = &lines, .count = 1},
        message);
}

void log_write(LogLevel level, const char *pipeline, ErrorCode code, const LogField *fields,
               size_t count, const char *format, ...)
{
    if (level < log_settings.least) {
        return;
    }
    AUTO_TEXT message = NULL;
    va_list args;
    va_start(args, format);
    bool said = vasprintf(&message, format, args) >= 0;
    va_end(args);
    message = said ? message : x_strdup(format);

    AUTO_BUFFER line = TEXT_EMPTY;
    LogLoss loss = log_output_take_loss();
    if (loss.lines > 0) {
        log_add_loss(&line, &loss);
    }
    log_compose(&line, &(LogLine){level, pipeline, code, fields, count}, message);
    if (!log_output_write(line.data, line.length)) {
        log_output_return_loss(loss);
    }
}

void log_tell_loss(void)
{
    LogLoss loss = LOG_WARN < log_settings.least ? (LogLoss){0} : log_output_take_loss();
    if (loss.lines == 0) {
        return;
    }
    AUTO_BUFFER line = TEXT_EMPTY;
    log_add_loss(&line, &loss);
    if (!log_output_offer(line.data, line.length)) {
        log_output_return_loss(loss);
    }
}

void log_error(LogLevel level, const char *pipeline, const Error *err, const char *what)
{
    LogField fields[2];
    size_t count = 0;
    fields[count++] = log_text("class", error_class_name(err->class));
    if (error_own_hint(err)[0] != '\0') {
        fields[count++] = log_text("hint", error_own_hint(err));
    }
    log_write(level, pipeline, err->code, fields, count, "%s%s%s", error_message(err),
              what != NULL ? "; " : "", what != NULL ? what : "");
}
