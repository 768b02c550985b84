/* error_code: every code that an error, a log line or a dead letter can carry, as an enum. Its row,
 * with class, exit code, meaning and remedy, is in error_codes_relay.inc or
 * error_codes_server.inc (base/log_codes.h reads it): a code that is not there does not compile.
 *
 * The name of a code is part of what users build alerts on: it is never renamed. It is written by
 * error_code_name() alone, and nothing decides by it. */
#pragma once

typedef enum ErrorCode {
    CODE_NONE = 0,
#define GROUP(title)
#define CODE(name, class, exit_code, levels, meaning, remedy) CODE_##name,
#include "base/error_codes_relay.inc"
#include "base/error_codes_server.inc"
#undef CODE
#undef GROUP
    CODE_COUNT,
} ErrorCode;

/** CODE_KAFKA_TOPIC_UNKNOWN; "" for CODE_NONE. Static. */
const char *error_code_name(ErrorCode code);

/** The code of a name that comes from outside, case ignored; CODE_NONE when there is none. */
ErrorCode error_code_find(const char *name);
