#include <criterion/criterion.h>
#include <string.h>

#include "sink/kafka/kafka_error.h"

static const struct {
    rd_kafka_resp_err_t kafka;
    ErrorClass class;
    ErrorCode code;
} CASES[] = {
    {RD_KAFKA_RESP_ERR__PURGE_QUEUE, ERROR_RETRY, CODE_SINK_PURGED},
    {RD_KAFKA_RESP_ERR__PURGE_INFLIGHT, ERROR_RETRY, CODE_SINK_PURGED},
    {RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, ERROR_POISON, CODE_RECORD_TOO_LARGE},
    {RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE, ERROR_POISON, CODE_RECORD_TOO_LARGE},
    {RD_KAFKA_RESP_ERR_INVALID_RECORD, ERROR_POISON, CODE_RECORD_REFUSED},
    {RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP, ERROR_POISON, CODE_RECORD_TIMESTAMP_REFUSED},
    {RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, ERROR_RETRY, CODE_KAFKA_TOPIC_UNKNOWN},
    {RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, ERROR_RETRY, CODE_KAFKA_TOPIC_UNKNOWN},
    {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, ERROR_RETRY, CODE_KAFKA_TOPIC_DENIED},
    {RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, ERROR_RETRY, CODE_KAFKA_DENIED},
    {RD_KAFKA_RESP_ERR__TRANSPORT, ERROR_RETRY, CODE_KAFKA_UNREACHABLE},
    {RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, ERROR_RETRY, CODE_KAFKA_UNREACHABLE},
    {RD_KAFKA_RESP_ERR__TIMED_OUT, ERROR_RETRY, CODE_KAFKA_UNREACHABLE},
    {RD_KAFKA_RESP_ERR__AUTHENTICATION, ERROR_RETRY, CODE_KAFKA_AUTHENTICATION},
    {RD_KAFKA_RESP_ERR__SSL, ERROR_RETRY, CODE_KAFKA_TLS},
    {RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, ERROR_RETRY, CODE_KAFKA_ERROR},
    {RD_KAFKA_RESP_ERR_UNKNOWN, ERROR_RETRY, CODE_KAFKA_ERROR},
};

Test(kafka_error, each_code_says_what_to_do)
{
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        AUTO_ERROR err = {0};
        kafka_delivery_error(CASES[i].kafka, "orders.events", &err);
        cr_assert_eq(err.class, CASES[i].class, "%s", rd_kafka_err2name(CASES[i].kafka));
        cr_assert_eq(err.code, CASES[i].code, "%s", rd_kafka_err2name(CASES[i].kafka));
        cr_assert_eq(err.exit_code, EXIT_KAFKA);
        cr_assert_not_null(strstr(error_message(&err), "orders.events"));
        cr_assert_not_null(strstr(error_message(&err), rd_kafka_err2name(CASES[i].kafka)));
    }
}

Test(kafka_error, only_a_listed_code_gives_a_record_up)
{
    for (int code = -200; code <= 120; code++) {
        AUTO_ERROR err = {0};
        kafka_delivery_error((rd_kafka_resp_err_t)code, "t", &err);
        cr_assert_neq(err.class, ERROR_FATAL, "%d", code);
        bool listed = false;
        for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
            listed |= CASES[i].kafka == (rd_kafka_resp_err_t)code && CASES[i].class == ERROR_POISON;
        }
        listed |=
            code == RD_KAFKA_RESP_ERR_INVALID_MSG || code == RD_KAFKA_RESP_ERR_POLICY_VIOLATION;
        listed |= code == -138; /* another record of its request was refused: librdkafka 2.2 on */
        cr_assert(listed || err.class == ERROR_RETRY, "%d is POISON", code);
        cr_assert_eq(kafka_error_refuses((rd_kafka_resp_err_t)code), err.class == ERROR_POISON);
    }
}

Test(kafka_error, what_a_connection_failed_with_has_its_own_remedy)
{
    static const struct {
        rd_kafka_resp_err_t kafka;
        const char *text;
        ErrorCode code;
        const char *hint;
    } REASONS[] = {
        {RD_KAFKA_RESP_ERR__RESOLVE, "h:1/bootstrap: Failed to resolve 'h:1': Name or service",
         CODE_KAFKA_UNREACHABLE, "not known to this machine"},
        {RD_KAFKA_RESP_ERR__TRANSPORT, "Connect to ipv4#127.0.0.1:1 failed: Connection refused",
         CODE_KAFKA_UNREACHABLE, "Nothing listens there"},
        {RD_KAFKA_RESP_ERR__BAD_MSG, "Receive failed: Invalid response size 1213486160",
         CODE_KAFKA_UNREACHABLE, "not a Kafka broker"},
        {RD_KAFKA_RESP_ERR__TRANSPORT, "Disconnected (connecting to a SSL listener?)",
         CODE_KAFKA_UNREACHABLE, "closed the connection"},
        {RD_KAFKA_RESP_ERR__SSL, "SSL handshake failed: unexpected eof while reading",
         CODE_KAFKA_TLS, "does not speak TLS"},
        {RD_KAFKA_RESP_ERR__SSL, "SSL handshake failed: certificate verify failed", CODE_KAFKA_TLS,
         "ssl.ca.location"},
        {RD_KAFKA_RESP_ERR__AUTHENTICATION, "SASL authentication error: no",
         CODE_KAFKA_AUTHENTICATION, "sasl.*"},
        {RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, NULL, CODE_KAFKA_UNREACHABLE, "brokers are running"},
        {RD_KAFKA_RESP_ERR__FAIL, "something new", CODE_KAFKA_UNREACHABLE, "brokers are running"},
    };
    for (size_t i = 0; i < sizeof(REASONS) / sizeof(REASONS[0]); i++) {
        AUTO_ERROR err = {0};
        kafka_connection_error(REASONS[i].kafka, REASONS[i].text, "h:1", &err);
        cr_assert_eq(err.class, ERROR_RETRY);
        cr_assert_eq(err.exit_code, EXIT_KAFKA);
        cr_assert_eq(err.code, REASONS[i].code, "%zu", i);
        cr_assert_not_null(strstr(error_own_hint(&err), REASONS[i].hint), "%zu: %s", i,
                           error_own_hint(&err));
        cr_assert_not_null(strstr(error_message(&err), "'h:1'"), "%s", error_message(&err));
    }
}
