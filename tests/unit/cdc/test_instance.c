/* Two connection strings, one server? */
#include <criterion/criterion.h>
#include <string.h>

#include "cdc/instance.h"

static const Instance FIRST = {.told = true,
                               .system_id = "7312345678901234567",
                               .database = "shop",
                               .started = "1764383491.123456"};

static void refused(const Instance *second, ErrorCode code, ErrorClass class, const char *what)
{
    AUTO_ERROR err = {0};
    cr_assert_eq(instance_compare(&FIRST, second, &err), FAILED);
    cr_assert_eq(err.code, code);
    cr_assert_eq(err.class, class);
    cr_assert_not_null(strstr(error_message(&err), what), "%s", error_message(&err));
    cr_assert_str_neq(error_remedy(&err), "");
}

Test(instance, the_same_run_of_the_same_server)
{
    Instance second = FIRST;
    AUTO_ERROR err = {0};
    cr_assert_eq(instance_compare(&FIRST, &second, &err), OK);
}

Test(instance, another_server_is_refused)
{
    Instance second = FIRST;
    strcpy(second.system_id, "7312345678901234568");
    strcpy(second.database, "other");
    refused(&second, CODE_REPLICATION_DSN, ERROR_FATAL, "7312345678901234568");
}

Test(instance, another_database_is_refused)
{
    Instance second = FIRST;
    strcpy(second.database, "other");
    strcpy(second.started, "1764383491.2");
    refused(&second, CODE_REPLICATION_DSN, ERROR_FATAL, "'other'");
}

Test(instance, a_copy_or_another_run_is_not_read)
{
    Instance second = FIRST;
    strcpy(second.started, "1764383491.2");
    refused(&second, CODE_REPLICATION_RESTARTED, ERROR_RETRY, "not started at the same time");
}
