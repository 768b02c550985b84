#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log_codes.h"
#include "base/memory.h"

Test(error, set_fills_every_field_and_fails)
{
    AUTO_ERROR err = {0};
    Status status =
        error_set_as(&err, ERROR_RETRY, EXIT_KAFKA, CODE_KAFKA_ERROR, "broker %d is down", 3);
    cr_assert_eq(status, FAILED);
    cr_assert_eq(err.class, ERROR_RETRY);
    cr_assert_eq(err.exit_code, EXIT_KAFKA);
    cr_assert_eq(err.code, CODE_KAFKA_ERROR);
    cr_assert_str_eq(error_message(&err), "broker 3 is down");
    cr_assert_str_empty(error_own_hint(&err));
}

Test(error, class_and_exit_code_are_those_of_the_registry)
{
    for (ErrorCode code = CODE_NONE + 1; code < CODE_COUNT; code++) {
        const LogCode *known = log_code_of(code);
        if (known->class != ERROR_NONE) {
            AUTO_ERROR err = {0};
            error_set(&err, code, "x");
            cr_assert_eq(err.class, known->class);
            cr_assert_eq(err.exit_code, known->exit_code);
            cr_assert_eq(err.code, code);
            cr_assert_neq(err.exit_code, EXIT_OK, "%s", known->name);
        }
    }
}

Test(error, set_forgets_the_hint_of_an_earlier_error)
{
    AUTO_ERROR err = {0};
    error_set_as(&err, ERROR_FATAL, EXIT_CONFIG, CODE_KAFKA_ERROR, "first");
    error_hint(&err, "Do this.");
    error_set_as(&err, ERROR_FATAL, EXIT_CONFIG, CODE_POSTGRES_ERROR, "second");
    cr_assert_str_empty(error_own_hint(&err));
}

Test(error, set_may_quote_the_message_it_replaces)
{
    AUTO_ERROR err = {0};
    error_set_as(&err, ERROR_RETRY, EXIT_POSTGRES, CODE_KAFKA_ERROR, "connection refused");
    error_set_as(&err, ERROR_FATAL, EXIT_POSTGRES, CODE_POSTGRES_ERROR, "gave up: %s",
                 error_message(&err));
    cr_assert_str_eq(error_message(&err), "gave up: connection refused");
}

Test(error, several_lines_of_libpq_are_one)
{
    AUTO_ERROR err = {0};
    error_set_as(&err, ERROR_RETRY, EXIT_POSTGRES, CODE_KAFKA_ERROR,
                 "refused\n\tIs it up?\nFATAL:  no\n \n");
    cr_assert_str_eq(error_message(&err), "refused Is it up? FATAL: no");
}

Test(error, prefix_names_the_place)
{
    AUTO_ERROR err = {0};
    error_set_as(&err, ERROR_RETRY, EXIT_POSTGRES, CODE_KAFKA_ERROR, "refused");
    cr_assert_eq(error_prefix(&err, "host '%s'", "db"), FAILED);
    cr_assert_str_eq(error_message(&err), "host 'db': refused");
    cr_assert_eq(err.class, ERROR_RETRY);
}

Test(error, texts_of_any_length_stay_whole)
{
    char text[4096];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    AUTO_ERROR err = {0};
    error_set(&err, CODE_RECORD_TOO_LARGE, "%s", text);
    error_hint(&err, "%s", text);
    error_prefix(&err, "%s", text);
    cr_assert_eq(strlen(error_message(&err)), 2 * strlen(text) + 2);
    cr_assert_str_eq(error_own_hint(&err), text);
}

Test(error, a_text_of_megabytes_ends_with_a_whole_character)
{
    enum { SIZE = 300000 };
    char *text = x_malloc(SIZE * 3 + 1);
    for (size_t i = 0; i < SIZE; i++) {
        memcpy(text + i * 3, "\xE2\x82\xAC", 3);
    }
    text[SIZE * 3] = '\0';
    AUTO_ERROR err = {0};
    error_set(&err, CODE_TOPIC_NAME_INVALID, "x%s", text);
    size_t length = strlen(error_message(&err));
    cr_assert_gt(length, 65000);
    cr_assert_leq(length, 65536);
    cr_assert_eq((length - 1) % 3, 0);
    free(text);
}

Test(error, advice_is_the_remedy_of_the_code)
{
    AUTO_ERROR err = {0};
    error_set(&err, CODE_RELAY_ANSWER, "x");
    cr_assert_eq(error_advise(&err), FAILED);
    cr_assert_str_eq(error_own_hint(&err), log_code_of(CODE_RELAY_ANSWER)->remedy);
    cr_assert_str_eq(error_message(&err), "x");
    cr_assert_eq(error_advise(NULL), FAILED);
}

Test(error, a_copy_outlives_what_it_was_copied_from)
{
    AUTO_ERROR copy = {0};
    {
        AUTO_ERROR err = {0};
        error_set(&err, CODE_POSTGRES_UNREACHABLE, "refused");
        error_hint(&err, "Start it.");
        error_copy(&copy, &err);
        AUTO_ERROR other = error_of(&err);
        error_prefix(&other, "elsewhere");
        error_set(&err, CODE_POSTGRES_CRASH, "gone");
        cr_assert_str_eq(error_message(&other), "elsewhere: refused");
    }
    cr_assert_str_eq(error_message(&copy), "refused");
    cr_assert_str_eq(error_own_hint(&copy), "Start it.");
    cr_assert_eq(copy.code, CODE_POSTGRES_UNREACHABLE);
    error_copy(&copy, &copy);
    cr_assert_str_eq(error_message(&copy), "refused");
    error_clear(&copy);
    cr_assert_str_empty(error_message(&copy));
    cr_assert_eq(copy.class, ERROR_NONE);
}

Test(error, the_same_fault_in_the_same_words_is_told_from_others)
{
    AUTO_ERROR a = {0};
    AUTO_ERROR b = {0};
    error_set(&a, CODE_POSTGRES_UNREACHABLE, "refused");
    error_set(&b, CODE_POSTGRES_UNREACHABLE, "refused");
    cr_assert(error_same(&a, &b));
    cr_assert_eq(error_hash(&a), error_hash(&b));
    error_hint(&b, "Start it.");
    cr_assert(error_same(&a, &b));
    cr_assert_not(error_same_hint(&a, &b));
    error_prefix(&b, "x");
    cr_assert_not(error_same(&a, &b));
    cr_assert_neq(error_hash(&a), error_hash(&b));
    error_set(&b, CODE_POSTGRES_CRASH, "refused");
    cr_assert_not(error_same(&a, &b));
}

Test(error, no_error_object_is_allowed)
{
    cr_assert_eq(error_set_as(NULL, ERROR_FATAL, EXIT_CONFIG, CODE_KAFKA_ERROR, "b"), FAILED);
    cr_assert_eq(error_hint(NULL, "c"), FAILED);
    cr_assert_eq(error_prefix(NULL, "d"), FAILED);
}

Test(error, classes_have_the_names_that_logs_show)
{
    cr_assert_str_eq(error_class_name(ERROR_NONE), "none");
    cr_assert_str_eq(error_class_name(ERROR_RETRY), "retry");
    cr_assert_str_eq(error_class_name(ERROR_POISON), "poison");
    cr_assert_str_eq(error_class_name(ERROR_FATAL), "fatal");
}

Test(error, exit_codes_are_those_that_scripts_rely_on)
{
    cr_assert_eq(EXIT_OK, 0);
    cr_assert_eq(EXIT_CONFIG, 1);
    cr_assert_eq(EXIT_POSTGRES, 2);
    cr_assert_eq(EXIT_KAFKA, 3);
    cr_assert_eq(EXIT_GAP, 4);
    cr_assert_eq(EXIT_DRAIN, 5);
    cr_assert_eq(EXIT_INTERNAL, 70);
}
