#include "config/interpolate.h"
#include "loading.h"

static char *const *const ENVIRONMENT =
    LOADING_ENVIRONMENT("HOST=db1", "EMPTY=", "HOSTNAME=other", "NESTED=${env:HOST}");

static void assert_interpolates(const char *text, bool template, const char *expected)
{
    Interpolation how = {.environment = ENVIRONMENT, .directory = ".", .keep_escapes = template};
    AUTO_TEXT result = NULL;
    AUTO_TEXT message = NULL;
    cr_assert_eq(interpolate(&how, text, &result, &message), OK, "%s", message ? message : "");
    cr_assert_str_eq(result, expected);
}

static void assert_refuses(const char *directory, const char *text, const char *expected)
{
    Interpolation how = {.environment = ENVIRONMENT, .directory = directory};
    AUTO_TEXT result = NULL;
    AUTO_TEXT message = NULL;
    cr_assert_eq(interpolate(&how, text, &result, &message), FAILED);
    cr_assert_null(result);
    cr_assert_not_null(strstr(message, expected), "%s", message);
}

Test(interpolate, names_of_the_environment_are_replaced_anywhere)
{
    assert_interpolates("", false, "");
    assert_interpolates("host=${env:HOST} x=${env:EMPTY}!", false, "host=db1 x=!");
    assert_interpolates("${env:HOST}${env:HOST}", false, "db1db1");
}

Test(interpolate, what_was_put_in_is_not_looked_at_again)
{
    assert_interpolates("${env:NESTED}", false, "${env:HOST}");
}

Test(interpolate, other_dollars_are_left_alone)
{
    assert_interpolates("$5 $ ${column} $${column} ${", false, "$5 $ ${column} $${column} ${");
}

Test(interpolate, an_escaped_reference_is_literal)
{
    assert_interpolates("$${env:HOST} $${file:/x}", false, "${env:HOST} ${file:/x}");
}

Test(interpolate, templates_keep_their_escapes_for_the_router)
{
    assert_interpolates("${env:HOST}.${aggregate_type}.$${env:HOST}", true,
                        "db1.${aggregate_type}.$${env:HOST}");
}

Test(interpolate, what_cannot_be_replaced_is_an_error)
{
    assert_refuses(".", "a ${env:NOPE}", "environment variable \"NOPE\" is not set");
    assert_refuses(".", "${env:HOS}", "\"HOS\" is not set");
    assert_refuses(".", "${env:HOST", "no closing brace");
    assert_refuses(".", "${file:/nonexistent/secret}", "cannot read file \"/nonexistent/secret\"");
    assert_refuses("/", "${file:tmp}", "cannot read file"); /* a directory */
}

Test(interpolate, files_lose_one_newline_at_their_end_and_no_more)
{
    Loading loading;
    loading_begin(&loading);
    const struct {
        const char *content;
        const char *expected;
    } cases[] = {{"s3cret\n", "<s3cret>"},
                 {"s3cret", "<s3cret>"},
                 {"s3cret\n\n", "<s3cret\n>"},
                 {"s3cret\r\n", "<s3cret>"},
                 {"", "<>"},
                 {"\n", "<>"},
                 {" a\nb \n", "< a\nb >"}};
    Interpolation how = {.environment = ENVIRONMENT, .directory = loading.directory};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        loading_write(&loading, "secret", cases[i].content);
        AUTO_TEXT result = NULL;
        AUTO_TEXT message = NULL;
        cr_assert_eq(interpolate(&how, "<${file:secret}>", &result, &message), OK);
        cr_assert_str_eq(result, cases[i].expected);
    }
    loading_end(&loading);
}

Test(interpolate, files_that_are_no_secrets_are_refused)
{
    Loading loading;
    loading_begin(&loading);
    AUTO_TEXT large = x_calloc(1, 70000);
    memset(large, 'x', 69999);
    loading_write(&loading, "secret", large);
    assert_refuses(loading.directory, "${file:secret}", "larger than 64 KiB");
    AUTO_TEXT path = x_format("%s/secret", loading.directory);
    FILE *file = fopen(path, "w");
    cr_assert_eq(fwrite("a\0b", 1, 3, file), 3);
    cr_assert_eq(fclose(file), 0);
    assert_refuses(loading.directory, "${file:secret}", "NUL byte");
    loading_end(&loading);
}
