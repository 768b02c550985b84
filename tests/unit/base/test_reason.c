#include <criterion/criterion.h>
#include <string.h>

#include "base/log_codes.h"
#include "base/reason.h"

Test(reason, an_error_code_becomes_one_of_a_small_set)
{
    cr_assert_str_eq(reason_name(reason_of(CODE_RECORD_TOO_LARGE)), "too_large");
    cr_assert_str_eq(reason_name(reason_of(CODE_EVENT_UNROUTED)), "unrouted");
    cr_assert_str_eq(reason_name(reason_of(CODE_KAFKA_TOPIC_DENIED)), "denied");
    cr_assert_str_eq(reason_name(reason_of(CODE_KAFKA_TOPIC_UNKNOWN)), "topic_unknown");
    cr_assert_str_eq(reason_name(reason_of(CODE_MESSAGE_MALFORMED)), "malformed");
    cr_assert_str_eq(reason_name(reason_of(CODE_CHANGE_UNREADABLE)), "malformed");
    cr_assert_str_eq(reason_name(reason_of(CODE_READY)), "other");
    cr_assert_str_eq(reason_name(reason_of(CODE_NONE)), "other");
}

Test(reason, names_differ_and_are_lower_case)
{
    for (Reason a = 0; a < REASON_COUNT; a++) {
        cr_assert_eq(strspn(reason_name(a), "abcdefghijklmnopqrstuvwxyz_"), strlen(reason_name(a)));
        for (Reason b = 0; b < a; b++) {
            cr_assert_str_neq(reason_name(a), reason_name(b));
        }
    }
}

/* A code that was renamed would silently become "other". */
Test(reason, every_reason_but_other_has_a_code_that_exists)
{
    bool used[REASON_COUNT] = {[REASON_OTHER] = true};
    size_t count = 0;
    const LogCodeGroup *groups = log_code_groups(&count);
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < groups[i].count; j++) {
            used[reason_of(error_code_find(groups[i].codes[j].name))] = true;
        }
    }
    for (Reason reason = 0; reason < REASON_COUNT; reason++) {
        cr_assert(used[reason], "%s", reason_name(reason));
    }
}
