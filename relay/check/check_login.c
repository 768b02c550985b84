/* What the clients of `outboxd check` log in to Kafka with. */
#include "check/check.h"
#include "sink/kafka/kafka_token.h"
#include "token/token.h"

bool check_kafka_login(Check *check, rd_kafka_t *rk)
{
    AUTO_ERROR err = {0};
    TokenValue value;
    if (!token_is_wanted(TOKEN_KAFKA) ||
        (token_get(TOKEN_KAFKA, &value, &err) == OK && kafka_token_give(rk, &value, &err) == OK)) {
        return true;
    }
    check_problem(check, EXIT_KAFKA, "kafka", error_remedy(&err), "%s", error_message(&err));
    return false;
}

bool check_kafka_refused(Check *check, const char *reason)
{
    enum { NONE_KEPT = 0 }; /* the command ends: nobody is given the token again */
    AUTO_ERROR err = {0};
    if (!token_is_wanted(TOKEN_KAFKA)) {
        return false;
    }
    error_set(&err, CODE_KAFKA_AUTHENTICATION, "%s", reason);
    token_refuse(TOKEN_KAFKA, NONE_KEPT, &err);
    check_problem(check, EXIT_KAFKA, "kafka", error_remedy(&err), "%s", error_message(&err));
    return true;
}
