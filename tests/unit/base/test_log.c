#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"

/* What was written to stderr since log_capture(). */
static FILE *captured;
static int real_stderr;

static void log_capture(void)
{
    unsetenv("JOURNAL_STREAM");
    captured = tmpfile();
    real_stderr = dup(STDERR_FILENO);
    dup2(fileno(captured), STDERR_FILENO);
}

static const char *log_captured(void)
{
    static char content[16384];
    dup2(real_stderr, STDERR_FILENO);
    rewind(captured);
    content[fread(content, 1, sizeof(content) - 1, captured)] = '\0';
    return content;
}

Test(log, a_line_holds_level_pipeline_code_message_and_fields)
{
    log_capture();
    log_write(LOG_WARN, "orders", CODE_KAFKA_CONNECTED,
              LOG_FIELDS(log_text("topic", "orders.events"), log_number("backlog", 4411)),
              "waiting for %s", "kafka:9092");
    const char *line = log_captured();
    cr_assert_not_null(strstr(line,
                              "Z warn  pipeline=orders code=KAFKA_CONNECTED msg=\"waiting for "
                              "kafka:9092\" topic=orders.events backlog=4411\n"),
                       "%s", line);
}

Test(log, values_cannot_forge_fields_or_lines)
{
    log_capture();
    log_write(LOG_ERROR, NULL, CODE_READY,
              LOG_FIELDS(log_text("a", "1 b=2"), log_text("c", "d\ne=\"f\"")), "m");
    const char *line = log_captured();
    cr_assert_not_null(strstr(line, " a=\"1 b=2\" c=\"d e=\\\"f\\\"\"\n"), "%s", line);
    cr_assert_eq(strchr(line, '\n')[1], '\0', "one line");
}

Test(log, lines_below_the_least_level_are_not_written)
{
    log_capture();
    log_configure(LOG_FORMAT_LOGFMT, LOG_WARN);
    log_write(LOG_INFO, NULL, CODE_READY, LOG_NO_FIELDS, "quiet");
    log_write(LOG_WARN, NULL, CODE_STOPPED, LOG_NO_FIELDS, "loud");
    const char *line = log_captured();
    cr_assert_null(strstr(line, "quiet"));
    cr_assert_not_null(strstr(line, "loud"));
}

Test(log, json_lines_are_objects_with_the_same_facts)
{
    log_capture();
    log_configure(LOG_FORMAT_JSON, LOG_INFO);
    log_write(LOG_INFO, "orders", CODE_READY,
              LOG_FIELDS(log_text("q", "\"\xFF"), log_number("n", -7)), "up");
    json_t *object = json_loads(log_captured(), 0, NULL);
    cr_assert_not_null(object);
    cr_assert_str_eq(json_string_value(json_object_get(object, "level")), "info");
    cr_assert_str_eq(json_string_value(json_object_get(object, "pipeline")), "orders");
    cr_assert_str_eq(json_string_value(json_object_get(object, "code")), "READY");
    cr_assert_str_eq(json_string_value(json_object_get(object, "msg")), "up");
    cr_assert_str_eq(json_string_value(json_object_get(object, "q")), "\"\xEF\xBF\xBD");
    cr_assert_eq(json_integer_value(json_object_get(object, "n")), -7);
    json_decref(object);
}

Test(log, under_systemd_a_line_begins_with_its_priority_and_has_no_time)
{
    log_capture();
    setenv("JOURNAL_STREAM", "8:1", 1);
    log_write(LOG_ERROR, NULL, CODE_READY, LOG_NO_FIELDS, "m");
    cr_assert_str_eq(log_captured(), "<3>error code=READY msg=m\n");
}

Test(log, an_error_shows_its_class_hint_and_what_we_do)
{
    AUTO_ERROR err = {0};
    error_set_as(&err, ERROR_RETRY, EXIT_KAFKA, CODE_KAFKA_CONNECTED, "no broker");
    error_hint(&err, "Start one.");
    log_capture();
    log_error(LOG_WARN, "orders", &err, "retrying in 800 ms");
    const char *line = log_captured();
    cr_assert_not_null(strstr(line, "code=KAFKA_CONNECTED msg=\"no broker; retrying in 800 ms\" "
                                    "class=retry hint=\"Start one.\"\n"),
                       "%s", line);
}

Test(log, several_lines_are_one)
{
    log_capture();
    log_write(LOG_INFO, NULL, CODE_READY, LOG_FIELDS(log_text("a", "b\r\n\tc\n")), "one\n\ttwo\n");
    const char *line = log_captured();
    cr_assert_not_null(strstr(line, " msg=\"one two\" a=\"b c\"\n"), "%s", line);
}

Test(log, what_warns_has_the_remedy_of_its_code_unless_it_has_its_own)
{
    log_capture();
    log_write(LOG_WARN, NULL, CODE_POSTGRES_UNREACHABLE, LOG_FIELDS(log_text("hint", "")), "m");
    log_write(LOG_WARN, NULL, CODE_POSTGRES_UNREACHABLE, LOG_FIELDS(log_text("hint", "h")), "m");
    log_write(LOG_INFO, NULL, CODE_POSTGRES_UNREACHABLE, LOG_FIELDS(log_text("hint", "")), "m");
    log_write(LOG_WARN, NULL, CODE_READY, LOG_FIELDS(log_text("hint", "")), "m");
    const char *line = log_captured();
    cr_assert_not_null(strstr(line, "msg=m hint=\"Check database.dsn"), "%s", line);
    cr_assert_not_null(strstr(line, "msg=m hint=h\n"), "%s", line);
    cr_assert_not_null(strstr(line, "code=POSTGRES_UNREACHABLE msg=m\n"), "%s", line);
    cr_assert_not_null(strstr(line, "code=READY msg=m\n"), "%s", line);
}
