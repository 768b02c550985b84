/* Files with credentials that change under a running producer; librdkafka's mock cluster takes
 * anybody, so what it would log in with is asked of the producer. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/memory.h"
#include "mock.h"

static char directory[64];
static char *path;
static char *certificate;
static char *written[2];

static void write_to(const char *name, const char *text)
{
    AUTO_TEXT fresh = x_format("%s.new", name);
    FILE *file = fopen(fresh, "w");
    cr_assert_not_null(file);
    cr_assert_geq(fputs(text, file), 0);
    cr_assert_eq(fclose(file), 0);
    cr_assert_eq(rename(fresh, name), 0);
}

static void begin(void)
{
    mock_prepare();
    snprintf(directory, sizeof(directory), "/tmp/outboxd-unit-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
    path = x_format("%s/password", directory);
    certificate = x_format("%s/ca.pem", directory);
    write_to(path, "old\n");
    write_to(certificate, "one");
    mock.config.file = GIVEN("");
    mock_add_property("sasl.username=relay");
    mock_add_property("sasl.password=old");
    written[0] = x_format("sasl.password=${file:%s}", path);
    mock.config.kafka.written.items = written;
    mock.config.kafka.written.count = 1;
    mock.properties[mock.config.kafka.properties.count] = written[1] =
        x_format("ssl.ca.location=%s", certificate);
    mock.config.kafka.properties.count++;
    mock_begin();
    mock_send(1, "orders");
    MOCK_WAIT(mock.delivered == 1);
}

static void end(void)
{
    mock_end();
    AUTO_TEXT command = x_format("rm -r '%s'", directory);
    cr_assert_eq(system(command), 0);
    free(path);
    free(certificate);
    free(written[0]);
    free(written[1]);
}

TestSuite(kafka_credentials, .init = begin, .fini = end, .timeout = 60);

static rd_kafka_t *producer(void)
{
    return kafka_producer_handle(((KafkaSink *)mock.sink)->producer);
}

static const char *producer_has(const char *property)
{
    static char value[128];
    size_t length = sizeof(value);
    cr_assert_eq(rd_kafka_conf_get(rd_kafka_conf(producer()), property, value, &length), 0);
    return value;
}

Test(kafka_credentials, another_password_in_its_file_is_given_to_the_running_producer)
{
    rd_kafka_t *before = producer();
    cr_assert_str_eq(producer_has("sasl.password"), "old");
    write_to(path, "new\n");
    mock.sink->ops->renew(mock.sink);
    cr_assert_str_eq(producer_has("sasl.password"), "new");
    cr_assert_str_eq(producer_has("sasl.username"), "relay");
    mock_send(2, "orders");
    MOCK_WAIT(mock.delivered == 2);
    cr_assert_eq(producer(), before);
    cr_assert_eq(mock.lost + mock.reopened, 0);
}

Test(kafka_credentials, the_next_producer_has_them_too)
{
    write_to(path, "new\n");
    mock.sink->ops->renew(mock.sink);
    mock.sink->ops->reopen(mock.sink);
    MOCK_WAIT(mock.reopened == 1);
    cr_assert_str_eq(producer_has("sasl.password"), "new");
}

Test(kafka_credentials, what_cannot_be_read_changes_nothing)
{
    cr_assert_eq(unlink(path), 0);
    mock.sink->ops->renew(mock.sink);
    cr_assert_str_eq(producer_has("sasl.password"), "old");
    write_to(path, "new");
    mock.sink->ops->renew(mock.sink);
    cr_assert_str_eq(producer_has("sasl.password"), "new");
}

Test(kafka_credentials, what_is_set_from_outside_is_used_and_stays)
{
    KafkaCredentials *credentials = ((KafkaSink *)mock.sink)->login->credentials;
    cr_assert(kafka_credentials_set(credentials, "other", "new"));
    cr_assert_not(kafka_credentials_set(credentials, "other", NULL), "they are the same");
    cr_assert_str_eq(producer_has("sasl.username"), "other");
    cr_assert_str_eq(producer_has("sasl.password"), "new");
}

Test(kafka_credentials, after_a_refusal_the_file_is_read_again_until_it_is_right)
{
    KafkaCredentials *credentials = ((KafkaSink *)mock.sink)->login->credentials;
    cr_assert_not(kafka_credentials_blamed(credentials), "it is what it was");
    write_to(path, "new\n");
    MOCK_WAIT(strcmp(producer_has("sasl.password"), "new") == 0);
    write_to(path, "newer\n");
    MOCK_WAIT(strcmp(producer_has("sasl.password"), "newer") == 0);
}

Test(kafka_credentials, other_certificates_make_another_producer_once_nothing_is_out)
{
    rd_kafka_t *before = producer();
    mock.sink->ops->renew(mock.sink);
    mock_turn();
    cr_assert_eq(producer(), before, "nothing changed");
    rd_kafka_mock_broker_set_rtt(mock.cluster, 1, 200);
    mock_send(2, "orders");
    write_to(certificate, "another");
    mock.sink->ops->renew(mock.sink);
    AUTO_ERROR err = {0};
    cr_assert_eq(mock_try(3, "orders", &err), SEND_FULL);
    cr_assert_eq(producer(), before, "a record is in flight");
    mock_send(3, "orders");
    MOCK_WAIT(mock.delivered == 3);
    cr_assert_eq(mock.times[2], 1);
    cr_assert_eq(mock.failed + mock.purged + mock.lost + mock.reopened, 0);
    mock_assert_log("orders", "v1 v2 v3");
}

Test(kafka_credentials, other_properties_of_a_reload_make_another_producer_once_nothing_is_out)
{
    rd_kafka_mock_broker_set_rtt(mock.cluster, 1, 200);
    mock_send(2, "orders");
    mock_add_property("linger.ms=7");
    mock.sink->ops->renew(mock.sink);
    cr_assert_str_neq(producer_has("linger.ms"), "7", "a record is in flight");
    mock_send(3, "orders");
    MOCK_WAIT(mock.delivered == 3);
    cr_assert_str_eq(producer_has("linger.ms"), "7");
    cr_assert_eq(mock.failed + mock.purged + mock.lost + mock.reopened, 0);
    mock_assert_log("orders", "v1 v2 v3");
}

Test(kafka_credentials, another_password_of_a_reload_is_given_to_the_running_producer)
{
    rd_kafka_t *before = producer();
    mock.config.kafka.written.count = 0; /* it stands in the file itself now */
    mock.properties[1] = GIVEN("sasl.password=new");
    mock.sink->ops->renew(mock.sink);
    cr_assert_eq(producer(), before);
    cr_assert_str_eq(producer_has("sasl.password"), "new");
    mock.sink->ops->reopen(mock.sink);
    MOCK_WAIT(mock.reopened == 1);
    cr_assert_str_eq(producer_has("sasl.password"), "new");
}

Test(kafka_credentials, other_certificates_replace_a_producer_that_no_broker_answers)
{
    rd_kafka_mock_broker_set_down(mock.cluster, 1);
    mock_send(2, "orders");
    MOCK_WAIT(mock.troubles > 0);
    write_to(certificate, "another");
    mock.sink->ops->renew(mock.sink);
    MOCK_WAIT(mock.lost == 1);
    cr_assert_eq(mock.loss.code, CODE_KAFKA_UNREACHABLE);
    cr_assert_eq(mock.loss.class, ERROR_RETRY);
    rd_kafka_mock_broker_set_up(mock.cluster, 1);
    mock.sink->ops->reopen(mock.sink); /* as the pipeline does */
    MOCK_WAIT(mock.reopened == 1);
    mock_send(2, "orders");
    MOCK_WAIT(mock.delivered == 2);
}

Test(kafka_credentials, a_producer_that_is_to_be_replaced_and_loses_its_brokers_is_not_waited_for)
{
    rd_kafka_mock_broker_set_rtt(mock.cluster, 1, 10000);
    mock_send(2, "orders");
    mock_add_property("linger.ms=7");
    mock.sink->ops->renew(mock.sink);
    mock_turn();
    cr_assert_eq(mock.lost, 0, "what is out may come back yet");
    rd_kafka_mock_broker_set_down(mock.cluster, 1);
    MOCK_WAIT(mock.lost == 1);
    cr_assert_eq(mock.loss.code, CODE_KAFKA_UNREACHABLE);
    rd_kafka_mock_broker_set_rtt(mock.cluster, 1, 0);
    rd_kafka_mock_broker_set_up(mock.cluster, 1);
    mock.sink->ops->reopen(mock.sink); /* as the pipeline does */
    MOCK_WAIT(mock.reopened == 1);
    cr_assert_str_eq(producer_has("linger.ms"), "7");
    mock_send(2, "orders");
    MOCK_WAIT(mock.delivered == 2);
}

Test(kafka_credentials, who_is_refused_is_named_as_the_configuration_says_now)
{
    KafkaHealth *health = ((KafkaSink *)mock.sink)->health;
    const rd_kafka_resp_err_t refused = RD_KAFKA_RESP_ERR__AUTHENTICATION;
    AUTO_ERROR before = {0};
    AUTO_ERROR after = {0};
    kafka_health_note_reason(health, refused, "refused");
    kafka_health_unreachable(health, refused, &before);
    cr_assert_not_null(strstr(error_remedy(&before), "'relay'"), "%s", error_remedy(&before));
    mock.properties[0] = GIVEN("sasl.mechanisms=OAUTHBEARER");
    mock.properties[1] = GIVEN("linger.ms=7");
    mock.config.kafka.written.count = 0;
    mock.sink->ops->renew(mock.sink);
    kafka_health_unreachable(health, refused, &after);
    cr_assert_null(strstr(error_remedy(&after), "'relay'"), "%s", error_remedy(&after));
}

Test(kafka_credentials, what_is_refused_after_a_reload_while_a_producer_closes_is_tried_again)
{
    mock.sink->ops->reopen(mock.sink);
    cr_assert_null(producer(), "it closes");
    mock_add_property("security.protocol=ssl"); /* the authority in the file is none */
    mock.sink->ops->renew(mock.sink);
    MOCK_WAIT(mock.lost == 1);
    cr_assert_eq(mock.loss.code, CODE_KAFKA_PROPERTY);
    cr_assert_eq(mock.loss.class, ERROR_RETRY);
}
