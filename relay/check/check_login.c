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
