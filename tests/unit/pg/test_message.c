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
             "invalid port number: \"s3cret pass\"\n\tIs it  there?\n");
    AUTO_TEXT message = pg_message(&conn);
    cr_assert_str_eq(message, "invalid port number: \"***\" Is it there?");
}

Test(message, no_connection_at_all_has_a_text_too)
{
    AUTO_TEXT message = pg_message(NULL);
    cr_assert_str_eq(message, "connection pointer is NULL");
}
