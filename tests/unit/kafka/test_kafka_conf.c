#include <criterion/criterion.h>
#include <string.h>

#include "sink/kafka/kafka_conf.h"
#include "stub/given.h"

static Config config;
static PipelineConfig pipeline;
static char *properties[4];
static rd_kafka_conf_t *conf;
static Error err;

static void begin(void)
{
    config.name = GIVEN("shop");
    config.kafka.brokers = GIVEN("kafka-1:9092,kafka-2:9092");
    config.kafka.properties.items = properties;
    pipeline = given_pipeline();
}

static void end(void)
{
    if (conf != NULL) {
        rd_kafka_conf_destroy(conf);
    }
}

TestSuite(kafka_conf, .init = begin, .fini = end);

static void add(const char *property)
{
    properties[config.kafka.properties.count++] = GIVEN(property);
}

static void make(size_t batch_bytes)
{
    cr_assert_eq(kafka_conf_new(&config, &pipeline, batch_bytes, &conf, &err), OK, "%s",
                 error_message(&err));
}

static void assert_value(const char *property, const char *expected)
{
    char value[512];
    size_t size = sizeof(value);
    cr_assert_eq(rd_kafka_conf_get(conf, property, value, &size), RD_KAFKA_CONF_OK, "%s", property);
    cr_assert_str_eq(value, expected, "%s = %s", property, value);
}

Test(kafka_conf, what_the_guarantees_stand_on_is_set)
{
    make(1000000);
    assert_value("bootstrap.servers", "kafka-1:9092,kafka-2:9092");
    assert_value("client.id", "shop");
    assert_value("enable.idempotence", "true");
    assert_value("acks", "-1");
    assert_value("message.timeout.ms", "0");
    assert_value("partitioner", "murmur2_random");
    assert_value("allow.auto.create.topics", "false");
    assert_value("socket.nagle.disable", "true");
    assert_value("batch.size", "1000000");
}

Test(kafka_conf, the_queue_holds_all_that_may_be_in_flight)
{
    pipeline.limits.in_flight_events = 50000;
    make(1000000);
    assert_value("queue.buffering.max.messages", "51000");
}

Test(kafka_conf, the_users_properties_come_last)
{
    add("linger.ms=20");
    add("compression.type=lz4");
    add("client.id=mine");
    add("sasl.password=a=b=c");
    make(1000000);
    assert_value("linger.ms", "20");
    assert_value("compression.type", "lz4");
    assert_value("client.id", "mine");
    assert_value("sasl.password", "a=b=c");
}

static void assert_refused(const char *property, const char *says)
{
    add(property);
    cr_assert_eq(kafka_conf_new(&config, &pipeline, 1000000, &conf, &err), FAILED);
    cr_assert_null(conf);
    cr_assert_eq(err.code, CODE_KAFKA_PROPERTY);
    cr_assert_eq(err.class, ERROR_FATAL);
    cr_assert_eq(err.exit_code, EXIT_CONFIG);
    cr_assert_not_null(strstr(error_message(&err), says), "%s", error_message(&err));
}

Test(kafka_conf, an_unknown_property_is_an_error)
{
    assert_refused("compresion.type=lz4", "compresion.type");
}

Test(kafka_conf, a_value_out_of_range_is_an_error)
{
    assert_refused("batch.num.messages=0", "batch.num.messages");
}

Test(kafka_conf, a_property_needs_a_value)
{
    assert_refused("linger.ms", "linger.ms");
}

Test(kafka_conf, batches_stay_below_what_the_topics_take)
{
    add("batch.size=500000");
    make(1000000);
    assert_value("batch.size", "500000");
    rd_kafka_conf_destroy(conf);
    make(100000);
    assert_value("batch.size", "100000");
}

Test(kafka_conf, a_long_name_is_shortened)
{
    char name[200];
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    config.name = name;
    make(1000000);
    char value[512];
    size_t size = sizeof(value);
    cr_assert_eq(rd_kafka_conf_get(conf, "client.id", value, &size), RD_KAFKA_CONF_OK);
    cr_assert_eq(strlen(value), 60);
}

Test(kafka_conf, topics_are_made_by_the_broker_only_when_asked)
{
    config.kafka.create_topics = true;
    make(1000000);
    assert_value("allow.auto.create.topics", "true");
}
