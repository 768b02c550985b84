#include <criterion/criterion.h>
#include <stdio.h>

#include "base/memory.h"
#include "pg/message.h"
#include "stub/libpq_internal.h"

/* The stub's password is "s3cret pass". */
Test(message, a_text_of_libpq_is_one_line_without_the_password)
{
    PGconn conn = {0};
    snprintf(conn.error, sizeof(conn.error),
             "invalid port number: \"s3cret pass\"\nDETAIL:  it  is\n");
    AUTO_TEXT message = pg_message(&conn);
    cr_assert_str_eq(message, "invalid port number: \"***\" DETAIL: it is");
}

Test(message, a_short_password_is_hidden_as_a_value_and_no_word_is_torn)
{
    static const struct {
        const char *password;
        const char *text;
        const char *shown;
    } CASES[] = {
        {"a", "invalid value \"a\" for a parameter", "invalid value \"***\" for a parameter"},
        {"a", "a name: postgresql://app:a@host/a?b=a&c",
         "a name: postgresql://app:***@host/a?b=***&c"},
        {"a", "password=a", "password=***"},
        {"abc", "'abc' in abcde, abc", "'***' in abcde, abc"},
        {"abcd", "abcde, xabcd", "***e, x***"},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        PGconn conn = {0};
        snprintf(conn.password, sizeof(conn.password), "%s", CASES[i].password);
        snprintf(conn.error, sizeof(conn.error), "%s", CASES[i].text);
        AUTO_TEXT message = pg_message(&conn);
        cr_assert_str_eq(message, CASES[i].shown);
    }
}

/* The stub's user is "relay", its host "db". */
Test(message, a_password_that_is_a_part_of_a_name_does_not_hide_the_name)
{
    PGconn conn = {0};
    snprintf(conn.password, sizeof(conn.password), "elay");
    snprintf(conn.error, sizeof(conn.error),
             "at \"db\": no place for role \"relay\", \"relayed\" or relay: \"elay\"");
    AUTO_TEXT message = pg_message(&conn);
    cr_assert_str_eq(message,
                     "at \"db\": no place for role \"relay\", \"r***ed\" or r***: \"***\"");
}

Test(message, what_libpq_guesses_is_left_out_and_each_server_is_told_apart)
{
    PGconn conn = {0};
    snprintf(conn.error, sizeof(conn.error),
             "connection to server at \"a\" failed: Connection refused\n\tIs the server running on "
             "that host and accepting TCP/IP connections?\nconnection to server at \"b\" failed: "
             "timeout expired\n");
    AUTO_TEXT message = pg_message(&conn);
    cr_assert_str_eq(message,
                     "connection to server at \"a\" failed: Connection refused; connection "
                     "to server at \"b\" failed: timeout expired");
    snprintf(conn.error, sizeof(conn.error),
             "server closed the connection unexpectedly\n\tThis probably means the server "
             "terminated abnormally\n\tbefore or while processing the request.\n");
    AUTO_TEXT lost = pg_message(&conn);
    cr_assert_str_eq(lost, "server closed the connection unexpectedly");
}

Test(message, no_connection_at_all_has_a_text_too)
{
    AUTO_TEXT message = pg_message(NULL);
    cr_assert_str_eq(message, "connection pointer is NULL");
}
