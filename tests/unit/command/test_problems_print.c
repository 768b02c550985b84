#include <criterion/criterion.h>

#include "command/problems_print.h"

Test(problems_print, a_command_that_failed_never_ends_as_one_that_did_its_work)
{
    AUTO_ERROR err = {0};
    cr_assert_eq(error_exit_code(&err), EXIT_INTERNAL);
    error_set_as(&err, ERROR_RETRY, EXIT_POSTGRES, CODE_TOKEN_REFUSED, "no");
    cr_assert_eq(error_exit_code(&err), EXIT_POSTGRES);
}
