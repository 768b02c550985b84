#include <criterion/criterion.h>
#include <string.h>

#include "sink/kafka/kafka_name.h"

static void assert_taken(Slice name)
{
    AUTO_ERROR err = {0};
    cr_assert_eq(kafka_name_refuse(name, &err), OK, "'%.*s'", SLICE_ARG(name));
}

static void assert_refused(Slice name)
{
    AUTO_ERROR err = {0};
    cr_assert_eq(kafka_name_refuse(name, &err), FAILED, "'%.*s'", SLICE_ARG(name));
    cr_assert_eq(err.class, ERROR_POISON);
    cr_assert_eq(err.code, CODE_TOPIC_NAME_INVALID);
}

Test(kafka_name, names_are_those_that_kafka_accepts)
{
    char name[KAFKA_NAME_MAX + 1];
    memset(name, 'x', sizeof(name));
    assert_taken(SLICE_LITERAL("a"));
    assert_taken(SLICE_LITERAL("..."));
    assert_taken(SLICE_LITERAL("AZaz09._-"));
    assert_taken((Slice){.data = name, .length = 249});
    assert_refused((Slice){.data = name, .length = 250});
    assert_refused(SLICE_NULL);
    assert_refused(SLICE_LITERAL(""));
    assert_refused(SLICE_LITERAL("."));
    assert_refused(SLICE_LITERAL(".."));
}

Test(kafka_name, every_other_byte_is_refused)
{
    for (int byte = 0; byte < 256; byte++) {
        char name[3] = {'a', (char)byte, 'b'};
        bool allowed = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
                       (byte >= '0' && byte <= '9') || byte == '.' || byte == '_' || byte == '-';
        Slice slice = {.data = name, .length = 3};
        allowed ? assert_taken(slice) : assert_refused(slice);
    }
}
