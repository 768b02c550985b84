#include "sink/kafka/kafka_name.h"

#include "base/utf8.h"

static bool kafka_name_valid(Slice name)
{
    if (name.length == 0 || name.length > KAFKA_NAME_MAX) {
        return false;
    }
    for (size_t i = 0; i < name.length; i++) {
        char c = name.data[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!letter && !(c >= '0' && c <= '9') && c != '.' && c != '_' && c != '-') {
            return false;
        }
    }
    return !slice_equal(name, SLICE_LITERAL(".")) && !slice_equal(name, SLICE_LITERAL(".."));
}

Status kafka_name_refuse(Slice name, Error *err)
{
    if (kafka_name_valid(name)) {
        return OK;
    }
    error_set(err, CODE_TOPIC_NAME_INVALID,
              "'%.*s' is not a topic name: 1 to %d characters of a-z A-Z 0-9 . _ -",
              (int)utf8_cut(name.data, name.length, 260), name.data ? name.data : "",
              KAFKA_NAME_MAX);
    return error_advise(err);
}
