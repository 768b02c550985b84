/* kafka_credentials: what a client logs in with by SASL PLAIN or SCRAM, its certificates, brokers
 * and properties, when files of kafka.properties hold others than at the start, or a reload has
 * brought others.
 *
 * The files are read again when somebody asks (renew), and for a minute after a broker refused a
 * login, each second. Other user names and passwords are given to the running producer, which uses
 * them for each new connection and loses nothing. librdkafka reads certificates when a producer is
 * made, and so brokers and properties: other ones need another producer. Tokens are kafka_token.h.
 * Loop thread. */
#pragma once

#include <librdkafka/rdkafka.h>
#include <stdbool.h>

#include "sink/kafka/kafka_health.h"
#include "sink/kafka/kafka_producer.h"

typedef struct KafkaCredentials KafkaCredentials;

typedef struct KafkaCredentialsNeeds {
    KafkaProducer *producer;
    KafkaHealth *health;
    void *arg;
    /** There are other certificates, brokers or properties: another producer is wanted. */
    void (*outdated)(void *arg);
} KafkaCredentialsNeeds;

KafkaCredentials *kafka_credentials_new(const SinkOptions *options,
                                        const KafkaCredentialsNeeds *needs);
void kafka_credentials_free(KafkaCredentials **credentials);

/** A producer is about to be made: with what the files held last, if that is not what the
 * configuration says. */
void kafka_credentials_configure(KafkaCredentials *credentials, rd_kafka_conf_t *conf);

/** Other ones, for all connections from now on; NULL leaves one as it is. True: they were others,
 * and it is logged. */
bool kafka_credentials_set(KafkaCredentials *credentials, const char *username,
                           const char *password);

/** Reads the files again, and what the configuration says now. True: it is something else. What
 * cannot be read is logged. */
bool kafka_credentials_renew(KafkaCredentials *credentials);

/** A broker refused a login, or none answers. True: the files hold something else by now, which the
 * next connection uses. */
bool kafka_credentials_blamed(KafkaCredentials *credentials);
